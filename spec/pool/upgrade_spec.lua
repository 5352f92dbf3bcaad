-- USR2: another binary takes the place of this one, on the same sockets, and nobody notices.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

-- on_start takes as long as the file `slow` beside the app says.
local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:on_start(function()
  local file = io.open "slow"
  if not file then return end
  moonpool.log.info "slow start"
  moonpool.sleep(tonumber(file:read "a"))
end)
app:get("/", function(_, res) res:text("of " .. (io.open("/proc/self/stat"):read "a"):match "%) %S (%d+)") end)
app:get("/slow", function(_, res)
  moonpool.log.info "slow begun"
  res:text("ends " .. moonpool.run({ "sh", "-c", "sleep 0.7; exit 27" }).code)
end)
return app
]]

describe("USR2", function()
  local s
  after_each(server.stop_all)

  local function start(options)
    options = options or {}
    options.app = options.app or app
    s = server.start(options)
    return s
  end

  local function answers_of(pid) return s:get("/").body == "of " .. pid end

  local function upgrade()
    s:signal "USR2"
    return s:follow()
  end

  -- The old master goes on as if nothing had been.
  local function goes_on(pid, workers)
    assert.is_true(proc.alive(pid))
    wait.until_true(function() return #proc.children(pid) == #workers end, 10, "the end of what was started")
    assert.are.same(workers, proc.children(pid))
    assert.is_true(answers_of(pid))
  end

  local function fails(pattern, count)
    local old, workers = s.pid, s:workers()
    s:signal "USR2"
    s:wait_log("pool error upgrade failed, the old workers go on: " .. pattern, 20, count)
    goes_on(old, workers)
  end

  it("puts a new master with new workers behind the same port; the old one leaves with 0", function()
    start { workers = 2 }
    local workers = s:workers()
    local old = upgrade()
    assert.are_not.equal(old, s.pid)
    assert.is_true(answers_of(s.pid))
    for _, pid in ipairs(workers) do assert.is_false(proc.alive(pid)) end
    assert.are.equal(2, #s:workers())
    assert.are.equal(2, s:count_log "listening on http://127%.0%.0%.1:%d+$")
    assert.are.equal(0, s:count_log " error ")
    s:stop()
  end)

  it("ten times in a row fails no request, kept connections or new ones", function()
    start { workers = 2 }
    local done, from = 0, wait.now()
    local masters = { [s.pid] = true }
    s:signal "USR2"
    local requests, failures = client.under_load(s.port, { clients = 4 }, function()
      if s:count_log "this is the master now" <= done or s:count_log "the old master has left" <= done then return end
      s:follow()
      done = done + 1
      masters[s.pid] = true
      if done == 10 then return true end
      s:signal "USR2"
    end)
    assert.are.same({}, failures)
    assert.are.equal(10, done)
    local n = 0
    for _ in pairs(masters) do n = n + 1 end
    assert.are.equal(11, n)
    assert.is_true(requests > 50, ("%d requests in %.1f s"):format(requests, wait.now() - from))
    s:stop()
  end)

  it("lets a request in flight finish with its process, while the new one answers already", function()
    start()
    local old = s.pid
    local c = s:connect()
    c:send(client.bytes("GET", "/slow"))
    s:wait_log "slow begun"
    s:signal "USR2"
    s:wait_log "this is the master now"
    assert.is_false(answers_of(old))
    assert.is_true(proc.alive(old))
    local r = c:response()
    assert.are.equal("ends 27", r.body)
    assert.are.equal("close", r.headers.connection)
    s:follow()
    s:stop()
  end)

  it("hands the pid file over without a moment in which there is none", function()
    local folder = assert(host.tempdir())
    local file = folder .. "/pid"
    start { args = { "--pid", file } }
    local old, seen = s.pid, {}
    s:signal "USR2"
    wait.until_true(function()
      local text = server.read_file(file)
      seen[text] = true
      local heir = s:log():match "this is the master now pid=(%d+)"
      return heir and text == heir .. "\n"
    end, 20, "the new number")
    s:follow()
    assert.are.same({ [old .. "\n"] = true, [s.pid .. "\n"] = true }, seen)
    assert.are.equal(s.pid .. "\n", server.read_file(file))
    s:stop()
    assert.is_nil(lfs.attributes(file))
    lfs.rmdir(folder)
  end)

  it("keeps the name of a unix socket, which goes with the last master", function()
    local folder = assert(host.tempdir())
    local path = folder .. "/socket"
    start { args = { "--listen", "unix:" .. path } }
    upgrade()
    assert.are.equal("socket", lfs.attributes(path, "mode"))
    local unix = require "socket.unix" ()
    assert(unix:connect(path))
    unix:send "GET / HTTP/1.0\r\n\r\n"
    assert.matches("of " .. s.pid, unix:receive "*a")
    s:stop()
    assert.is_nil(lfs.attributes(path))
    lfs.rmdir(folder)
  end)

  it("reads the configuration anew: other addresses, other workers", function()
    start { bare = true, files = { ["moonpool.conf.lua"] = "listen = '127.0.0.1:0'\nworkers = 1\n" } }
    server.write_file(s.folder .. "/moonpool.conf.lua", "listen = { '127.0.0.1:0', 'localhost:0' }\nworkers = 1\ndrain_idle = 1\n")
    upgrade()
    assert.is_true(answers_of(s.pid)) -- the old port is still one of them
    local _, other = s:log():match "listening on http://[^\n]+\n.*listening on http://[^\n]+:(%d+)\n.*:(%d+)\n"
    assert.are.equal("of " .. s.pid, client.request(tonumber(other), "GET", "/").body)
    s:stop()
  end)

  it("leaves no descriptor behind, however often", function()
    start()
    upgrade()
    local first = proc.count_fds(s.pid)
    for _ = 1, 3 do upgrade() end
    wait.until_true(function() return proc.count_fds(s.pid) == first end, 5,
      ("%d descriptors again; there are %d"):format(first, proc.count_fds(s.pid)))
    s:stop()
  end)

  it("starts what lies under the name by then, not what runs", function()
    local folder = assert(host.tempdir())
    local name = folder .. "/moonpool"
    assert(lfs.link(server.binary, name, true))
    start { binary = name }
    local function becomes(text)
      os.remove(name)
      if text then server.write_script(name, text) end
    end
    becomes(nil)
    fails(".*/moonpool cannot be started: no such file or directory")
    becomes "echo 'this is another program' >&2; exit 7\n"
    fails "it exited 7 %(no exit code of ours%): this is another program"
    becomes "kill -SEGV $$\n"
    fails "it was killed by SIGSEGV"
    becomes "exit 0\n"
    fails "it exited 0"
    server.write_file(name, "no program at all", "755")
    fails ".*/moonpool cannot be started: exec format error"
    os.remove(name)
    assert(lfs.link(server.binary, name, true))
    upgrade()
    assert.is_true(answers_of(s.pid))
    s:stop()
    os.remove(name)
    lfs.rmdir(folder)
  end)

  it("with a broken configuration changes nothing, and the log says why", function()
    start { files = { ["moonpool.conf.lua"] = "keep_alive = 7\n" } }
    server.write_file(s.folder .. "/moonpool.conf.lua", "\nwrokers = 2\n")
    fails "it exited 2 .*moonpool%.conf%.lua:2: unknown key wrokers"
    s:stop()
  end)

  it("with a broken app changes nothing", function()
    start { workers = 2 }
    server.write_file(s.app, "local x = = 1\n")
    fails "it exited 3 %(the app failed to load%)"
    assert.are.equal(1, s:count_log "app error .*app%.lua:1")
    server.write_file(s.app, app)
    upgrade()
    s:stop()
  end)

  it("with an app that does not get ready in time changes nothing", function()
    start { args = { "--boot-timeout", tostring(0.5 * wait.slow) } }
    server.write_file(s.folder .. "/slow", "100")
    fails "it exited 5 %(its workers die at boot%)"
    s:stop()
  end)

  it("with a program that says nothing gives up on it", function()
    local folder = assert(host.tempdir())
    local name = folder .. "/moonpool"
    assert(lfs.link(server.binary, name, true))
    start { binary = name, args = { "--boot-timeout", tostring(0.2 * wait.slow) } }
    os.remove(name)
    server.write_script(name, "exec sleep 3617\n")
    fails "it was not ready in time"
    assert.are.equal(0, #proc.named "sleep 3617")
    s:stop()
    os.remove(name)
    lfs.rmdir(folder)
  end)

  describe("while one is under way", function()
    local new

    before_each(function()
      start { workers = 2 }
      server.write_file(s.folder .. "/slow", tostring(0.6 * wait.slow ^ 0.5))
      s:signal "USR2"
      new = tonumber((s:wait_log "upgrade begun program=%S+ pid=(%d+)"))
      s:wait_log "slow start"
    end)

    it("is refused", function()
      s:signal "USR2"
      s:wait_log "pool error no upgrade: one is under way"
      s:follow()
      assert.are.equal(new, s.pid)
      s:stop()
    end)

    it("TERM ends both, and all below them", function()
      s:signal "TERM"
      s:wait_exit()
      assert.is_false(proc.alive(new))
      s:finish("exit", 0)
    end)

    it("INT ends both at once", function()
      s:signal "INT"
      local took = wait.took(s.wait_exit, s)
      assert.is_true(took < 2 * wait.slow, took)
      assert.is_false(proc.alive(new))
      s:finish("exit", 0)
    end)

    it("TERM to the new one ends that alone", function()
      local workers = {}
      for _, pid in ipairs(s:workers()) do
        if pid ~= new then workers[#workers + 1] = pid end
      end
      host.kill(new, "TERM")
      s:wait_log "upgrade failed, the old workers go on: it exited 0"
      goes_on(s.pid, workers)
      s:stop()
    end)

    it("kill -9 of the new one leaves the old one as it was", function()
      local workers = {}
      for _, pid in ipairs(s:workers()) do
        if pid ~= new then workers[#workers + 1] = pid end
      end
      local below = proc.descendants(new)
      assert.is_true(#below > 0)
      host.kill(new, "KILL")
      s:wait_log "upgrade failed, the old workers go on: it was killed by SIGKILL"
      goes_on(s.pid, workers)
      for _, pid in ipairs(below) do assert.is_false(proc.alive(pid)) end
      os.remove(s.folder .. "/slow")
      upgrade()
      s:stop()
    end)

    it("kill -9 of the old one leaves its place to the new one", function()
      local workers = {}
      for _, pid in ipairs(s:workers()) do
        if pid ~= new then workers[#workers + 1] = pid end
      end
      s:signal "KILL"
      s:wait_exit()
      for _, pid in ipairs(workers) do
        wait.until_true(function() return not proc.alive(pid) end, 2, "the end of the old workers")
      end
      assert.is_true(proc.alive(new))
      wait.until_true(function() return s:log():find("this is the master now pid=" .. new, 1, true) end, 20, "the new one")
      wait.until_true(function() return answers_of(new) end, 10, "an answer of the new one")
      server.adopt(s, new)
      os.remove(s.folder .. "/slow")
      upgrade() -- and it may be followed in its turn
      s:stop()
    end)

    it("HUP reaches the new one, once it serves", function()
      s:signal "HUP"
      s:wait_log "signal name=SIGHUP"
      os.remove(s.folder .. "/slow")
      s:follow()
      wait.until_true(function() return s:count_log "reloaded gen=2" == 1 end, 10, "its reload")
      assert.are.equal(2, s:count_log "signal name=SIGHUP")
      s:stop()
    end)

    it("HUP is done by the old one, should the new one fail", function()
      s:signal "HUP"
      s:wait_log "signal name=SIGHUP"
      os.remove(s.folder .. "/slow")
      host.kill(new, "KILL")
      s:wait_log "reloaded gen=2"
      assert.is_true(answers_of(s.pid))
      s:stop()
    end)
  end)

  it("is refused while the master before still has requests", function()
    start()
    local c = s:connect()
    c:send(client.bytes("GET", "/slow"))
    s:wait_log "slow begun"
    s:signal "USR2"
    local new = tonumber((s:wait_log "this is the master now pid=(%d+)"))
    host.kill(new, "USR2")
    s:wait_log "pool error no upgrade: the master before us has not left yet"
    assert.are.equal("ends 27", c:response().body)
    s:follow()
    upgrade()
    s:stop()
  end)

  it("of a master that is leaving already answers a TERM by leaving in good order", function()
    start()
    local c = s:connect()
    c:send(client.bytes("GET", "/slow"))
    s:wait_log "slow begun"
    s:signal "USR2"
    s:wait_log "this is the master now pid=(%d+)"
    s:signal "TERM"
    assert.are.equal("ends 27", c:response().body)
    s:follow()
    s:stop()
  end)
end)
