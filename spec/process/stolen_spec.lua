-- A C library in the worker takes statuses that are not its own (row 20): the truth, or "lost"; never a number made up.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local thief = require "thief"
local app = moonpool.app()

local function judge(n)
  local r = moonpool.run { "sh", "-c", "echo said; exit " .. n }
  if r.reason == "lost" then
    return r.code == nil and r.ok == false and r.signal == nil and "lost" or "lost, but with a number"
  end
  return r.reason == "exit" and r.code == n and r.stdout == "said\n" and "true" or
    ("wrong: %s %s instead of %d"):format(r.reason, r.code, n)
end

app:get("/reap", function(_, res) thief.reap() res:text "ok" end)
app:get("/ignore", function(_, res) thief.ignore() res:text "ok" end)
app:get("/stop", function(_, res) res:text(tostring(thief.stop())) end)
app:get("/judge/:n", function(req, res) res:text(judge(tonumber(req.params.n))) end)
app:get("/signal", function(_, res)
  local r = moonpool.run { "sh", "-c", "kill -9 $$; sleep 5" }
  res:text(r.reason == "lost" and r.signal == nil and "lost" or r.reason .. " " .. tostring(r.signal))
end)
app:get("/execute", function(_, res)
  local ok, how, n = os.execute "exit 21"
  res:text(("%s %s %s"):format(ok, how, n))
end)
return app
]]

describe("a status", function()
  local s
  before_each(function() s = server.start { app = app } end)
  after_each(function() s:stop() end)

  -- So many that run at once; SPEC_STOLEN=1000 is the full size.
  local many = tonumber(os.getenv "SPEC_STOLEN" or 60)

  local function judged(count)
    local tally = { ["true"] = 0, lost = 0 }
    for first = 0, count - 1, 250 do
      local share = math.min(250, count - first)
      for n, r in ipairs(client.at_once(s.port, share, function(n) return "GET", "/judge/" .. (first + n) % 256 end)) do
        assert.is_truthy(tally[r.body], ("run %d: %s"):format(first + n, r.body))
        tally[r.body] = tally[r.body] + 1
      end
    end
    assert.are.same({}, proc.zombies(s:worker()))
    return tally
  end

  it("that a waitpid(-1) took is true or lost", function()
    assert.are.equal("ok", s:get("/reap").body)
    local tally = judged(many)
    assert.are.equal(many, tally["true"] + tally.lost)
    local signal = s:get("/signal").body
    assert.is_true(signal == "lost" or signal == "signal 9", signal)
    local execute = s:get("/execute").body
    assert.is_true(execute == "nil exit 21" or execute == "nil lost nil", execute)
    if tally.lost > 0 then s:wait_log "lost" end
    s:get "/stop"
    assert.are.equal(20, judged(20)["true"])
  end)

  it("that the kernel threw away, SIGCHLD being ignored, is true or lost", function()
    assert.are.equal("ok", s:get("/ignore").body)
    local tally = judged(many)
    assert.are.equal(many, tally["true"] + tally.lost)
    s:get "/stop"
    assert.are.equal(20, judged(20)["true"])
  end)
end)
