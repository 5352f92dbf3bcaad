-- Timers of the worker.
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local told, ticks, from_body, kept = {}, 0, 0, nil
local running, most, bodies = 0, 0, 0

moonpool.every(0.02, function() from_body = from_body + 1 end)

app:on_start(function() moonpool.after(0.01, function() moonpool.log.info "after on_start" end) end)
app:on_error(function(err, traceback, what)
  told[#told + 1] = ("%s: %s request=%s spawned=%s trace=%s"):format(what.kind, err, what.request, what.spawned_at,
    traceback and traceback:find "stack traceback" ~= nil)
end)
app:get("/told", function(_, res)
  res:text(table.concat(told, "\n"))
  told = {}
end)
app:get("/errors", function(_, res) res:text(tostring(moonpool.stats().task_errors)) end)
app:get("/from-body", function(_, res) res:text(tostring(from_body)) end)
app:get("/start", function(_, res)
  ticks = 0
  kept = moonpool.every(0.02, function() ticks = ticks + 1 end)
  res:text(tostring(ticks))
end)
app:get("/ticks", function(_, res) res:text(tostring(ticks)) end)
app:get("/stop", function(_, res)
  kept:cancel()
  kept:cancel()
  res:text(tostring(kept):match "%((%a+)%)")
end)
app:get("/after", function(_, res)
  local ch, before = moonpool.channel(1), moonpool.now()
  local timer = moonpool.after(0.05, function() ch:send(moonpool.now() - before) end)
  local took = ch:receive()
  moonpool.sleep(0.01)
  res:text(("%s %s"):format(took >= 0.049 and took < 2, tostring(timer):match "%((%a+)%)"))
end)
app:get("/cancelled", function(_, res)
  local fired = false
  local timer = moonpool.after(0.05, function() fired = true end)
  timer:cancel()
  do
    local scoped <close> = moonpool.after(0.05, function() fired = true end)
  end
  moonpool.sleep(0.1)
  res:text(tostring(fired))
end)
-- Slower than its own period: it does not run over itself, and skips what it missed.
app:get("/slow", function(_, res)
  local started, now, over = {}, 0, false
  local timer
  timer = moonpool.every(0.02, function()
    now = now + 1
    over = over or now > 1
    started[#started + 1] = moonpool.now()
    moonpool.spawn(function() moonpool.sleep(0.05) now = now - 1 end)
  end)
  moonpool.sleep(0.5)
  timer:cancel()
  res:text(("%s %s"):format(over, #started >= 2 and #started <= 9))
end)
app:get("/itself", function(_, res)
  local n, done = 0, moonpool.channel(1)
  moonpool.every(0.01, function(timer)
    n = n + 1
    if n == 3 then
      timer:cancel()
      moonpool.sleep(0.05)
      done:send "went on after its own cancel"
    end
  end)
  res:text(done:receive() .. " " .. n)
end)
app:get("/error", function(_, res)
  ticks = 0
  kept = moonpool.every(0.02, function()
    ticks = ticks + 1
    if ticks == 2 then error "in a timer" end
  end)
  res:text "ok"
end)
app:get("/error-once", function(_, res)
  moonpool.after(0, function() error("once", 0) end)
  moonpool.after(0, function() moonpool.spawn(function() error("of a task of a timer", 0) end) end)
  moonpool.sleep(0.05)
  res:text "ok"
end)
app:get("/background", function(_, res)
  moonpool.background(function() error("in the background", 0) end)
  moonpool.sleep(0.01)
  res:text(table.concat(told, "\n"))
  told = {}
end)
app:get("/process", function(_, res)
  local ch = moonpool.channel(1)
  moonpool.after(0, function() ch:send(moonpool.run { "sh", "-c", "exit 4" }.code) end)
  res:text(tostring(ch:receive()))
end)
app:get("/wrong", function(_, res)
  local out = {}
  for _, call in ipairs { { moonpool.every, 0, print }, { moonpool.every, 1 }, { moonpool.after, -1, print },
                          { moonpool.every, 1, print, { once = "worker" } }, { moonpool.every, 1, print, { twice = 1 } },
                          { moonpool.after, "soon", print }, { moonpool.after, 0 / 0, print } } do
    out[#out + 1] = tostring(select(2, pcall(table.unpack(call))))
  end
  res:text(table.concat(out, "\n"))
end)
app:get("/endless", function(_, res)
  moonpool.after(0, function()
    local note <close> = setmetatable({}, { __close = function() moonpool.log.info "the endless one is closed" end })
    while true do moonpool.sleep(0.01) end
  end)
  moonpool.every(0.01, function()
    local p = moonpool.spawn { "sleep", "3630" }
    p:wait()
  end)
  res:text "ok"
end)
local own = 0 -- ticks of a timer of the worker's own
moonpool.every(0.01, function() own = own + 1 end)
app:get("/drain", function(_, res)
  moonpool.sleep(0.1)
  local before = own
  moonpool.log.info "draining may begin"
  moonpool.sleep(1)
  local at_drain = own
  moonpool.sleep(0.3)
  moonpool.log.info("ticked before=" .. tostring(before > 0) .. " while draining=" .. tostring(own - at_drain))
  res:text "drained"
end)
app:get("/drain-waits", function(_, res)
  moonpool.log.info "draining may begin"
  moonpool.sleep(0.5)
  local ch = moonpool.channel(1)
  moonpool.after(0.05, function() ch:send "fired" end)
  res:text(ch:receive())
end)
app:on_stop(function()
  local late = moonpool.every(0.01, function() moonpool.log.info "never" end)
  moonpool.sleep(0.05)
  moonpool.log.info("on_stop timer " .. tostring(late):match "%((%a+)%)")
end)
return app
]]

describe("a timer", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)
  before_each(function() s:get "/told" end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end
  local function number(path) return tonumber(s:get(path).body) end

  it("may be made by the app's body, and in on_start", function()
    wait.until_true(function() return number "/from-body" >= 2 end, 5, "ticks")
    s:wait_log "after on_start"
  end)

  it("fires again and again, also after its request, until it is cancelled", function()
    says("/start", "0")
    wait.until_true(function() return number "/ticks" >= 3 end, 5, "ticks")
    says("/stop", "ended")
    local n = number "/ticks"
    wait.never(function() return number "/ticks" ~= n end, 0.1, "a tick after the cancel")
  end)

  it("may fire once", function() says("/after", "true ended") end)

  it("does not fire after its cancel or the end of its block", function() says("/cancelled", "false") end)

  it("never runs over itself", function() says("/slow", "false true") end)

  it("may cancel itself, and goes on to its end", function() says("/itself", "went on after its own cancel 3") end)

  it("tells its error once, and goes on", function()
    local before = number "/errors"
    says("/error", "ok")
    wait.until_true(function() return number "/ticks" >= 4 end, 5, "ticks after the error")
    says("/stop", "ended")
    assert.are.equal(before + 1, number "/errors")
    local told = s:get("/told").body
    assert.is_truthy(told:find "^timer: [^\n]*app%.lua:%d+: in a timer request=nil spawned=[^\n]*app%.lua:%d+ trace=true$",
      told)
    assert.are.equal(1, s:count_log "timer error: [^ ]*app%.lua:%d+: in a timer")
  end)

  it("tells of its tasks' errors too", function()
    says("/error-once", "ok")
    local told = s:get("/told").body
    local _, lines = (told .. "\n"):gsub("\n", "")
    assert.are.equal(2, lines, told)
    assert.is_truthy(told:find "timer: once request=nil")
    assert.is_truthy(told:find "task: of a task of a timer request=nil")
  end)

  it("may wait for processes", function() says("/process", "4") end)

  it("names a wrong argument", function()
    local body = s:get("/wrong").body
    assert.is_truthy(body:find("^[^\n]*more than 0 seconds[^\n]*\n[^\n]*function expected[^\n]*\n[^\n]*seconds from 0[^\n]*\n"
      .. "[^\n]*once may be \"pool\"[^\n]*\n[^\n]*unknown option twice\n[^\n]*number expected[^\n]*\n"
      .. "[^\n]*seconds from 0[^\n]*$"), body)
  end)
end)

describe("a task of the worker", function()
  it("that fails is told at once, once", function()
    local s = server.start { app = app }
    local told = s:get("/background").body
    assert.is_truthy(told:find "^task: in the background request=nil spawned=[^\n]*app%.lua:%d+ trace=[^\n]*$", told)
    assert.are.equal("", s:get("/told").body)
    s:stop()
  end)
end)

describe("a worker that leaves", function()
  it("fires the timers of the requests that it still answers", function()
    local s = server.start { app = app }
    local c = s:connect()
    c:send "GET /drain-waits HTTP/1.1\r\nHost: x\r\n\r\n"
    s:wait_log "draining may begin"
    s:signal "TERM"
    assert.are.equal("fired", c:response().body)
    s:finish("exit", 0)
  end)

  it("fires no timers of its own while it drains", function()
    local s = server.start { app = app }
    local c = s:connect()
    c:send "GET /drain HTTP/1.1\r\nHost: x\r\n\r\n"
    s:wait_log "draining may begin"
    s:signal "TERM"
    assert.are.equal("drained", c:response().body)
    s:wait_log "ticked before=true while draining=0"
    s:finish("exit", 0)
  end)

  it("cancels firings that run when its time is over, and makes no new ones", function()
    local s = server.start { app = app, args = { "--graceful-timeout", 1 } }
    assert.are.equal("ok", s:get("/endless").body)
    wait.sleep(0.1)
    s:signal "TERM"
    s:wait_log "the endless one is closed"
    s:wait_log "on_stop timer ended"
    assert.are.equal(0, s:count_log "never")
    s:finish("exit", 0)
  end)
end)
