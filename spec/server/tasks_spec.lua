-- Tasks, waiting, cancelling: rows 1 to 8, 10 and 11 of the laws of tasks.
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local told = {}

app:on_error(function(err, _, what) told[#told + 1] = what.kind .. ": " .. tostring(err) end)
app:get("/told", function(_, res)
  res:text(table.concat(told, "\n"))
  told = {}
end)
app:get("/errors", function(_, res) res:text(tostring(moonpool.stats().task_errors)) end)

app:get("/values", function(_, res)
  local t = moonpool.spawn(function(a, b)
    moonpool.sleep(0.01)
    return a, nil, b, nil
  end, 1, 2)
  local r = table.pack(t:wait())
  local again = table.pack(moonpool.wait(t))
  res:text(("%d %s %s %s %d"):format(r.n, r[1], r[2], r[3], again.n))
end)
-- Each time Lua holds the loop for a while first: a wait counts from its call.
app:get("/late", function(_, res)
  local least = math.huge
  for _ = 1, 5 do
    local held = moonpool.now() + 0.03
    while moonpool.now() < held do end
    local from = moonpool.now()
    moonpool.sleep(0.02)
    least = math.min(least, moonpool.now() - from)
  end
  res:json { long_enough = least >= 0.02, least = least }
end)
app:get("/unwaited", function(_, res)
  moonpool.spawn(function() error "nobody hears" end)
  res:text "ok"
end)
app:get("/waited", function(_, res)
  local t = moonpool.spawn(function() error "somebody hears" end)
  res:text(tostring(pcall(t.wait, t)))
end)
app:get("/same-value", function(_, res)
  local value = { "an error" }
  local t = moonpool.spawn(function() error(value) end)
  local ok1, err1 = pcall(t.wait, t)
  local ok2, err2 = pcall(moonpool.wait, t)
  local ok3, err3
  local other = moonpool.spawn(function() ok3, err3 = pcall(t.wait, t) end)
  other:wait()
  res:text(tostring(not ok1 and not ok2 and not ok3 and err1 == value and err2 == value and err3 == value))
end)
app:get("/one-prefix", function(_, res)
  local t = moonpool.spawn(function() error "text" end)
  local _, err = pcall(t.wait, t)
  res:text(err .. " " .. tostring(t:traceback():find "stack traceback" ~= nil))
end)
app:get("/escapes", function()
  local t = moonpool.spawn(function() error { own = true } end)
  t:wait()
end)
app:get("/timeout", function(_, res)
  local t = moonpool.spawn(function() moonpool.sleep(0.2) return "later" end)
  local r, why, code = t:wait(0.01)
  res:text(("%s %s %s then %s %s"):format(r, why, code, t:wait(), t:status()))
end)
app:get("/any", function(_, res)
  local ended = {}
  local function after(s, name)
    return moonpool.spawn(function()
      moonpool.sleep(s)
      ended[#ended + 1] = name
      return name, s
    end)
  end
  local slow, quick = after(0.15, "slow"), after(0.02, "quick")
  local i, a, b = moonpool.wait_any { slow, quick }
  local j, why = moonpool.wait_any({ slow }, 0.01)
  slow:wait()
  res:text(("%d %s %s %s %s %s"):format(i, a, b, j, why, table.concat(ended, ",")))
end)
app:get("/any-error", function(_, res)
  local bad = moonpool.spawn(function() error("first", 0) end)
  local good = moonpool.spawn(function() moonpool.sleep(0.05) return "good" end)
  local ok, err = pcall(moonpool.wait_any, { good, bad })
  res:text(("%s %s %s %s"):format(ok, err, good:wait(), tostring(pcall(moonpool.wait_any, {}))))
end)
app:get("/all", function(_, res)
  local list = {}
  for n = 1, 5 do
    list[n] = moonpool.spawn(function()
      moonpool.sleep(0.05 - n / 100)
      if n ~= 3 then return n, "second" end
    end)
  end
  list[6] = moonpool.spawn { "sh", "-c", "exit 4" }
  local r = moonpool.wait_all(list)
  local none = moonpool.wait_all {}
  res:text(("%d %s %s %s %s %d"):format(r.n, r[1], r[3], r[5], r[6].code, #none))
end)
app:get("/all-error", function(_, res)
  local order = {}
  local slow = moonpool.spawn(function()
    local watch <close> = setmetatable({}, { __close = function() order[#order + 1] = "closed" end })
    moonpool.sleep(30)
  end)
  local bad = moonpool.spawn(function() moonpool.sleep(0.02) error("broke", 0) end)
  local ok, err = pcall(moonpool.wait_all, { slow, bad })
  order[#order + 1] = "raised"
  res:text(("%s %s %s %s"):format(ok, err, slow:status(), table.concat(order, ",")))
end)
app:get("/cancel", function(_, res)
  local seen
  local t = moonpool.spawn(function()
    local ok, err = pcall(moonpool.sleep, 30)
    seen = not ok and err == moonpool.cancelled
    error(err)
  end)
  moonpool.sleep(0.01)
  t:cancel "had enough"
  local ok, err = pcall(t.wait, t)
  res:text(("%s %s %s %s %s %s"):format(ok, err == moonpool.cancelled, seen, t:status(), t.cancelled, t.reason))
end)
app:get("/cancel-deaf", function(_, res)
  local turns = 0
  local t = moonpool.spawn(function()
    while true do
      pcall(moonpool.sleep, 0.01)
      turns = turns + 1
    end
  end)
  moonpool.sleep(0.02)
  t:cancel()
  local before = moonpool.now()
  pcall(t.wait, t)
  local after = turns
  moonpool.sleep(0.05)
  res:text(("%s %s %s"):format(turns == after, t:status(), moonpool.now() - before < 8))
end)
app:get("/cancel-process", function(_, res)
  local pid
  local t = moonpool.spawn(function()
    local p = moonpool.spawn { "sleep", "3608" }
    pid = p.pid
    p:wait()
  end)
  while not pid do moonpool.sleep(0.005) end
  t:cancel()
  pcall(t.wait, t)
  res:text(tostring(io.open("/proc/" .. pid .. "/stat") == nil) .. " " .. t:status())
end)
app:get("/close-waits", function(_, res)
  local closed
  local t = moonpool.spawn(function()
    local v <close> = setmetatable({}, { __close = function()
      moonpool.sleep(0.05)
      closed = "closed after a wait"
    end })
    moonpool.sleep(30)
  end)
  moonpool.sleep(0.01)
  t:cancel()
  pcall(t.wait, t)
  res:text(tostring(closed))
end)
app:get("/self", function(_, res)
  local t
  t = moonpool.spawn(function() moonpool.sleep(0.01) return pcall(t.wait, t) end)
  res:text(select(2, t:wait()))
end)
app:get("/no-text", function()
  error(setmetatable({}, { __tostring = function() error "no text either" end }))
end)
app:get("/tasks-live-on", function(_, res)
  moonpool.spawn(function()
    moonpool.sleep(0.1)
    moonpool.log.info "the rest is done"
  end)
  res:text "answered"
end)
app:get("/res-after", function(_, res)
  moonpool.spawn(function()
    moonpool.sleep(0.05)
    moonpool.log.info("late write ok=" .. tostring(pcall(res.write, res, "late")))
  end)
  res:text "answered"
end)
app:get("/other-task-writes", function(_, res)
  local t = moonpool.spawn(function() res:write "from a task" end)
  t:wait()
  res:finish "."
end)
app:get("/raise-cancels", function()
  moonpool.spawn(function()
    local ok, err = pcall(moonpool.sleep, 30)
    moonpool.log.info("sibling saw cancelled=" .. tostring(not ok and err == moonpool.cancelled))
    error(err)
  end)
  moonpool.sleep(0.01)
  error "the handler failed"
end)
app:get("/now", function(_, res)
  local before = moonpool.now()
  moonpool.sleep(0.05)
  local took = moonpool.now() - before
  res:text(tostring(took >= 0.049 and took < 2))
end)
app:get("/sleep-bad", function(_, res)
  res:text(tostring(pcall(moonpool.sleep, "soon")) .. tostring(pcall(moonpool.sleep, -1)))
end)
app:get("/inside/:where", function(req, res)
  local where = {
    pcall = function() return select(2, pcall(function() moonpool.sleep(0.01) return "pcall" end)) end,
    coroutine = function()
      local co = coroutine.wrap(function()
        moonpool.sleep(0.01)
        coroutine.yield "mine"
        moonpool.sleep(0.01)
        return "ended"
      end)
      return co() .. co()
    end,
    nested = function()
      local inner = coroutine.create(function(x)
        local deeper = coroutine.wrap(function() moonpool.sleep(0.01) return coroutine.yield(x) end)
        local first = deeper()
        return first, deeper "back"
      end)
      local _, a, b = coroutine.resume(inner, "down")
      return a .. b .. coroutine.status(inner)
    end,
    metamethod = function()
      local v = setmetatable({}, { __add = function(_, n) moonpool.sleep(0.01) return n + 1 end,
                                   __index = function(_, k) moonpool.sleep(0.01) return k end })
      return v.key .. (v + 1)
    end,
    iterator = function()
      local out = {}
      for n in function(_, n) moonpool.sleep(0.005) n = (n or 0) + 1 return n <= 3 and n or nil end do out[n] = n end
      return table.concat(out)
    end,
    require = function() return require("waits").word end,
    sort = function()
      return tostring(pcall(table.sort, { 2, 1 }, function(a, b) moonpool.sleep(0.01) return a < b end))
    end,
  }
  res:text(where[req.params.where]())
end)
return app
]]

describe("a task", function()
  local s
  setup(function()
    s = server.start { app = app, files = { ["waits.lua"] = [[
      local moonpool = require "moonpool"
      moonpool.sleep(0.02)
      return { word = "required" }
    ]] } }
  end)
  teardown(function() s:stop() end)
  before_each(function() s:get "/told" end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, r.body)
    assert.are.equal(text, r.body)
  end

  it("that fails and nobody waits for is told once (row 1)", function()
    local before = tonumber(s:get("/errors").body)
    says("/unwaited", "ok")
    s:wait_log "nobody hears"
    s:wait_log "stack traceback"
    wait.until_true(function() return tonumber(s:get("/errors").body) == before + 1 end, 2, "the counter")
    local told = s:get("/told").body
    assert.is_truthy(told:find "^task: .*app%.lua:%d+: nobody hears$", told)
  end)

  it("that fails raises in who waits, and is not told (rows 2 and 3)", function()
    local before = s:get("/errors").body
    assert.are.equal("false", s:get("/waited").body:match "^%a+")
    says("/same-value", "true")
    says("/errors", before)
    says("/told", "")
  end)

  it("keeps its error's text and its own stack (row 2)", function()
    local body = s:get("/one-prefix").body
    assert.is_truthy(body:find "^[^:]*app%.lua:%d+: text true$", body)
  end)

  it("whose error leaves the handler is a 500, told once (row 2)", function()
    assert.are.equal(500, s:get("/escapes").status)
    local _, n = s:get("/told").body:gsub("[^\n]+", "")
    assert.are.equal(1, n)
  end)

  it("sleeps no shorter than it asked for, whatever Lua did before", function()
    assert.is_truthy(s:get("/late").body:find('"long_enough":true', 1, true))
  end)

  it("returns all its values, nils kept, as often as it is asked (row 4)", function() says("/values", "4 1 nil 2 4") end)

  it("goes on when a wait gives up (row 5)", function() says("/timeout", "nil timeout timeout then later done") end)

  it("may be the first of several (row 6)", function()
    says("/any", "2 quick 0.02 nil timeout quick,slow")
    assert.is_truthy(s:get("/any-error").body:find "^false first good false")
  end)

  it("may be one of all (row 6)", function()
    says("/all", "6 1 nil 5 4 0")
    says("/all-error", "false broke cancelled closed,raised")
  end)

  it("that is cancelled hears of it at its yield (row 7)", function()
    says("/cancel", "false true true cancelled true had enough")
    says("/close-waits", "closed after a wait")
    says("/told", "")
  end)

  it("cannot swallow a cancel for good (row 7)", function()
    client.patience = 8
    says("/cancel-deaf", "true cancelled true")
    client.patience = 5
  end)

  it("that is cancelled takes its process along (row 8)", function() says("/cancel-process", "true cancelled") end)

  it("of a handler that raises is cancelled (row 10)", function()
    assert.are.equal(500, s:get("/raise-cancels").status)
    s:wait_log "sibling saw cancelled=true"
  end)

  it("may fail with what cannot even be shown", function()
    assert.are.equal(500, s:get("/no-text").status)
    s:wait_log "an error that cannot be made text"
    assert.are.equal(200, s:get("/errors").status)
  end)

  it("outlives the answer of its handler (row 11)", function()
    local took = wait.took(says, "/tasks-live-on", "answered")
    assert.is_true(took < 1 * wait.slow)
    s:wait_log "the rest is done"
    says("/res-after", "answered")
    s:wait_log "late write ok=false"
  end)

  it("may write the answer of its request", function() says("/other-task-writes", "from a task.") end)

  it("cannot wait for itself (row 12)", function()
    assert.is_truthy(s:get("/self").body:find "cannot wait for itself")
  end)

  it("sleeps by the monotonic clock", function()
    says("/now", "true")
    local body = s:get("/sleep-bad").body
    assert.are.equal("falsefalse", body:match "^%a+")
  end)

  for where, text in pairs {
    pcall = "pcall", coroutine = "mineended", nested = "downbackdead", metamethod = "key2", iterator = "123",
    require = "required",
  } do
    it("waits inside " .. where, function() says("/inside/" .. where, text) end)
  end

  it("cannot wait in a sort, and is told so", function()
    local body = s:get("/inside/sort").body
    assert.are.equal("false", body:match "^%a+")
  end)

  it("is one of thousands at once", function()
    local answers = client.at_once(s.port, 100, function() return "GET", "/values" end)
    for _, r in ipairs(answers) do assert.are.equal("4 1 nil 2 4", r.body) end
  end)
end)
