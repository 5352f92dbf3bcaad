-- A worker that no hook gets out of what it does: the master names it, ends it and has another.
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text(tostring(moonpool.worker.pid)) end)
app:get("/waits", function(_, res) moonpool.sleep(30) res:text "never" end)
local function find_bomb() return (("a"):rep(4000)):find((".-"):rep(20) .. "b") end
app:get("/bomb", function(_, res) res:text(tostring(find_bomb())) end)
app:get("/gc", function()
  setmetatable({}, { __gc = function() while true do end end })
  collectgarbage()
end)
app:get("/handler", function() xpcall(error, function() while true do end end) end)
app:get("/short", function(_, res)
  local until_s = os.clock() + 0.8
  (("a"):rep(64)):gsub("a", function() end)
  while os.clock() < until_s do end
  res:text "short"
end)
return app
]]

describe("a worker that is stuck in C", function()
  local s
  after_each(server.stop_all)

  for path, where in pairs { ["/bomb"] = "find_bomb", ["/gc"] = "app.lua:8", ["/handler"] = "app.lua:11" } do
    it("is replaced in time, with its requests and its place in the log: " .. path, function()
      s = server.start { app = app, args = { "--timeout", 0.3 } }
      local dead = s:worker()
      assert.are.equal(tostring(dead), s:get("/").body)
      local waits, bomb = s:connect(), s:connect()
      waits:send(client.bytes("GET", "/waits"))
      wait.sleep(0.1)
      local begun = wait.now()
      bomb:send(client.bytes("GET", path))
      s:wait_log("worker ready", 10, 2)
      local took = wait.now() - begun
      assert.is_true(took < 0.3 + 1.5 + 0.3 * (wait.slow - 1), "replaced after " .. took)
      s:wait_log('pool error worker 1 %(pid ' .. dead .. '%) is stuck in C request="GET ' .. path .. '" held_ms=')
      assert.is_truthy(s:log():find('in flight for %d+ ms: "GET /waits"'))
      assert.is_truthy(s:log():find(where, 1, true))
      s:wait_log("worker hangs, ending it.*pid=" .. dead)
      assert.are_not.equal(tostring(dead), s:get("/").body)
      waits:close()
      bomb:close()
    end)
  end

  it("does not keep the others from answering", function()
    s = server.start { app = app, workers = 2, args = { "--timeout", 0.3 } }
    local bomb = s:connect()
    bomb:send(client.bytes("GET", "/bomb"))
    wait.sleep(0.1)
    for _ = 1, 5 do assert.are.equal(200, s:get("/").status) end
    s:wait_log("worker ready", 10, 3)
    bomb:close()
  end)

  it("lives without --timeout as long as it likes", function()
    s = server.start { app = app, args = { "--timeout", 0 } }
    assert.are.equal("short", s:get("/short").body)
    assert.are.equal(0, s:count_log "held")
  end)
end)
