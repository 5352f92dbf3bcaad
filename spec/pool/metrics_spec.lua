-- --metrics-listen: a process of its own tells of the whole pool, whatever the workers are doing. And --health.
local client = require "spec.support.client"
local exposition = require "spec.support.exposition"
local host = require "host"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text(tostring(moonpool.worker.pid)) end)
app:post("/", function(_, res) res:status(201):text "made" end)
app:get("/slow", function(_, res) moonpool.sleep(0.06) res:text "slow" end)
app:get("/waits", function() moonpool.sleep(30) end)
app:get("/bomb", function(_, res) res:text(tostring((("a"):rep(4000)):find((".-"):rep(20) .. "b"))) end)
app:get("/bug", function() error "a bug" end)
app:get("/task", function(_, res) moonpool.spawn(function() error "nobody" end) res:text "" end)
app:get("/spin", function() while true do end end)
app:get("/spawn", function(_, res)
  moonpool.run { "true" }
  moonpool.run { "sh", "-c", "exit 3" }
  moonpool.run { "sh", "-c", "kill -KILL $$" }
  moonpool.run { "sleep", "3643", timeout = 0.01, grace = 0 }
  moonpool.run { "/no/such/program" }
  res:text "done"
end)
app:get("/offload", function(_, res) res:text(moonpool.offload(function() return "far" end):wait()) end)
return app
]]

describe("--metrics-listen", function()
  local s, port
  after_each(server.stop_all)

  local function start(options)
    local args = { "--metrics-listen", "127.0.0.1:0", "--control-socket", "off" }
    for _, word in ipairs(options.args or {}) do args[#args + 1] = word end
    options.args, options.app = args, options.app or app
    s = server.start(options)
    port = tonumber(s:wait_log "metrics on http://127.0.0.1:(%d+)/metrics")
  end

  local function scrape()
    local r = client.request(port, "GET", "/metrics")
    assert.are.equal(200, r.status)
    assert.are.equal("text/plain; version=0.0.4; charset=utf-8", r.headers["content-type"])
    return exposition.read(r.body), r.body
  end

  local function value(name, labels) return (exposition.value(scrape(), "moonpool_" .. name, labels)) end

  local function reporter()
    for _, pid in ipairs(proc.children(s.pid)) do
      if proc.command(pid):find "^moonpool report" then return pid end
    end
  end

  local function becomes(expected, name, labels)
    local last
    wait.until_true(function()
      last = value(name, labels)
      return last == expected
    end, 5, name .. " to become " .. expected)
  end

  it("answers in the format of Prometheus, and nothing but /metrics", function()
    start { workers = 2 }
    local families, body = scrape()
    for _, family in pairs(families) do assert.is_truthy(family.name:find "^moonpool_") end
    local r = client.request(port, "HEAD", "/metrics")
    assert.are.same({ 200, "" }, { r.status, r.body })
    assert.are.equal(404, client.request(port, "GET", "/").status)
    r = client.request(port, "POST", "/metrics", { body = "x" })
    assert.are.equal(405, r.status)
    assert.are.equal("GET, HEAD", r.headers.allow)
    if os.execute "command -v promtool >/dev/null 2>&1" then
      server.write_file(s.folder .. "/scrape", body)
      assert.is_true(os.execute(("promtool check metrics <'%s/scrape' >&2"):format(s.folder)))
    end
  end)

  it("counts requests by method and status, and how long they took", function()
    start { workers = 2 }
    for _ = 1, 5 do s:get "/" end
    s:post("/", "x")
    s:get "/nowhere"
    s:get "/bug"
    s:get "/slow"
    becomes(6, "requests_total", { method = "GET", status = "2xx" })
    local m = scrape()
    local function v(name, labels) return (exposition.value(m, "moonpool_" .. name, labels)) end
    assert.are.equal(1, v("requests_total", { method = "POST", status = "2xx" }))
    assert.are.equal(1, v("requests_total", { method = "GET", status = "4xx" }))
    assert.are.equal(1, v("requests_total", { method = "GET", status = "5xx" }))
    assert.are.equal(9, v "request_duration_seconds_count")
    assert.is_true(v("request_duration_seconds_bucket", { le = "0.05" }) <= 8)
    assert.are.equal(9, v("request_duration_seconds_bucket", { le = "10" }))
    local sum = v "request_duration_seconds_sum"
    assert.is_true(sum >= 0.06 and sum < 5)
    assert.are.equal(1, v("unhandled_errors_total", { kind = "handler" }))
    assert.are.equal(9, v "connections_accepted_total")
    assert.are.equal(2, v("workers", { state = "serving" }))
    assert.is_true(v "response_body_bytes_total" > 20)
    assert.is_true(math.abs(v "start_time_seconds" - os.time()) < 60 * wait.slow)
  end)

  it("counts errors, processes by outcome, refusals and clients that went away", function()
    start { workers = 1, args = { "--timeout", "0.3" } }
    s:get "/task"
    s:get "/spawn"
    s:get "/offload"
    assert.are.equal(503, s:get("/spin").status)
    local c = s:connect()
    c:send "GET / HTTP/1.1\r\nBad Header\r\n\r\n"
    assert.are.equal(400, c:response().status)
    c:close()
    c = s:connect()
    c:send(client.bytes("GET", "/waits"))
    becomes(1, "worker_requests_in_flight", { worker = "1" })
    becomes(1, "worker_tasks", { worker = "1" })
    c:close()
    becomes(1, "requests_total", { method = "GET", status = "none" })
    becomes(1, "unhandled_errors_total", { kind = "task" })
    for _, outcome in ipairs { "ok", "failed", "signalled", "timed_out", "not_started" } do
      becomes(1, "processes_total", { outcome = outcome })
    end
    becomes(1, "refused_total", { status = "400" })
    becomes(1, "lua_ended_total")
    becomes(0, "worker_requests_in_flight", { worker = "1" })
  end)

  it("tells of each worker's memory, load and connections", function()
    start { workers = 2 }
    local conns = { s:connect(), s:connect() }
    for _, c in ipairs(conns) do c:send(client.bytes("GET", "/waits")) end
    wait.until_true(function()
      local m, sum = scrape(), 0
      for n = 1, 2 do sum = sum + exposition.value(m, "moonpool_worker_connections", { worker = tostring(n) }) end
      return sum == 2
    end, 5, "two connections")
    local m = scrape()
    for n = 1, 2 do
      local function v(name) return (exposition.value(m, "moonpool_worker_" .. name, { worker = tostring(n) })) end
      assert.is_true(v "resident_memory_bytes" > 2000000)
      assert.is_true(v "lua_memory_bytes" > 10000)
      assert.is_true(v "loop_busy_ratio" >= 0 and v "loop_busy_ratio" <= 1)
      assert.is_true(v "oldest_request_seconds" >= 0)
    end
    for _, c in ipairs(conns) do c:close() end
  end)

  it("answers while workers are stuck, and names the request", function()
    start { workers = 1, args = { "--timeout", "60" } }
    local c = s:connect()
    c:send 'GET /bomb?a="%22\\&b HTTP/1.1\r\nHost: x\r\n\r\n'
    local stuck
    wait.until_true(function()
      stuck = select(2, exposition.value(scrape(), "moonpool_stuck_request_seconds"))
      return stuck
    end, 10, "the stuck request")
    assert.are.equal('GET /bomb?a="%22\\&b', stuck.labels.request)
    assert.are.equal("1", stuck.labels.worker)
    assert.is_truthy(stuck.labels.id:find "^%x+$")
    assert.is_true(stuck.value >= 1)
    assert.is_true(value("worker_loop_turn_seconds", { worker = "1" }) >= 1)
    assert.are.equal(1, value("worker_loop_busy_ratio", { worker = "1" }))
    host.kill(tonumber(stuck.labels.pid), "STOP")
    assert.is_truthy(value("stuck_request_seconds"))
    host.kill(tonumber(stuck.labels.pid), "KILL")
    c:close()
  end)

  it("never goes back, whatever becomes of workers, and says why they were replaced", function()
    start { workers = 2 }
    for _ = 1, 10 do s:get "/" end
    becomes(10, "requests_total", { method = "GET", status = "2xx" })
    local ready = s.size
    for _ = 1, 2 do
      for _, pid in ipairs(proc.children(s.pid)) do
        if pid ~= reporter() then host.kill(pid, "KILL") end
      end
      ready = ready + 2
      local least = 10
      wait.until_true(function()
        local now = value("requests_total", { method = "GET", status = "2xx" })
        assert.is_true(now >= least, "it went back to " .. now)
        least = now
        return s:count_log "worker ready" >= ready
      end, 10, "the new workers")
      for _ = 1, 2 do s:get "/" end
    end
    becomes(14, "requests_total", { method = "GET", status = "2xx" })
    assert.are.equal(4, value("worker_restarts_total", { cause = "signalled" }))
    assert.are.equal(6, value "worker_starts_total")
    s:signal "HUP"
    s:wait_log "reloaded gen=2"
    becomes(14, "requests_total", { method = "GET", status = "2xx" })
    becomes(1, "reloads_total", { result = "ok" })
    becomes(2, "generation")
    becomes(0, "workers", { state = "leaving" })
    assert.are.equal(4, value("worker_restarts_total", { cause = "signalled" }))
  end)

  it("is started again when it dies, and ends with the master", function()
    start { workers = 1 }
    local first = reporter()
    host.kill(first, "KILL")
    s:wait_log "the report of metrics was killed by SIGKILL"
    wait.until_true(function() return reporter() and reporter() ~= first end, 5, "another one")
    s:get "/"
    becomes(1, "requests_total", { method = "GET", status = "2xx" })
    local below = s:descendants()
    assert.are.equal(2, #below)
    host.kill(s.pid, "KILL")
    s:wait_exit()
    wait.until_true(function()
      for _, pid in ipairs(below) do if proc.alive(pid) then return false end end
      return true
    end, 1, "the end of both")
    s:abandon()
  end)

  it("cannot write to the page, nor is it a worker", function()
    start { workers = 1 }
    local pid = reporter()
    for fd, target in pairs(proc.fds(pid)) do
      if target:find "memfd:moonpool" then
        local flags = server.read_file(("/proc/%d/fdinfo/%d"):format(pid, fd)):match "flags:%s*(%d+)"
        assert.are.equal("0", flags:sub(-1))
      end
    end
    assert.is_falsy(server.read_file(("/proc/%d/maps"):format(pid)):find "rw%-s %S+ %S+ %S+%s+/memfd:moonpool")
  end)

  it("moves on HUP, and stays where an address cannot be had", function()
    start { workers = 1, files = { ["moonpool.conf.lua"] = "drain_idle = 0.1" } }
    s:stop()
    s = server.start { app = app, args = { "--control-socket", "off" },
                       files = { ["moonpool.conf.lua"] = 'metrics_listen = "127.0.0.1:0"' } }
    port = tonumber(s:wait_log "metrics on http://127.0.0.1:(%d+)/metrics")
    local first = port
    server.write_file(s.folder .. "/moonpool.conf.lua", ('metrics_listen = "127.0.0.1:%d"'):format(s.port))
    s:signal "HUP"
    s:wait_log "error metrics stay where they were: cannot listen on 127.0.0.1:%d+: address already in use"
    assert.are.equal(200, client.request(first, "GET", "/metrics").status)
    server.write_file(s.folder .. "/moonpool.conf.lua", 'metrics_listen = "[::1]:0"')
    if not pcall(client.connect, s.port, "::1") then -- no IPv6 here
      server.write_file(s.folder .. "/moonpool.conf.lua", 'metrics_listen = "127.0.0.2:0"')
    end
    s:signal "HUP"
    local address, second = s:wait_log("metrics on http://(%S+):(%d+)/metrics", 10, 2)
    local c = client.connect(tonumber(second), (address:gsub("[%[%]]", "")))
    c:send(client.bytes("GET", "/metrics"))
    assert.are.equal(200, c:response().status)
    c:close()
    wait.until_true(function() return not pcall(client.connect, first) end, 5, "the old address to close")
    server.write_file(s.folder .. "/moonpool.conf.lua", "drain_idle = 0.1")
    s:signal "HUP"
    s:wait_log("reloaded gen=4", 10)
    wait.until_true(function() return reporter() == nil end, 5, "its end")
  end)

  it("at an address that cannot be had ends the start with 4", function()
    start { workers = 1 }
    local second = server.launch { app = app, args = { "--metrics-listen", "127.0.0.1:" .. port, "--control-socket", "off" } }
    assert.are.same({ "exit", 4 }, { second:wait_exit() })
    assert.is_truthy(second:log():find "metrics: cannot listen on 127.0.0.1:%d+: address already in use")
    second:abandon()
  end)
end)

describe("--health", function()
  local s
  after_each(server.stop_all)

  it("is answered before the app, and not written down", function()
    s = server.start { app = app, args = { "--health", "/alive", "--access-log", "-" } }
    local r = s:get "/alive"
    assert.are.same({ 200, "ok\n" }, { r.status, r.body })
    assert.are.equal("no-store", r.headers["cache-control"])
    r = client.request(s.port, "HEAD", "/alive")
    assert.are.same({ 200, "" }, { r.status, r.body })
    assert.are.equal(200, s:get("/alive?deep=1").status)
    assert.are.equal(404, s:post("/alive", "x").status)
    assert.are.equal(404, s:get("/alive/more").status)
    s:wait_log '"GET /alive/more'
    assert.are.equal(0, s:count_log '"GET /alive[ ?]')
  end)

  it("says 503 while its worker drains", function()
    s = server.start { app = app, args = { "--health", "/alive", "--drain-idle", "5" } }
    local kept, busy = s:connect(), s:connect()
    assert.are.equal(200, kept:ask("GET", "/alive").status)
    busy:send(client.bytes("GET", "/waits"))
    wait.sleep(0.1)
    host.kill(s:worker(), "TERM")
    local r = wait.until_true(function()
      local ok, answer = pcall(kept.ask, kept, "GET", "/alive")
      if not ok then return { status = "closed" } end
      return answer.status ~= 200 and answer
    end, 5, "another status")
    assert.are.same({ 503, "draining\n" }, { r.status, r.body })
    assert.are.equal("close", r.headers.connection)
    kept:close()
    busy:close()
  end)

  it("wants a path", function()
    for _, value in ipairs { "alive", "/a?b" } do
      s = server.launch { app = app, args = { "--health", value } }
      assert.are.same({ "exit", 2 }, { s:wait_exit() })
      assert.is_truthy(s:log():find "%-%-health: a path that begins with / is wanted")
      s:abandon()
    end
  end)
end)
