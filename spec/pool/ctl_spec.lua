-- `moonpool ctl`: what a server is doing, told by itself, also while its workers cannot tell anything.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local socket = require "socket"
local socket_unix = require "socket.unix"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text(tostring(moonpool.worker.pid)) end)
app:get("/waits/:n", function() moonpool.sleep(30) end)
app:get("/child", function() moonpool.run { "sleep", "3641" } end)
app:get("/co", function()
  local co = coroutine.wrap(function() local function inmost() moonpool.sleep(30) end inmost() end)
  co()
end)
app:get("/bomb", function(_, res) res:text(tostring((("a"):rep(4000)):find((".-"):rep(20) .. "b"))) end)
app:get("/late/bomb", function(_, res)
  moonpool.sleep(0.1)
  res:text(tostring((("a"):rep(4000)):find((".-"):rep(20) .. "b")))
end)
app:get("/bug", function() error "a bug" end)
app:get("/named", function()
  local task = moonpool.spawn(function() moonpool.sleep(30) end)
  task.name = "the named one"
  task:wait()
end)
return app
]]

-- A JSON reader for what moonpool writes: it is asked to read it with its own words.
local function decode(text)
  local at = 1
  local function fail(what) error(("%s at %d in %s"):format(what, at, text), 0) end
  local function skip() at = text:find("[^ \n]", at) or #text + 1 end
  local value
  local function string_at()
    local out = {}
    at = at + 1
    while true do
      local plain = text:match("^[^\"\\%c\x80-\xff]+", at)
      if plain then out[#out + 1], at = plain, at + #plain end
      local c = text:sub(at, at)
      if c == '"' then
        at = at + 1
        return table.concat(out)
      end
      local code = text:match("^\\u(%x%x%x%x)", at)
      if code then
        out[#out + 1], at = utf8.char(tonumber(code, 16)), at + 6
      elseif text:match('^\\["\\]', at) then
        out[#out + 1], at = text:sub(at + 1, at + 1), at + 2
      else
        fail "a bad string"
      end
    end
  end
  local function list(close, item)
    at = at + 1
    skip()
    if text:sub(at, at) == close then at = at + 1 return end
    repeat
      skip()
      item()
      skip()
      local c = text:sub(at, at)
      at = at + 1
      if c ~= "," and c ~= close then fail "no comma" end
    until c == close
  end
  function value()
    local c = text:sub(at, at)
    if c == '"' then return string_at() end
    local t = {}
    if c == "[" then
      list("]", function() t[#t + 1] = value() end)
      return t
    elseif c == "{" then
      list("}", function()
        local key = string_at()
        if text:sub(at, at) ~= ":" then fail "no colon" end
        at = at + 1
        t[key] = value()
      end)
      return t
    end
    local word = text:match("^[%w.+-]+", at) or fail "no value"
    at = at + #word
    if word == "true" then return true elseif word == "false" then return false elseif word == "null" then return nil end
    return tonumber(word) or fail "no number"
  end
  local v = value()
  skip()
  if at <= #text then fail "something behind it" end
  return v
end

describe("moonpool ctl", function()
  local s, folder
  before_each(function() folder = assert(host.tempdir()) end)
  after_each(function()
    server.stop_all()
    os.execute(("rm -rf '%s'"):format(folder:match "^/.*moonpool%-spec%-.*$"))
  end)

  local function start(options)
    options.app = options.app or app
    options.env = { XDG_RUNTIME_DIR = folder }
    return server.start(options)
  end

  -- exit code, stdout, stderr
  local function ctl(...)
    local c = server.launch { argv = { "ctl", ... }, env = { XDG_RUNTIME_DIR = folder, MOONPOOL_CONTROL_SOCKET = false } }
    local how, code = c:wait_exit(30)
    local out, err = c:out(), c:log()
    c:no_faults()
    c:abandon()
    assert.are.equal("exit", how)
    return code, out, err
  end

  local function answer(...)
    local code, out, err = ctl("-j", ...)
    assert.are.equal("", err)
    assert.are.equal(0, code)
    return decode(out)
  end

  local function text(...)
    local code, out, err = ctl(...)
    assert.are.equal("", err)
    assert.are.equal(0, code)
    return out
  end

  local function path_of(server_) return ("%s/moonpool/%d.sock"):format(folder, server_.pid) end

  local function park(...)
    local conns = {}
    for i, path in ipairs { ... } do
      conns[i] = s:connect()
      conns[i]:send(client.bytes("GET", path))
    end
    return conns
  end

  local function close(conns)
    for _, c in ipairs(conns) do c:close() end
  end

  local function in_flight(n)
    wait.until_true(function() return #answer("requests").requests == n end, 5, n .. " requests")
    return answer("requests").requests
  end

  it("tells of the pool and what it has counted, in JSON and in text", function()
    s = start { workers = 2 }
    for _ = 1, 3 do s:get "/" end
    s:get "/bug"
    s:get "/nowhere"
    local a = wait.until_true(function()
      local a = answer "status"
      return a.requests == 5 and a
    end)
    assert.are.equal(s.pid, a.pid)
    assert.are.equal("running", a.state)
    assert.are.equal(1, a.generation)
    assert.are.same({ wanted = 2, starting = 0, serving = 2, leaving = 0 }, a.workers)
    assert.are.same({ "127.0.0.1:" .. s.port }, a.listen)
    assert.are.equal(3, a.responses["2xx"])
    assert.are.equal(1, a.responses["4xx"])
    assert.are.equal(1, a.responses["5xx"])
    assert.are.equal(1, a.errors.handler)
    assert.are.equal(5, a.accepted)
    assert.is_true(a.uptime > 0)
    assert.is_true(a.rss > 1000000)
    assert.are.equal(2, a.pool.started)
    local out = text "status"
    assert.is_truthy(out:find "\nstate +running\n")
    assert.is_truthy(out:find "\nresponses +2xx 3, 4xx 1, 5xx 1\n")
  end)

  it("tells of each worker", function()
    s = start { workers = 2 }
    local conns = park "/waits/1"
    in_flight(1)
    local workers, sum = answer("workers").workers, 0
    local pids = {}
    for i, w in ipairs(workers) do
      assert.are.equal(i, w.worker)
      assert.are.equal("serving", w.state)
      assert.is_false(w.stopped)
      assert.is_false(w.stuck)
      assert.is_true(w.rss > 1000000 and w.lua_memory > 10000)
      sum, pids[i] = sum + w.in_flight, w.pid
    end
    table.sort(pids)
    assert.are.same(s:workers(), pids)
    assert.are.equal(1, sum)
    local out = text "workers"
    assert.is_truthy(out:find "^WORKER +PID")
    assert.are.equal(3, select(2, out:gsub("\n", "")))
    close(conns)
  end)

  it("tells of each request in flight, and forgets it", function()
    s = start { workers = 1 }
    assert.are.same({}, answer("requests").requests)
    assert.are.equal("no requests in flight\n", text "requests")
    local conns = park "/waits/1?a=%22b%22"
    wait.sleep(0.1)
    conns[2] = park("/waits/2")[1]
    local requests = in_flight(2)
    assert.are.equal("GET /waits/1?a=%22b%22", requests[1].request)
    assert.are.equal("GET /waits/2", requests[2].request)
    assert.is_true(requests[1].age >= requests[2].age + 0.05)
    assert.is_truthy(requests[1].id:find "^%x+$")
    assert.are.equal(1, requests[1].worker)
    assert.is_false(requests[1].running)
    close(conns)
    in_flight(0)
  end)

  it("lists no more requests than it has places for, and says how many there are besides", function()
    s = start { workers = 1 }
    local paths = {}
    for i = 1, 70 do paths[i] = "/waits/" .. i end
    local conns = park(table.unpack(paths))
    wait.until_true(function() return answer("workers").workers[1].in_flight == 70 end, 5, "all of them")
    local a = answer "requests"
    assert.are.equal(64, #a.requests)
    assert.are.equal(6, a.unlisted)
    assert.is_truthy(text("requests"):find "\nand 6 more\n$")
    close(conns)
    in_flight(0)
    conns = park "/waits/again"
    assert.are.equal("GET /waits/again", in_flight(1)[1].request)
    close(conns)
  end)

  for _, path in ipairs { "/bomb", "/late/bomb" } do
    it("names the request in which a worker is stuck, while it is: " .. path, function()
      s = start { workers = 2, args = { "--timeout", "60" } }
      local conns = park(path)
      local stuck = wait.until_true(function()
        local r = answer("requests").requests[1]
        return r and r.age > 0.5 and r
      end, 10, "the stuck request")
      assert.are.equal("GET " .. path, stuck.request)
      assert.is_true(stuck.running)
      local w = answer("workers").workers[stuck.worker]
      assert.are.equal(stuck.pid, w.pid)
      assert.is_true(w.lag > 0.1)
      assert.are.equal("running", answer("status").state)
      for _, what in ipairs { "tasks", "processes", "dump" } do
        local a = answer(what)
        assert.are.same({ { worker = stuck.worker, pid = stuck.pid } }, a.silent)
        assert.are.equal(1, #a.workers)
        assert.is_truthy(text(what):find("worker " .. stuck.worker .. " %(pid " .. stuck.pid .. "%) does not answer"))
      end
      host.kill(stuck.pid, "KILL")
      close(conns)
    end)
  end

  it("answers while a worker is stopped, and says so", function()
    s = start { workers = 1, args = { "--timeout", "60" } }
    local conns = park "/waits/1"
    in_flight(1)
    host.kill(s:worker(), "STOP")
    wait.until_true(function() return answer("workers").workers[1].stopped end, 5, "the stop")
    assert.are.equal("GET /waits/1", answer("requests").requests[1].request)
    assert.are.equal(s:worker(), answer("tasks").silent[1].pid)
    host.kill(s:worker(), "CONT")
    wait.until_true(function() return #answer("tasks").silent == 0 end, 5, "an answer")
    close(conns)
  end)

  it("tells of tasks with what they wait for, and of their stacks", function()
    s = start { workers = 1 }
    local conns = park("/co", "/named", "/child")
    in_flight(3)
    local tasks = wait.until_true(function()
      local a = answer "tasks"
      return #a.workers[1].tasks == 4 and a.workers[1].tasks
    end)
    local by = {}
    for _, t in ipairs(tasks) do by[t.name or t.request] = t end
    assert.are.equal("time", by["GET /co"].waits_for)
    assert.are.equal("task", by["GET /named"].waits_for)
    assert.are.equal("process", by["GET /child"].waits_for)
    assert.are.equal("app.lua:17", by["the named one"].spawned_at)
    assert.are.equal("GET /named", by["the named one"].request)
    assert.is_nil(by["GET /co"].traceback)
    for _, t in ipairs(answer("dump").workers[1].tasks) do
      assert.is_truthy(t.traceback:find "app.lua:%d+: in")
      if t.request == "GET /co" then assert.is_truthy(t.traceback:find "app.lua:7: in .-app.lua:8: in") end
    end
    local out = text "dump"
    assert.is_truthy(out:find "\n    app.lua:7: in ")
    assert.is_falsy(out:find "\\x")
    close(conns)
  end)

  it("tells of processes", function()
    s = start { workers = 2 }
    local conns = park("/child", "/child")
    wait.until_true(function() return #proc.named "sleep 3641" == 2 end, 5, "the children")
    local pids = {}
    for _, w in ipairs(answer("processes").workers) do
      for _, p in ipairs(w.processes) do
        assert.are.equal("sleep", p.name)
        assert.are.equal("GET /child", p.request)
        pids[#pids + 1] = p.pid
      end
    end
    table.sort(pids)
    assert.are.same(proc.named "sleep 3641", pids)
    close(conns)
  end)

  it("passes on what is long", function()
    s = start { workers = 1 }
    local paths = {}
    for i = 1, 300 do paths[i] = "/waits/" .. ("x"):rep(150) .. i end
    local conns = park(table.unpack(paths))
    wait.until_true(function() return #answer("dump").workers[1].tasks == 300 end, 10, "all tasks")
    close(conns)
  end)

  it("scales, reloads and stops", function()
    s = start { workers = 1 }
    assert.are.equal("workers 3\n", text("scale", "3"))
    wait.until_true(function() return #s:workers() == 3 end, 5, "three workers")
    assert.are.equal("workers 1\n", text("scale", "1"))
    local before = s:worker()
    assert.are.equal("reloaded, generation 2\n", text "reload")
    assert.are.equal("2", s:log():match "reloaded gen=(%d)")
    wait.until_true(function() return #s:workers() == 1 and s:worker() ~= before end, 5, "the new worker alone")
    local path = path_of(s)
    assert.is_truthy(lfs.attributes(path))
    assert.are.equal("stopping\n", text "stop")
    s:stop()
    assert.is_nil(lfs.attributes(path))
    local code, out, err = ctl("-s", path, "status") -- others may run on this machine
    assert.are.same({ 1, "" }, { code, out })
    assert.is_truthy(err:find "no answer from")
  end)

  it("is not led astray by what a killed master has left behind, and the next one clears it away", function()
    s = start { workers = 1 }
    local path, below = path_of(s), s:descendants()
    host.kill(s.pid, "KILL")
    s:wait_exit()
    wait.until_true(function()
      for _, pid in ipairs(below) do if proc.alive(pid) then return false end end
      return true
    end, 5, "the end of the workers")
    s:abandon()
    assert.is_truthy(lfs.attributes(path))
    s = start { workers = 1 }
    assert.is_nil(lfs.attributes(path))
    assert.are.equal(s.pid, answer("status").pid)
  end)

  it("wants a file for its socket that nobody else can reach", function()
    for _, path in ipairs { "@name", folder .. "/x?mode=666" } do
      s = server.launch { app = app, args = { "--control-socket", path } }
      assert.are.same({ "exit", 4 }, { s:wait_exit() })
      assert.is_truthy(s:log():find "the control socket: a file is wanted")
      s:abandon()
    end
  end)

  it("says that a reload has failed, and why", function()
    s = start { workers = 1, files = { ["moonpool.conf.lua"] = "drain_idle = 1" } }
    server.write_file(s.folder .. "/app.lua", "this is no Lua")
    local code, out, err = ctl "reload"
    assert.are.same({ 1, "" }, { code, out })
    assert.is_truthy(err:find "the new workers failed; the log says why")
    server.write_file(s.folder .. "/moonpool.conf.lua", "nonsense = 1")
    local failed = table.pack(ctl "reload")
    code, err = failed[1], failed[3]
    assert.are.equal(1, code)
    assert.is_truthy(err:find "nonsense")
    assert.are.equal(1, answer("status").generation)
  end)

  it("finds the only server, and says which there are when there are two", function()
    s = start { workers = 1 }
    local other = start { workers = 1 }
    local code, out, err = ctl "status"
    assert.are.same({ 2, "" }, { code, out })
    for _, one in ipairs { s, other } do assert.is_truthy(err:find(path_of(one), 1, true)) end
    assert.are.equal(other.pid, answer("-s", path_of(other), "status").pid)
    other:stop()
    assert.are.equal(s.pid, answer("status").pid)
  end)

  it("refuses what it does not understand with 2", function()
    for _, words in ipairs { {}, { "nonsense" }, { "scale" }, { "scale", "many" }, { "status", "more" }, { "-s" }, { "--what" } } do
      local code, out, err = ctl(table.unpack(words))
      assert.are.same({ 2, "" }, { code, out })
      assert.is_truthy(err:find "^moonpool: ctl: ")
    end
    s = start { workers = 1 }
    for _, n in ipairs { "0", "257", "99999999999" } do assert.are.equal(1, (ctl("scale", n))) end
    assert.are.equal(1, answer("status").workers.wanted)
  end)

  it("reaches a socket at a path of its own, which nobody else may open; a stale one is replaced, a live one is not", function()
    local path = folder .. "/own.sock"
    s = start { workers = 1, args = { "--control-socket", path } }
    assert.are.equal("rw-------", lfs.attributes(path, "permissions"))
    assert.are.equal(s.pid, answer("-s", path, "status").pid)
    local second = server.launch { app = app, args = { "--control-socket", path } }
    assert.are.same({ "exit", 4 }, { second:wait_exit() })
    assert.is_truthy(second:log():find("own.sock: address already in use", 1, true))
    second:abandon()
    local below = s:descendants()
    host.kill(s.pid, "KILL")
    s:wait_exit()
    wait.until_true(function()
      for _, pid in ipairs(below) do if proc.alive(pid) then return false end end
      return true
    end, 5, "the end of the workers")
    assert.is_truthy(lfs.attributes(path))
    s:abandon()
    s = start { workers = 1, args = { "--control-socket", path } }
    assert.are.equal(s.pid, answer("-s", path, "status").pid)
  end)

  it("goes to the new master with an upgrade, and so do metrics", function()
    local path, metrics = folder .. "/own.sock", socket.bind("127.0.0.1", 0)
    local _, port = metrics:getsockname()
    metrics:close()
    s = start { workers = 1, args = { "--control-socket", path, "--metrics-listen", "127.0.0.1:" .. port } }
    local old = s.pid
    s:get "/"
    s:signal "USR2"
    s:follow()
    assert.are_not.equal(old, s.pid)
    wait.until_true(function() return lfs.attributes(path) and answer("-s", path, "status").pid == s.pid end, 5, "the socket")
    assert.are.equal("rw-------", lfs.attributes(path, "permissions"))
    s:get "/"
    wait.until_true(function()
      local ok, r = pcall(client.request, tonumber(port), "GET", "/metrics")
      return ok and r.body:find "\nmoonpool_requests_total{method=\"GET\",status=\"2xx\"} 1\n"
    end, 10, "the new master's metrics")
    assert.are.equal(0, s:count_log " error ")
  end)

  it("is not there when it is off, or when there is no folder for it", function()
    s = start { workers = 1, args = { "--control-socket", "off" } }
    assert.is_nil(lfs.attributes(folder .. "/moonpool"))
    s:stop()
    s = server.start { app = app, env = { XDG_RUNTIME_DIR = "/proc/self" } }
    assert.are.equal(1, s:count_log "info there is no control socket")
  end)

  describe("with a client that is slow or hostile", function()
    local function connect()
      local c = assert(socket_unix())
      assert(c:connect(path_of(s)))
      c:settimeout(5)
      return c
    end

    it("goes on answering others", function()
      s = start { workers = 1 }
      local conns = {}
      for i = 1, 31 do conns[i] = connect() end -- who say nothing
      assert.are.equal(s.pid, answer("status").pid)
      conns[1]:send "sta"
      conns[2]:send "tus\n"
      assert.are.equal(s.pid, answer("status").pid)
      for _, c in ipairs(conns) do c:close() end
    end)

    it("closes on a line that is too long, and answers one that it does not know", function()
      s = start { workers = 1 }
      local c = connect()
      c:send(("x"):rep(1000))
      assert.is_nil((c:receive "*l"))
      c:close()
      for _, line in ipairs { "", "status more", "scale", "\0\1\2", '"', "stat", "statuss" } do
        c = connect()
        c:send(line .. "\n")
        assert.is_truthy(c:receive("*l"):find '^{"error":')
        c:close()
      end
      assert.are.equal(200, s:get("/").status)
    end)

    it("lets go of one that does not take its answer, and of one that goes away", function()
      s = start { workers = 1 }
      local before = proc.count_fds(s.pid)
      for _ = 1, 20 do
        local c = connect()
        c:send "dump\n"
        c:close()
      end
      for _, what in ipairs { "status", "tasks", "reload" } do
        local c = connect()
        c:send(what .. "\n" .. ("status\n"):rep(100))
        if what == "tasks" then assert.is_truthy(c:receive "*l") end
        c:close()
      end
      wait.until_true(function() return proc.count_fds(s.pid) <= before end, 5, "the descriptors")
      assert.are.equal(s.pid, answer("status").pid)
    end)
  end)
end)
