-- Clients that mean no good, many at once: they cost little, nobody else waits for them, and they go at their limit.
local client = require "spec.support.client"
local crowd = require "spec.support.crowd"
local host = require "host"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/hello", function(_, res) res:text "hi" end)
app:post("/echo", function(req, res) res:text(tostring(#req:body())) end)
app:get("/connections", function(_, res) res:text(tostring(moonpool.stats().connections)) end)
app:get("/flood", function(_, res)
  local piece = ("f"):rep(65536)
  for _ = 1, 1600 do res:write(piece) end
end)
return app
]]

-- Asks one thing after the other until `over`; the slowest answer's time.
local function ordinary_client(s, over)
  local slowest, asked = 0, 0
  repeat
    local took, answer = wait.took(function() return s:get "/hello" end)
    assert.are.equal("hi", answer.body)
    slowest, asked = math.max(slowest, took), asked + 1
    wait.sleep(0.01)
  until over()
  return slowest, asked
end

describe("a crowd of hostile clients", function()
  it("is dropped at its limits, costs little, and keeps nobody else from being served", function()
    local s = server.start { app = app, args = {
      "--header-timeout", "2", "--body-timeout", "2", "--write-timeout", "2", "--keep-alive", "5",
    } }
    for _ = 1, 50 do s:get "/hello" end
    local before = proc.rss(s:worker())
    local all = {
      crowd.start("head", 200, s.port, 20), crowd.start("body", 50, s.port, 20), crowd.start("reader", 8, s.port, 20),
      crowd.start("chunks", 4, s.port, 20), crowd.start("line", 4, s.port, 20),
    }
    local most = 0
    local slowest, asked = ordinary_client(s, function()
      most = math.max(most, proc.rss(s:worker()))
      return all[1]:over() and all[2]:over() and all[4]:over() and all[5]:over()
    end)
    for index, count in pairs { 200, 50, [4] = 4, [5] = 4 } do
      local closed, _, last = all[index]:wait_over()
      assert.are.equal(count, closed)
      assert.is_true(last < 4 * wait.slow, all[index].kind .. " were dropped late: " .. last)
    end
    wait.until_true(function() return s:get "/connections".body == "1" end, 6, "the stalled readers to be dropped")
    all[3]:stop()
    assert.is_true(asked > 20)
    assert.is_true(slowest < 0.5 * wait.slow, "an ordinary client waited " .. slowest)
    assert.is_true(most - before < 8 * 1024 * wait.slow, ("the worker grew by %d KiB"):format(most - before))
    s:stop()
  end)
end)

describe("with few descriptors", function()
  it("a thousand clients that knock make it wait, not spin, and it recovers by itself", function()
    local s = server.start { app = app, nofile = 256, args = { "--header-timeout", "30" } }
    assert.are.equal("hi", s:get("/hello").body)
    local knocking = crowd.start("silent", 1000, s.port, 30)
    wait.until_true(function() return proc.count_fds(s:worker()) > 230 end, 10, "the descriptors to be used up")
    wait.sleep(0.5)
    local cpu, seconds = proc.cpu(s:worker()), 1.5
    wait.sleep(seconds)
    local share = (proc.cpu(s:worker()) - cpu) / seconds
    assert.is_true(share < 0.2, "it spins: " .. share)
    assert.is_true(proc.count_fds(s:worker()) <= 250)
    knocking:stop()
    local took = wait.took(function()
      for _ = 1, 20 do assert.are.equal("hi", s:get("/hello").body) end
    end)
    assert.is_true(took < 1 * wait.slow, "slow to recover: " .. took)
    s:stop()
  end)
end)

describe("idle connections by the hundred", function()
  it("leave others their service, and the worker its memory", function()
    local s = server.start { app = app, args = { "--max-connections", "5000" } }
    for _ = 1, 20 do s:get "/hello" end
    local before = proc.anonymous(s:worker())
    local idle = crowd.start("idle", 2000, s.port, 30)
    idle:wait_held()
    wait.until_true(function() return tonumber(s:get("/connections").body) >= 2000 end, 5, "the connections")
    local each = (proc.anonymous(s:worker()) - before) * 1024 / 2000
    assert.is_true(each < 768 * wait.slow, "bytes a connection: " .. each)
    assert.are.equal("hi", s:get("/hello").body)
    idle:stop()
    wait.until_true(function() return s:get("/connections").body == "1" end, 5, "the end of the idle ones")
    s:stop()
  end)
end)

describe("connections of many clients", function()
  local function spread(s)
    local counts = {}
    for _, pid in ipairs(s:workers()) do
      local n = 0
      for _, target in pairs(proc.fds(pid)) do
        if target:find "^socket:" then n = n + 1 end
      end
      counts[#counts + 1] = n
    end
    table.sort(counts)
    return counts[#counts] - counts[1], table.concat(counts, " ")
  end

  for _, workers in ipairs { 2, 4 } do
    it(("are shared by %d workers"):format(workers), function()
      local s = server.start { app = app, workers = workers }
      local many = crowd.start("idle", 64, s.port, 30)
      many:wait_held()
      wait.sleep(0.2)
      local apart, counts = spread(s)
      assert.is_true(apart <= 4, "sockets of the workers: " .. counts)
      many:stop()
      s:stop()
    end)
  end

  it("pass by a worker that is stopped", function()
    local s = server.start { app = app, workers = 2 }
    local stopped = s:workers()[1]
    host.kill(stopped, "STOP")
    local before = proc.count_fds(stopped)
    local took, answers = wait.took(function()
      return client.at_once(s.port, 40, function() return "GET", "/hello", { headers = { Connection = "close" } } end)
    end)
    assert.are.equal(40, #answers)
    local held = {}
    for n = 1, 20 do
      held[n] = s:connect()
      assert.are.equal("hi", held[n]:ask("GET", "/hello").body)
    end
    assert.are.equal(before, proc.count_fds(stopped))
    assert.is_true(took < 2 * wait.slow, "they waited for it: " .. took)
    host.kill(stopped, "CONT")
    for n = 1, 20 do held[n]:close() end
    s:stop()
  end)
end)
