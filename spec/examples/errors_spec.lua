-- No error is lost, and none is told twice: each way to fail of examples/errors has one line in the log, and one call of
-- on_error. The table says what the client sees, the kind that on_error hears, and the line.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local BY_AT = " spawned_at=%S*ways%.lua:%d+"

-- name → status, kind, the text of the error, the line of the log
local LOUD = {
  handler = { 500, "handler", "the handler broke",
    'handler error: %S*ways%.lua:%d+: the handler broke request="POST /fail/handler" id=%x+' },
  answer = { 503, "handler", "the kitchen is closed", 'handler error: the kitchen is closed request="POST /fail/answer"' },
  late = { "cut", "handler", "the handler broke after its head", "handler error: .*the handler broke after its head" },
  task = { 200, "task", "the task broke", "task error: .*the task broke" .. BY_AT },
  background = { 200, "task", "the background task broke", "task error: .*the background task broke" .. BY_AT },
  timer = { 200, "timer", "the timer broke", "timer error: .*the timer broke" .. BY_AT },
  offload = { 200, "offload", "the offloaded function broke", "offload error: .*the offloaded function broke" .. BY_AT },
  service = { 200, "service", "the service broke", "service error: %S*store%.lua:%d+: the service broke" .. BY_AT },
  ["child-exit"] = { 200, "process", "exited 27, nobody waited", "exited 27, nobody waited .*status=exit:27" },
  ["child-signal"] = { 200, "process", "killed by SIGKILL, nobody waited",
    "killed by SIGKILL, nobody waited .*status=signal:SIGKILL" },
  ["child-timeout"] = { 200, "process", "timed out, nobody waited", "sleep%) killed by SIGTERM, timed out, nobody waited" },
  ["child-start"] = { 500, "handler", "no-such-program: no such file or directory", "handler error: .*no such file or directory" },
  ["child-check"] = { 500, "handler", "sh: exit 3: the disk is full", "handler error: sh: exit 3: the disk is full" },
  memory = { 503, "handler", "not enough memory", "handler error: not enough memory" },
  loop = { 503, "handler", "held the worker for longer than --timeout",
    "Lua held the worker for too long, it is ended .*/fail/loop" },
  sqlite = { 500, "handler", "database is locked", "handler error: .*database is locked" },
}

-- name → the line that tells of it, where there is nobody left whom on_error could tell, or nothing to tell
local QUIET = {
  cancelled = "client gone, request cancelled",
  pattern = 'is stuck in C request="POST /fail/pattern"',
  crash = "worker %d %(pid %d+%) killed by SIGKILL after .*1 request in flight",
}

describe("examples/errors", function()
  local s, json, database

  setup(function()
    json = require "cjson"
    database = os.tmpname()
    s = server.start { app = "examples/errors", workers = 4, env = { ERRORS_DB = database }, args = { "--timeout", 1 } }
  end)
  teardown(function()
    s:stop()
    for _, suffix in ipairs { "", "-wal", "-shm", "-journal" } do os.remove(database .. suffix) end
  end)

  local function reports() return json.decode(s:get("/reports").body) end

  local function fail(name)
    local ok, answer = pcall(s.post, s, "/fail/" .. name, "")
    return ok and answer.status or "cut"
  end

  -- As many as are said, and still so when a second one would have come.
  local function stays(n, count, what)
    wait.until_true(function() return count() >= n end, 5, what)
    wait.sleep(0.15)
    assert.are.equal(n, count(), what)
  end

  it("says what each way must come to, and leaves none out", function()
    for _, name in ipairs(json.decode(s:get("/ways").body)) do
      assert.is_truthy(LOUD[name] or QUIET[name], name)
    end
  end)

  for name, expected in pairs(LOUD) do
    it("tells once of " .. name, function()
      local status, kind, text, line = table.unpack(expected)
      s:post("/reports/clear", "")
      local before = s:count_log(line)
      assert.are.equal(status, fail(name))
      stays(1, function() return #reports() end, "one call of on_error")
      stays(1, function() return s:count_log(line) - before end, "one line: " .. line)
      local told = reports()[1]
      assert.are.equal(kind, told.kind)
      assert.is_truthy(told.text:find(text, 1, true), told.text)
      assert.is_true(told.worker >= 1 and told.worker <= 4)
      if kind ~= "timer" and name ~= "background" then
        assert.are.equal("POST /fail/" .. name, told.request)
        assert.is_truthy(told.request_id:find "^%x+$")
      end
      if kind ~= "handler" then assert.is_truthy(told.spawned_at:find "ways%.lua:%d+$") end
      if told.text:find "%.lua:%d+: " then
        assert.is_truthy(told.traceback:find "stack traceback", told.traceback)
      end
    end)
  end

  it("tells no visitor what an error says", function()
    local answer = s:post("/fail/handler", "")
    assert.is_nil(answer.body:find("the handler broke", 1, true))
    answer = s:post("/fail/handler", "", { headers = { Accept = "text/html" } })
    assert.are.equal(500, answer.status)
    assert.is_nil(answer.body:find("the handler broke", 1, true))
    assert.is_truthy(answer.body:find('href="/"', 1, true))
  end)

  it("takes a client that goes away for no error, and ends what its request had started", function()
    s:post("/reports/clear", "")
    local c = s:connect()
    assert(c:send(client.bytes("POST", "/fail/cancelled", { body = "" })))
    local function sleeper()
      for _, pid in ipairs(s:descendants()) do
        if proc.command(pid):find("3919", 1, true) then return pid end
      end
    end
    wait.until_true(sleeper, 5, "its process")
    c:close()
    wait.until_true(function() return not sleeper() end, 5, "the end of its process")
    s:wait_log(QUIET.cancelled)
    assert.are.same({}, reports())
  end)

  it("replaces a worker that is stuck in C, with one line that names the request", function()
    assert.are.equal("cut", fail "pattern")
    stays(1, function() return s:count_log(QUIET.pattern) end, "one line of the stuck worker")
    wait.until_true(function() return #s:workers() == 4 end, 5, "four workers")
  end)

  it("replaces a worker that dies, and keeps what it had told", function()
    s:post("/reports/clear", "")
    fail "task"
    stays(1, function() return #reports() end, "one call of on_error")
    local before = s:count_log(QUIET.crash)
    assert.are.equal("cut", fail "crash")
    stays(1, function() return s:count_log(QUIET.crash) - before end, "one line of the dead worker")
    wait.until_true(function() return #s:workers() == 4 end, 5, "four workers")
    assert.are.equal("the task broke", reports()[1].text:match "the task broke$")
    assert.are.equal(1, #reports())
  end)

  it("shows the reports of all workers, escaped, and says when there is a new one", function()
    s:post("/reports/clear", "")
    local c = s:connect()
    assert(c:send(client.bytes("GET", "/reports/live")))
    c:head()
    local heard
    repeat heard = c:chunk() until heard:find("event: ready", 1, true)
    for _ = 1, 8 do fail "handler" end
    repeat heard = c:chunk() until heard:find("event: report", 1, true)
    c:close()
    stays(8, function() return #reports() end, "eight calls of on_error")
    local page = s:get("/").body
    assert.is_truthy(page:find("What on_error was told", 1, true))
    assert.are.equal(8, select(2, page:gsub('<p class="text">[^<]*the handler broke</p>', "")))
    assert.is_nil(page:find "https?://%w")
  end)

  it("takes no press from another site's page", function()
    local answer = s:post("/fail/crash", "", { headers = { Origin = "http://evil.example" } })
    assert.are.equal(403, answer.status)
  end)
end)
