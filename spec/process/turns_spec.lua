-- Places among --max-procs, and turns: many that want to start processes at once get them in order, and hold up nobody.
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/hello", function(_, res) res:text "hello" end)
app:get("/exit/:n", function(req, res)
  local r = moonpool.run { "sh", "-c", "sleep 0.05; exit " .. req.params.n }
  res:text(("%s %s"):format(r.reason, r.code))
end)
app:get("/order", function(_, res)
  local begun, tasks = {}, {}
  for i = 1, 12 do
    tasks[i] = moonpool.spawn(function()
      local p = moonpool.spawn { "sleep", "0.02" }
      begun[#begun + 1] = i
      p:wait()
    end)
  end
  moonpool.wait_all(tasks)
  res:text(table.concat(begun, " "))
end)
app:get("/at-once", function(_, res)
  local tasks, codes = {}, {}
  for i = 1, 8 do
    tasks[i] = moonpool.spawn(function()
      local r, _, code = moonpool.run { "true", queue_timeout = 0 }
      codes[i] = r and r.code or code
    end)
  end
  moonpool.wait_all(tasks)
  res:text(table.concat(codes, " "))
end)
-- Waits for its turn, or for its place, and is ended by force when the grace is over: pcall takes every cancel.
app:get("/forced", function(_, res)
  local holders, stubborn = {}, {}
  for i = 1, 8 do holders[i] = moonpool.spawn { "sleep", "0.3" } end
  for i = 1, 4 do
    stubborn[i] = moonpool.spawn(function()
      while true do
        pcall(moonpool.run, { "sleep", "3611" })
      end
    end)
  end
  moonpool.sleep(0.02)
  for _, t in ipairs(stubborn) do t:cancel() end
  for _, t in ipairs(stubborn) do pcall(t.wait, t) end
  for _, p in ipairs(holders) do p:wait() end
  collectgarbage "stop"
  local r = moonpool.run { "true", queue_timeout = 0 }
  collectgarbage "restart"
  for _ = 1, 500 do -- what was killed may take longer to end than that one took to run
    if moonpool.stats().processes == 0 then break end
    moonpool.sleep(0.01)
  end
  res:text(("%s %d"):format(r and r.code, moonpool.stats().processes))
end)
app:get("/stats", function(_, res)
  local s = moonpool.stats()
  res:text(("%d %d"):format(s.processes, s.processes_queued))
end)
return app
]]

describe("processes that are wanted all at once", function()
  local s
  setup(function() s = server.start { app = app, args = { "--max-procs", 32 } } end)
  teardown(function() s:stop() end)

  it("start in the order in which they were asked for", function()
    assert.are.equal("1 2 3 4 5 6 7 8 9 10 11 12", s:get("/order").body)
  end)

  it("wait for their turn without queue_timeout, which is for a place", function()
    assert.are.equal("0 0 0 0 0 0 0 0", s:get("/at-once").body)
  end)

  it("let a request through that wants none", function()
    local conns = {}
    for i = 1, 40 do
      conns[i] = s:connect()
      conns[i]:send(client.bytes("GET", "/exit/1"))
    end
    assert.are.equal("hello", s:get("/hello").body)
    wait.until_true(function() return s:get("/stats").body == "0 0" end, 10, "the end of all")
    for _, conn in ipairs(conns) do conn:close() end
  end)
end)

describe("a place", function()
  local s
  setup(function() s = server.start { app = app, args = { "--max-procs", 8 } } end)
  teardown(function() s:stop() end)

  it("comes back with the end of a task, whatever ended it", function()
    assert.are.equal("0 0", s:get("/forced").body)
  end)
end)
