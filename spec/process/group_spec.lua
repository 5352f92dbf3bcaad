-- Ends: timeouts, leftovers of a group, clients that leave. No scope ends and leaves a process behind.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

-- Each child sleeps an odd number of seconds of its own, by which it is found again.
local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local cancelled = 0

local function told(r)
  return ("timed_out=%s reason=%s code=%s signal=%s out=%s"):format(
    r.timed_out or false, r.reason, r.code, r.signal, (r.stdout or ""):gsub("\n", ""))
end

app:get("/leftovers", function(_, res)
  local r = moonpool.run { "sh", "-c", "sleep 3601 >/dev/null 2>&1 & exit 5", linger = 0.1 }
  res:text(told(r))
end)
app:get("/leave", function(_, res)
  local r = moonpool.run { "sh", "-c", "sleep 3602 >/dev/null 2>&1 & exit 5", leave = true }
  res:text(told(r))
end)
app:get("/timeout", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "echo partial; sleep 3603", timeout = 0.3 }))
end)
app:get("/timeout-trap", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "trap 'exit 9' TERM; sleep 3604 & wait", timeout = 0.3 }))
end)
app:get("/timeout-deaf", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done", timeout = 0.2, grace = 0.3 }))
end)
app:get("/timeout-stopped", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "kill -STOP $$; exit 3", timeout = 0.2, grace = 1 }))
end)
app:get("/timeout-holder", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "sleep 3605 & echo up; sleep 3605", timeout = 0.3 }))
end)
app:get("/timeout-escaped", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "setsid sh -c 'sleep 3610 & sleep 3610' & setsid -w sleep 3610", timeout = 0.3 }))
end)
app:get("/escaped", function()
  moonpool.run { "sh", "-c", "setsid sh -c 'trap \"\" TERM; sleep 3611; sleep 3611' & sleep 3611" }
end)
app:get("/escaped-and-left", function(_, res)
  moonpool.run { "sh", "-c", "setsid sleep 3612 & sleep 3613", timeout = 0.3, leave = true }
  res:text "ended"
end)
app:get("/long", function(_, res)
  local ok, err = pcall(moonpool.run, { "sh", "-c", "sleep 3606 & sleep 3606" })
  if err == moonpool.cancelled then cancelled = cancelled + 1 end
  if not ok then error(err) end
  res:text "ended"
end)
app:get("/deaf", function()
  moonpool.run { "sh", "-c", "trap '' TERM; sleep 3607 & while :; do sleep 0.05; done", grace = 0.3 }
end)
app:get("/kept", function(req, res)
  req:keep()
  moonpool.run { "sh", "-c", "sleep 0.7; echo kept on >> kept.txt" }
  res:text "ended"
end)
app:get("/stream-kept", function(req, res)
  req:keep()
  local ok, why, code
  repeat
    ok, why, code = res:write(("x"):rep(1000))
    moonpool.sleep(0.01)
  until not ok
  moonpool.log.info("kept write ended with " .. tostring(code))
end)
app:get("/cancelled", function(_, res) res:text(tostring(cancelled)) end)
app:get("/abandoned-task", function(_, res)
  moonpool.spawn(function()
    moonpool.run { "sleep", "0.3" }
    moonpool.log.info "the task ended by itself"
  end)
  res:text "answered"
end)
return app
]]

describe("the end of a process", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  local function gone(word, seconds)
    wait.until_true(function() return #proc.named(word) == 0 end, seconds or 1, word .. " to be gone")
  end
  local function asked(path)
    local c = s:connect()
    assert(c:send(client.bytes("GET", path)))
    return c
  end

  it("is the end of its group (row 14)", function()
    assert.is_truthy(s:get("/leftovers").body:find "reason=exit code=5")
    gone "sleep 3601"
  end)

  it("leaves the group alone when told to (row 14)", function()
    assert.is_truthy(s:get("/leave").body:find "reason=exit code=5")
    wait.until_true(function() return #proc.named "sleep 3602" == 1 end, 1, "the one that is left")
    -- It belongs to its worker all the same: stop() in teardown proves that nothing is left.
  end)

  it("by timeout is TERM to the whole group, with what it had said (row 15)", function()
    assert.are.equal("timed_out=true reason=signal code=nil signal=15 out=partial", s:get("/timeout").body)
    gone "sleep 3603"
  end)

  it("by timeout may be used well (row 15)", function()
    assert.are.equal("timed_out=true reason=exit code=9 signal=nil out=", s:get("/timeout-trap").body)
    gone "sleep 3604"
  end)

  it("by timeout is KILL after the grace (row 15)", function()
    assert.are.equal("timed_out=true reason=signal code=nil signal=9 out=", s:get("/timeout-deaf").body)
  end)

  it("by timeout reaches one that is stopped (row 33)", function()
    assert.is_truthy(s:get("/timeout-stopped").body:find "timed_out=true reason=%a+ code=%a+ signal=%d+ out=$")
  end)

  it("by timeout reaches a grandchild that holds the pipe (row 15)", function()
    local took, r = wait.took(s.get, s, "/timeout-holder")
    assert.are.equal("timed_out=true reason=signal code=nil signal=15 out=up", r.body)
    assert.is_true(took < 2.5 * wait.slow)
    gone "sleep 3605"
  end)

  it("by timeout reaches what has left the group by setsid, and what is below that (row 15)", function()
    assert.is_truthy(s:get("/timeout-escaped").body:find "^timed_out=true")
    gone("sleep 3610", 2)
  end)

  it("by timeout leaves what has left the group alone when told to (row 15)", function()
    assert.are.equal("ended", s:get("/escaped-and-left").body)
    assert.are.equal(1, #proc.named "sleep 3612")
    gone("sleep 3613", 2)
  end)

  it("comes to what has left the group, deaf to TERM too, when its client goes away (row 16)", function()
    local c = asked "/escaped"
    wait.until_true(function() return #proc.named "sleep 3611" >= 3 end, 5, "the children")
    c:rst()
    gone("sleep 3611", 2)
  end)

  for _, how in ipairs { "close", "rst" } do
    it("comes within a second when its client goes away by " .. how .. " (row 16)", function()
      local before = tonumber(s:get("/cancelled").body)
      local c = asked "/long"
      wait.until_true(function() return #proc.named "sleep 3606" >= 2 end, 5, "the children")
      c[how](c)
      gone("sleep 3606", 1)
      wait.until_true(function() return tonumber(s:get("/cancelled").body) == before + 1 end, 2, "cancelled in the handler")
      s:wait_log "cancelled.*GET /long"
    end)
  end

  it("comes to one that ignores TERM within its grace (row 16)", function()
    local c = asked "/deaf"
    wait.until_true(function() return #proc.named "sleep 3607" >= 1 end, 5, "the children")
    c:rst()
    gone("sleep 3607", 1.3)
  end)

  it("does not come when the request is kept (row 16)", function()
    local c = asked "/kept"
    wait.sleep(0.2)
    c:rst()
    wait.until_true(function() return server.read_file(s.folder .. "/kept.txt") == "kept on\n" end, 3, "its work")
  end)

  it("does not come to a task once the answer is out (row 11 of tasks)", function()
    local c = asked "/abandoned-task"
    assert.are.equal("answered", c:response().body)
    c:rst()
    s:wait_log "the task ended by itself"
  end)

  it("a kept stream is told that its client is gone", function()
    local c = asked "/stream-kept"
    c:head()
    c:rst()
    s:wait_log "kept write ended with closed"
  end)

  it("that half-closes still gets its answer", function()
    local c = asked "/abandoned-task"
    c:half_close()
    assert.are.equal("answered", c:response().body)
    c:close()
  end)
end)
