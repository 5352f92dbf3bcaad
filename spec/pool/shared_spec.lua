-- moonpool.shared between workers: what one says the others see, and nobody's death is its end.
local client = require "spec.support.client"
local host = require "host"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local s = moonpool.shared "spec"
app:get("/set/:v", function(req, res) res:text(tostring(s:set("k", req.params.v)) .. " " .. moonpool.worker.pid) end)
app:get("/get", function(_, res) res:text(("%s %d"):format(s:get "k", moonpool.worker.pid)) end)
app:get("/sum", function(_, res) res:text(tostring(s:get "sum")) end)
app:get("/add", function(req, res)
  req:keep()
  moonpool.log.info "adding"
  for i = 1, 200 do
    for _ = 1, 50 do s:incr "sum" end
    s:incr("acknowledged", 50)
    moonpool.sleep(0)
  end
  res:text "added"
end)
app:get("/acknowledged", function(_, res) res:text(tostring(s:get "acknowledged")) end)
return app
]]

describe("moonpool.shared in a pool", function()
  local s
  after_each(server.stop_all)

  -- Both workers' answers, by pid.
  local function ask_both(path)
    local answers, n = {}, 0
    wait.until_true(function()
      local c = s:connect()
      local text, pid = c:ask("GET", path).body:match "^(%S+) (%d+)$"
      if not answers[pid] then
        answers[pid], n = text, n + 1
      end
      return n == 2
    end, 10, "an answer of each worker")
    return answers
  end

  it("is seen by all workers, after one has died and after a reload too", function()
    s = server.start { app = app, workers = 2 }
    assert.is_truthy(s:get("/set/one").body:find "^true")
    for _, text in pairs(ask_both "/get") do assert.are.equal("one", text) end
    host.kill(s:worker(), "KILL")
    s:wait_log("worker ready", 10, 3)
    for _, text in pairs(ask_both "/get") do assert.are.equal("one", text) end
    s:signal "HUP"
    s:wait_log("worker ready.*gen=2", 10, 2)
    wait.until_true(function() return #s:workers() == 2 end, 10, "the old ones' end")
    for _, text in pairs(ask_both "/get") do assert.are.equal("one", text) end
  end)

  it("adds up what four workers count, one of which is killed", function()
    s = server.start { app = app, workers = 4 }
    local connections = {}
    for i = 1, 8 do
      connections[i] = s:connect()
      connections[i]:send(client.bytes("GET", "/add"))
    end
    s:wait_log("adding", 10, 8)
    host.kill(s:worker(), "KILL")
    local whole = 0
    for _, c in ipairs(connections) do
      local ok, r = pcall(c.response, c)
      if ok and r and r.status == 200 then whole = whole + 1 end
    end
    assert.is_true(whole >= 1, whole)
    local sum, acknowledged = tonumber(s:get("/sum").body), tonumber(s:get("/acknowledged").body)
    -- Each of the killed one's requests may have begun a bunch of 50 that it could not acknowledge; only one runs at a time.
    assert.is_true(sum >= acknowledged and sum <= acknowledged + 50, sum .. " of " .. acknowledged)
    assert.is_true(sum >= whole * 10000, sum)
  end)

  it("of another size at a reload says that it takes a restart", function()
    s = server.start { app = app, files = { ["moonpool.conf.lua"] = "shared_memory = '2M'" } }
    server.write_file(s.folder .. "/moonpool.conf.lua", "shared_memory = '4M'")
    s:signal "HUP"
    s:wait_log "another size of shared memory takes a restart"
  end)
end)
