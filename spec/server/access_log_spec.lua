-- The access log, slow requests, and logs that are moved away and reopened.
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/hello", function(req, res) res:header("X-Id", req.id):text "hi" end)
app:get("/slow", function(_, res) moonpool.sleep(0.3) res:text "at last" end)
app:get("/stream", function(_, res) res:write "abc" res:write "defg" end)
app:get("/broken", function(_, res) res:write "abc" error "no more" end)
app:get("/gone", function() moonpool.log.info "gone begun" moonpool.sleep(30) end)
app:get("/bug", function() error "a bug" end)
app:post("/decode", function(req, res)
  local f = req:json()
  local null = moonpool.json.null
  res:text(table.concat({ f.method, f.target, f.version, f.status, f.bytes, f.agent, f.ip, f.worker,
    tostring(f.referer == null), tostring(f.whole), #f.id, #f.ts }, "|"))
end)
return app
]]

local function lines_of(path)
  local lines = {}
  for line in server.read_file(path):gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

local function wait_lines(path, n)
  return wait.until_true(function()
    local lines = lines_of(path)
    return #lines >= n and lines
  end, 5, n .. " lines in " .. path)
end

describe("an access log", function()
  local s, path
  local function start(...)
    path = os.tmpname()
    s = server.start { app = app, args = { "--access-log", path, ... } }
  end
  after_each(function()
    s:stop()
    os.remove(path)
  end)

  it("has a line for each request in the combined format, with its id, worker and time", function()
    start()
    local r = s:get("/hello?a=b", { headers = { Referer = "http://r/", ["User-Agent"] = "spec/1" } })
    local line = wait_lines(path, 1)[1]
    assert.are.equal(r.headers["x-id"], line:match " id=(%x+) worker=1 took_ms=%d+$")
    assert.is_truthy(line:find '^127%.0%.0%.1 %- %- %[%d%d/%u%l%l/%d%d%d%d:%d%d:%d%d:%d%d %+0000%] "GET ')
    assert.is_truthy(line:find('] "GET /hello?a=b HTTP/1.1" 200 2 "http://r/" "spec/1" id=', 1, true))
    assert.is_truthy(s:get("/slow"))
    assert.is_true(tonumber(wait_lines(path, 2)[2]:match "took_ms=(%d+)$") >= 300)
  end)

  it("counts the bytes of a stream, and names what was broken or refused", function()
    start()
    s:get "/stream"
    assert.is_truthy(wait_lines(path, 1)[1]:find '" 200 7 "%-" "%-" id=%x+ worker=1 took_ms=%d+$')
    local c = s:connect()
    c:send(client.bytes("GET", "/broken"))
    c:rest()
    c:close()
    assert.is_truthy(wait_lines(path, 2)[2]:find '"GET /broken HTTP/1.1" 200 3 .* broken$')
    c = s:connect()
    c:send(client.bytes("GET", "/gone"))
    s:wait_log "gone begun"
    c:rst()
    assert.is_truthy(wait_lines(path, 3)[3]:find '"GET /gone HTTP/1.1" %- 0 .* broken$')
    c = s:connect()
    c:send "nonsense\r\n\r\n"
    c:rest()
    c:close()
    assert.is_truthy(wait_lines(path, 4)[4]:find '^127%.0%.0%.1 .* "%-" 400 0 "%-" "%-" id=%- ')
    s:get "/bug"
    assert.is_truthy(wait_lines(path, 5)[5]:find '"GET /bug HTTP/1.1" 500 ')
  end)

  it("cannot be forged", function()
    start()
    s:get("/hello", { headers = { "User-Agent: a\" 200 1 \\x\t\xe9" } })
    assert.is_truthy(wait_lines(path, 1)[1]:find([["a\x22 200 1 \x5cx\x09\xe9" id=]], 1, true))
  end)

  it("is JSON by option", function()
    start("--log-format", "json")
    s:get("/hello?\"", { headers = { "User-Agent: a\"b\\\t\xe9" } })
    local line = wait_lines(path, 1)[1]
    assert.are.equal('GET|/hello?"|1.1|200|2|a"b\\\t\u{e9}|127.0.0.1|1|true|true|24|20', s:post("/decode", line).body)
  end)

  it("goes on in a new file after USR1", function()
    start()
    s:get "/hello"
    wait_lines(path, 1)
    assert(os.rename(path, path .. ".1"))
    s:signal "USR1"
    wait.until_true(function() return io.open(path) end, 5, "the new log"):close()
    s:get "/stream"
    assert.is_truthy(wait_lines(path, 1)[1]:find "/stream")
    assert.are.equal(1, #lines_of(path .. ".1"))
    os.remove(path .. ".1")
  end)
end)

describe("an access log that cannot be opened", function()
  it("ends the start with a sentence", function()
    local s = server.launch { app = app, args = { "--access-log", "/nowhere/at/all" } }
    s:wait_exit()
    assert.is_truthy(s:log():find "%-%-access%-log /nowhere/at/all: ")
    s:finish("exit", 2)
  end)
end)

describe("an error log", function()
  it("is written by master and workers, and reopened by both after USR1", function()
    local path = os.tmpname()
    local s = server.launch { app = app, args = { "--error-log", path } }
    wait.until_true(function() return server.read_file(path):find "worker ready" end, 10, "the worker")
    s.port = tonumber(server.read_file(path):match "listening on http://[^%s]*:(%d+)")
    s:get "/bug"
    wait.until_true(function() return server.read_file(path):find "a bug" end, 5, "the error")
    assert(os.rename(path, path .. ".1"))
    s:signal "USR1"
    wait.until_true(function() return io.open(path) end, 5, "the new log"):close()
    wait.until_true(function()
      s:get "/bug"
      return server.read_file(path):find "a bug"
    end, 5, "the worker's words in the new log")
    s:signal "TTIN"
    wait.until_true(function() return server.read_file(path):find "worker ready" end, 10, "the master's words in it")
    assert.are.equal("", s:log())
    s:stop()
    os.remove(path)
    os.remove(path .. ".1")
  end)
end)

describe("--access-log-format", function()
  it("makes lines of Gunicorn's atoms, in which nobody can forge anything", function()
    local s = server.start { app = app, args = { "--access-log", "-", "--access-log-format",
      '>> %(h)s "%(r)s" %(s)s %(b)s %({x-a}i)s %({content-type}o)s %(i)s %(w)s' } }
    s:get("/hello", { headers = { ["X-A"] = 'a"b' } })
    s:wait_log '^>> 127%.0%.0%.1 "GET /hello HTTP/1%.1" 200 %d+ a\\x22b text/plain; charset=utf%-8 %x+ 1$'
    s:stop()
  end)

  it("that has what is no atom is refused with 2, and on HUP", function()
    local s = server.launch { app = app, args = { "--access-log-format", "%(h)s %(nonsense)s" } }
    assert.are.same({ "exit", 2 }, { s:wait_exit() })
    assert.is_truthy(s:log():find('--access-log-format: "%(nonsense)s" is no atom', 1, true))
    s:abandon()
    s = server.start { app = app, files = { ["moonpool.conf.lua"] = "drain_idle = 1" } }
    server.write_file(s.folder .. "/moonpool.conf.lua", 'access_log_format = "%(y)s"')
    s:signal "HUP"
    s:wait_log 'reload refused.*access_log_format: "%%%(y%)s" is no atom'
    s:stop()
  end)
end)

describe("the id of a request", function()
  local echo = [[
    local app = require "moonpool".app()
    app:get("/", function(req, res) res:text(req.id) end)
    app:get("/bug", function() error "a bug" end)
    return app
  ]]

  it("is a trusted proxy's, if that is a good one", function()
    local s = server.start { app = echo, args = { "--trusted-proxies", "127.0.0.1", "--access-log", "-" } }
    local function id(value) return s:get("/", { headers = { ["X-Request-Id"] = value } }).body end
    local longest = ("x"):rep(64)
    for _, good in ipairs { "abc-1_2.3", "urn:uuid:0/a+b=@", longest } do assert.are.equal(good, id(good)) end
    s:wait_log(" id=" .. longest .. " worker=1")
    for _, bad in ipairs { "", "a b", 'a"b', longest .. "x", "a;b", "\xc3\xa4" } do
      assert.is_truthy(id(bad):find "^%x+$")
    end
    s:get("/bug", { headers = { ["X-Request-Id"] = "the-bug" } })
    s:wait_log 'handler error: .*request="GET /bug" id=the%-bug'
    s:stop()
  end)

  it("is never a stranger's", function()
    for _, args in ipairs { {}, { "--trusted-proxies", "192.0.2.1" } } do
      local s = server.start { app = echo, args = args }
      local one = s:get("/", { headers = { ["X-Request-Id"] = "mine" } }).body
      assert.is_truthy(one:find "^%x+$")
      assert.are_not.equal(one, s:get("/").body)
      s:stop()
    end
  end)
end)

describe("a request that belongs to a trace", function()
  local trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

  it("says so in the logs", function()
    local s = server.start { app = app, args = { "--access-log", "-" } }
    s:get("/hello", { headers = { traceparent = "00-" .. trace .. "-" .. span .. "-01" } })
    s:wait_log('"GET /hello HTTP/1%.1" 200 .* id=%x+ trace=' .. trace .. " worker=1")
    s:get("/bug", { headers = { traceparent = "00-" .. trace .. "-" .. span .. "-01" } })
    s:wait_log('handler error: .*id=%x+ trace=' .. trace)
    s:get("/hello", { headers = { traceparent = "00-" .. trace .. "-" .. span } })
    s:wait_log('"GET /hello HTTP/1%.1" 200 .* id=%x+ worker=1')
    s:stop()
  end)
end)

describe("a slow request", function()
  it("is named", function()
    local s = server.start { app = app, args = { "--slow-request", "0.2" } }
    s:get "/hello"
    s:get "/slow"
    local took = s:wait_log 'http warn slow request took_ms=(%d+) status=200 request="GET /slow" id=%x+'
    assert.is_true(tonumber(took) >= 300)
    assert.are.equal(1, s:count_log "slow request")
    s:stop()
  end)

  it("is told with its stack while it waits, once", function()
    local s = server.start { app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      local function deep() moonpool.sleep(30) end
      app:get("/waits", function() deep() end)
      app:get("/coroutine", function()
        local step = coroutine.wrap(function() deep() end)
        moonpool.spawn(function() moonpool.sleep(31) end)
        step()
      end)
      app:get("/", function(_, res) res:text "" end)
      return app
    ]], args = { "--slow-request", "0.3" } }
    local one, two = s:connect(), s:connect()
    one:send(client.bytes("GET", "/waits"))
    wait.sleep(0.15)
    two:send(client.bytes("GET", "/coroutine"))
    local age = s:wait_log 'http warn a request waits for long age_ms=(%d+) request="GET /waits" id=%x+'
    assert.is_true(tonumber(age) >= 299 and tonumber(age) < 1000 * wait.slow)
    s:wait_log 'a request waits for long age_ms=%d+ request="GET /coroutine"'
    for _ = 1, 3 do s:get "/" end
    wait.sleep(0.5)
    assert.are.equal(2, s:count_log "waits for long")
    assert.is_truthy(s:log():find "\tapp.lua:3: in [^\n]*'deep'\n\t+app.lua:4: in ")
    assert.is_truthy(s:log():find "and another task of it:\n")
    one:close()
    two:close()
    s:wait_log 'slow request took_ms=%d+ status=0 request="GET /waits"'
    s:stop()
  end)
end)
