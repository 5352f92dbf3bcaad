-- A worker at a limit gets a successor: the new one is ready first, the old one drains, and nobody notices.
local client = require "spec.support.client"
local host = require "host"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text(tostring(moonpool.worker.pid)) end)
app:get("/slow", function(_, res)
  moonpool.log.info "slow begun"
  moonpool.sleep(0.8)
  res:text(tostring(moonpool.worker.pid))
end)
local kept = {}
app:get("/grow", function(_, res)
  for _ = 1, 48 do kept[#kept + 1] = ("x"):rep(1024 * 1024) .. #kept end
  res:text "grown"
end)
return app
]]

-- What happened, in order: "ready PID", "replaced PID", "left PID".
local function events(s)
  local list = {}
  for line in s:log():gmatch "[^\n]+" do
    local pid = line:match "pid=(%d+)"
    if line:find "worker ready" then list[#list + 1] = "ready " .. pid end
    if line:find "worker replaced at a limit" then list[#list + 1] = "replaced " .. pid end
    if line:find "worker left" then list[#list + 1] = "left " .. pid end
  end
  return list
end

local function place(list, what)
  for at, event in ipairs(list) do
    if event == what then return at end
  end
  error(what .. " did not happen:\n" .. table.concat(list, "\n"), 2)
end

describe("--max-requests", function()
  local s
  after_each(server.stop_all)

  it("replaces a worker after so many, its successor ready first, and says so once", function()
    s = server.start { app = app, args = { "--max-requests", 10 } }
    local first = s:worker()
    for _ = 1, 9 do assert.are.equal(tostring(first), s:get("/").body) end
    assert.are.equal(0, s:count_log "at a limit")
    s:get "/"
    s:wait_log("info worker replaced at a limit slot=0 gen=1 pid=" .. first .. " reason=max%-requests requests=10$")
    s:wait_log("worker left, exited 0 slot=0 gen=1 pid=" .. first)
    local second = s:worker()
    assert.are_not.equal(first, second)
    local list = events(s)
    assert.is_true(place(list, "ready " .. second) < place(list, "replaced " .. first))
    assert.are.equal(1, s:count_log "at a limit")
    assert.are.equal(tostring(second), s:get("/").body)
  end)

  it("fails no request under load, one slot at a time, never more than one extra worker", function()
    s = server.start { app = app, workers = 2, args = { "--max-requests", 40, "--max-requests-jitter", 20 } }
    local most, from = 0, wait.now()
    local done, failures = client.under_load(s.port, { clients = 4 }, function()
      most = math.max(most, #s:workers())
      return s:count_log "at a limit" >= 6 or wait.now() - from > 60
    end)
    assert.are.same({}, failures)
    assert.is_true(s:count_log "at a limit" >= 6, done .. " requests")
    assert.is_true(most <= 4, most) -- a worker and one that comes or leaves, a slot
    assert.are.equal(0, s:count_log " error ")
  end)

  it("waits for a request in flight, and does not pile up workers that leave", function()
    s = server.start { app = app, args = { "--max-requests", 1 } }
    local slow = s:connect()
    slow:send(client.bytes("GET", "/slow"))
    s:wait_log "slow begun"
    local first = s:worker()
    assert.are.equal(tostring(first), s:get("/").body)
    s:wait_log("replaced at a limit.*pid=" .. first)
    wait.until_true(function() return s:get("/").body ~= tostring(first) end, 5, "the successor's answer")
    wait.sleep(0.1)
    assert.are.equal(2, #s:workers()) -- the second is at its limit too, and waits until the first has gone
    assert.are.equal(tostring(first), slow:response().body)
    s:wait_log("replaced at a limit", 5, 2)
  end)

  it("keeps a worker whose successor does not get up", function()
    s = server.start { app = app, args = { "--max-requests", 2 } }
    local first = s:worker()
    server.write_file(s.app, "local x = = 1\n")
    s:get "/"
    s:get "/"
    s:wait_log "error .*app%.lua:1"
    s:wait_log "error a worker at a limit cannot be replaced, it goes on slot=0"
    assert.are.equal(tostring(first), s:get("/").body)
    server.write_file(s.app, app)
    s:wait_log("replaced at a limit.*pid=" .. first, 10)
    wait.until_true(function() return s:get("/").body ~= tostring(first) end, 5, "the successor's answer")
    assert.are.equal(1, s:count_log "cannot be replaced")
  end)
end)

describe("--max-lifetime", function()
  it("replaces a worker of that age, idle or not", function()
    local s = server.start { app = app, args = { "--max-lifetime", 0.7 } }
    local first = s:worker()
    s:wait_log("info worker replaced at a limit .*pid=" .. first .. " reason=max%-lifetime age_ms=%d+$")
    local age = tonumber(s:log():match "age_ms=(%d+)")
    assert.is_true(age >= 700, age)
    s:wait_log("worker left.*pid=" .. first)
    s:stop()
  end)
end)

describe("--max-rss", function()
  local s
  after_each(server.stop_all)

  local function resident(pid) return require("spec.support.proc").rss(pid) * 1024 end

  it("replaces a worker that has grown beyond it", function()
    s = server.start { app = app }
    local limit = resident(s:worker()) + 30 * 1024 * 1024
    s:stop()
    s = server.start { app = app, args = { "--max-rss", math.floor(limit) } }
    local first = s:worker()
    wait.sleep(1.2) -- a look that finds nothing
    assert.are.equal(0, s:count_log "at a limit")
    assert.are.equal("grown", s:get("/grow").body)
    s:wait_log("info worker replaced at a limit .*pid=" .. first .. " reason=max%-rss rss_bytes=%d+$", 10)
    assert.is_true(tonumber(s:log():match "rss_bytes=(%d+)") > limit)
    s:wait_log("worker left.*pid=" .. first)
    assert.are_not.equal(tostring(first), s:get("/").body)
  end)

  it("below what a fresh worker needs is no storm", function()
    s = server.start { app = app, args = { "--max-rss", "1M", "--timeout", 0.2 } }
    wait.sleep(3.5)
    assert.is_true(s:count_log "at a limit" <= 3, s:count_log "at a limit")
    assert.are.equal(200, s:get("/").status)
    host.kill(s.pid, "TERM")
    s:finish("exit", 0)
  end)
end)
