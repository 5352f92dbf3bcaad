-- kill -9 of the master: nothing of it is left within two seconds, and the port is free.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "hi" end)
app:get("/child", function()
  moonpool.log.info "child begun"
  moonpool.run { "sh", "-c", "trap '' TERM; sleep 3613 & sleep 3613; sleep 3613" }
end)
app:get("/loop", function()
  moonpool.log.info "loop begun"
  while true do end
end)
return app
]]

describe("a master that is killed", function()
  local function killed_by(path, mark)
    local s = server.start { app = app, workers = 2 }
    local workers, c = s:workers(), nil
    if path then
      c = s:connect()
      c:send(client.bytes("GET", path))
      s:wait_log(mark)
      wait.sleep(0.2)
    end
    s:signal "KILL"
    s:wait_exit()
    wait.until_true(function()
      for _, pid in ipairs(workers) do
        if proc.alive(pid) then return false end
      end
      return true
    end, 2 / wait.slow, "the workers' end")
    wait.until_true(function() return #proc.named "sleep 3613" == 0 end, 2 / wait.slow, "the children's end")
    if c then c:close() end
    local again = server.start { app = app, listen = "127.0.0.1:" .. s.port }
    assert.are.equal("hi", again:get("/").body)
    again:stop()
    s:finish("signal", 9, 0.1)
  end

  it("takes idle workers along, and frees the port", function() killed_by() end)
  it("takes along their children, deaf to TERM", function() killed_by("/child", "child begun") end)
  it("takes along a worker whose Lua does not yield", function() killed_by("/loop", "loop begun") end)
end)
