-- The laws under attack: scopes within scopes, cancels inside __close, slow closers, cycles, closed channels, and what
-- threads try. Each answer tells what the script saw; the end proves that nothing was left.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local told = {}

app:on_error(function(err, _, what) told[#told + 1] = what.kind .. ": " .. tostring(err) end)
app:get("/told", function(_, res)
  res:text(#told .. " " .. table.concat(told, "\n"))
  told = {}
end)
app:get("/counts", function(_, res)
  local s = moonpool.stats()
  res:text(("%d %d %d %d %d"):format(s.tasks, s.processes, s.processes_queued, s.offloads, s.in_flight))
end)

local function say(...)
  local out = table.pack(...)
  for i = 1, out.n do out[i] = tostring(out[i]) end
  return table.concat(out, " ")
end
local function closer(fn) return setmetatable({}, { __close = fn }) end

-- The outer deadline ends inner scopes with longer ones, innermost first.
app:get("/nested-deadlines", function(_, res)
  local order = {}
  local ok, err = pcall(moonpool.scope, function()
    local _ <close> = closer(function() order[#order + 1] = "outer" end)
    moonpool.scope(function()
      local _ <close> = closer(function() order[#order + 1] = "middle" end)
      moonpool.scope(function(scope)
        local _ <close> = closer(function() order[#order + 1] = "inner" end)
        for _ = 1, 5 do scope:spawn(function() moonpool.sleep(3600) end) end
        scope:run { "sleep", "3681" }
      end, { timeout = 30 })
    end, { timeout = 20 })
  end, { timeout = 0.1 })
  res:text(say(ok, err, table.concat(order, ",")))
end)
-- An inner deadline is the inner caller's error alone.
app:get("/inner-deadline", function(_, res)
  local r = moonpool.scope(function()
    local ok, err = pcall(moonpool.scope, function() moonpool.sleep(3600) end, { timeout = 0.02 })
    moonpool.sleep(0.01)
    return say(ok, err, "went on")
  end, { timeout = 10 })
  res:text(r)
end)
-- Cancels that come while __close waits, also from there, also of oneself.
app:get("/cancel-in-close", function(_, res)
  local log, t, other = {}, nil, nil
  other = moonpool.spawn(function() moonpool.sleep(3600) end)
  t = moonpool.spawn(function()
    local _ <close> = closer(function(_, err)
      log[#log + 1] = tostring(err == moonpool.cancelled)
      t:cancel "again"
      other:cancel()
      moonpool.sleep(0.02)
      log[#log + 1] = "slept"
      log[#log + 1] = tostring(moonpool.run({ "true" }).ok)
      local ok, e = pcall(other.wait, other)
      log[#log + 1] = tostring(not ok and e == moonpool.cancelled)
    end)
    moonpool.sleep(3600)
  end)
  moonpool.sleep(0.01)
  t:cancel "first"
  pcall(t.wait, t)
  res:text(say(table.concat(log, " "), t:status(), t.reason))
end)
-- A __close that raises takes the place of the cancel, and is an error.
app:get("/close-raises", function(_, res)
  local t = moonpool.spawn(function()
    local _ <close> = closer(function() error("from close", 0) end)
    moonpool.sleep(3600)
  end)
  moonpool.sleep(0.01)
  t:cancel()
  res:text(say(pcall(t.wait, t)) .. " " .. t:status())
end)
-- wait_all raises the first error when all others have been closed, slow as they are.
app:get("/slow-closers", function(_, res)
  local closed, started = 0, moonpool.now()
  local list = {}
  for i = 1, 20 do
    list[i] = moonpool.spawn(function()
      local _ <close> = closer(function()
        moonpool.sleep(i / 200)
        closed = closed + 1
      end)
      moonpool.sleep(3600)
    end)
  end
  list[21] = moonpool.spawn(function() moonpool.sleep(0.02) error({ code = 7 }) end)
  list[22] = moonpool.spawn { "sh", "-c", "trap 'sleep 0.2; exit 3' TERM; sleep 3682 & wait" }
  list[23] = moonpool.offload(function() require "moonpool".sleep(3600) end)
  local ok, err = pcall(moonpool.wait_all, list)
  res:text(say(ok, err.code, closed, list[1]:status(), list[22]:wait().code, list[23]:status(), moonpool.now() - started < 5))
end)
app:get("/errors-in-closers", function(_, res)
  local list = {}
  for i = 1, 5 do
    list[i] = moonpool.spawn(function()
      local _ <close> = closer(function() error("closer " .. i, 0) end)
      moonpool.sleep(3600)
    end)
  end
  list[6] = moonpool.spawn(function() moonpool.sleep(0.01) error("first", 0) end)
  res:text(say(pcall(moonpool.wait_all, list)))
end)
-- Cycles of three: through wait, wait_all, a scope, and with one who may get out.
app:get("/cycle/:how", function(req, res)
  local t, out = {}, {}
  local waits = {
    wait = function(i) return moonpool.wait(t[i % 3 + 1]) end,
    all = function(i) return moonpool.wait_all { t[i % 3 + 1] } end,
    any = function(i) return moonpool.wait_any { t[i % 3 + 1], t[(i + 1) % 3 + 1] } end,
    scope = function(i) return moonpool.scope(function() return moonpool.wait(t[i % 3 + 1]) end) end,
    mixed = function(i)
      if i == 1 then return moonpool.wait(t[2]) end
      if i == 2 then return moonpool.wait_all { t[3], moonpool.spawn(moonpool.sleep, 0) } end
      return moonpool.wait_any { t[1] }
    end,
  }
  for i = 1, 3 do
    t[i] = moonpool.spawn(function()
      moonpool.sleep(0.01)
      return waits[req.params.how](i)
    end)
  end
  for i = 1, 3 do
    local ok, err = pcall(t[i].wait, t[i], 5)
    out[i] = ok and "hangs" or tostring(err):match "cycle of %d+ tasks" or tostring(err)
  end
  res:text(table.concat(out, ", "))
end)
-- A channel closed while senders wait, received from inside a __close, and by an iterator in a wrapped coroutine.
app:get("/closed-under-senders", function(_, res)
  local ch, out = moonpool.channel(1), {}
  for i = 1, 5 do
    out[i] = moonpool.spawn(function()
      local ok, why = ch:send(i)
      return ok and "sent" or why
    end)
  end
  moonpool.sleep(0.01)
  ch:close()
  local r = moonpool.wait_all(out)
  res:text(say(table.concat(r, ","), ch:receive(), select(2, ch:receive())))
end)
app:get("/iterators", function(_, res)
  local ch, sum = moonpool.channel(), 0
  moonpool.spawn(function()
    for i = 1, 50 do ch:send(i) end
    ch:close()
  end)
  local squares = coroutine.wrap(function()
    for v in coroutine.wrap(function() for v in ch:values() do coroutine.yield(v) end end) do
      moonpool.sleep(0)
      coroutine.yield(v * v)
    end
  end)
  for v in squares do sum = sum + v end
  local lines = 0
  local p = moonpool.spawn { "sh", "-c", "seq 1000", stdout = "pipe" }
  for line in coroutine.wrap(function() for line in p.stdout:lines() do coroutine.yield(line) end end) do
    lines = lines + tonumber(line)
  end
  res:text(say(sum, lines, p:wait().ok))
end)
-- A coroutine that is dropped, or closed, while it waits.
app:get("/dropped-coroutines", function(_, res)
  local log = {}
  for i = 1, 3 do
    local t = moonpool.spawn(function()
      local co = coroutine.wrap(function()
        local _ <close> = closer(function() log[#log + 1] = i end)
        moonpool.sleep(3600)
      end)
      co()
    end)
    moonpool.sleep(0)
    if i < 3 then t:cancel() end
    if i == 3 then
      local ok, why = t:wait(0.01)
      log[#log + 1] = why
      t:cancel()
    end
    pcall(t.wait, t)
  end
  local co = coroutine.create(function()
    local _ <close> = closer(function() log[#log + 1] = "closed" end)
    coroutine.yield()
  end)
  coroutine.resume(co)
  local closed = say(coroutine.close(co))
  log[#log + 1] = closed
  res:text(table.concat(log, ","))
end)
-- Recursion without end in pcall, in metamethods, in error handlers, in tasks.
app:get("/recursion", function(_, res)
  local function deep() return 1 + deep() end
  local out = {}
  for i = 1, 3 do
    local ok, err = pcall(deep)
    out[i] = say(ok, tostring(err):find "stack overflow" ~= nil)
  end
  local handled = say(xpcall(deep, function(e) return deep() end))
  local t = setmetatable({}, {})
  getmetatable(t).__index = function(self, k) return self[k .. "x"] end
  local ok = pcall(function() return t.a end)
  local task = moonpool.spawn(deep)
  local waited = pcall(task.wait, task)
  local nested = 0
  local function pcalls(n) nested = n return pcall(pcalls, n + 1) end
  pcalls(1)
  moonpool.sleep(0)
  res:text(say(table.concat(out, ","), handled:match "^%a+", ok, waited, nested > 50))
end)
app:get("/deep-tasks", function(_, res)
  local function down(n)
    if n == 0 then
      moonpool.sleep(0.01)
      error("from the deep", 0)
    end
    return moonpool.spawn(down, n - 1):wait()
  end
  local ok, err = pcall(down, 300)
  local function scopes(n)
    if n == 0 then
      moonpool.sleep(0.01)
      error("from the deep", 0)
    end
    return moonpool.scope(function() return scopes(n - 1) end)
  end
  res:text(say(ok, err, pcall(scopes, 60)))
end)
app:get("/offload-cycles", function(_, res)
  local a, b = {}, {}
  a.b, b.a = b, a
  a.f = function() return a.b.a == a, b.f ~= nil end
  b.f = function() return a.f() end
  local self
  self = function(n) return n == 0 and "bottom" or self(n - 1) end
  a[a] = a
  local x, y, z, w = moonpool.offload(function(t, f)
    local p, q = t.b.f()
    return p, q, f(100), t[t] == t
  end, a, self):wait()
  res:text(say(x, y, z, w))
end)
app:get("/exits", function(_, res)
  local out = {}
  for i, fn in ipairs {
    function() os.exit(3) end,
    function() os.exit(true, true) end,
    function() coroutine.wrap(function() os.exit(1) end)() end,
    function() local _ <close> = setmetatable({}, { __close = function() os.exit(2) end }) end,
    function() setmetatable({}, { __gc = function() os.exit(4) end }) collectgarbage() return "collected" end,
    function() error(setmetatable({}, { __tostring = function() os.exit(5) end })) end,
  } do
    local t = moonpool.offload(fn)
    local ok, err = pcall(t.wait, t)
    out[i] = ok and "ended" or type(err) == "string" and (err:match "os%.exit" or err) or "an error"
  end
  local ok, err = pcall(os.exit, 0)
  res:text(table.concat(out, ",") .. " " .. say(ok, err:match "os%.exit"))
end)
-- A task that cancels its own scope, its waiter, and its siblings in one turn.
app:get("/turmoil", function(_, res)
  local seen = {}
  local function run(n)
    return pcall(moonpool.scope, function(scope)
      local tasks = {}
      for i = 1, 10 do
        tasks[i] = scope:spawn(function()
          local _ <close> = closer(function()
            seen[#seen + 1] = i
            for _, t in ipairs(tasks) do t:cancel() end
            moonpool.sleep(0)
          end)
          if i == n then
            moonpool.sleep(0.005)
            scope:cancel "enough"
            error("in the middle of it", 0)
          end
          moonpool.wait_any { tasks[i % 10 + 1] or moonpool.spawn(moonpool.sleep, 3600), moonpool.channel() }
        end)
      end
      moonpool.wait_all(tasks)
    end)
  end
  local out = {}
  for n = 1, 5 do out[n] = say(run(n)) end
  res:text(table.concat(out, "|") .. " " .. #seen)
end)
app:get("/huge-lists", function(_, res)
  local list = {}
  for i = 1, 2000 do list[i] = moonpool.spawn(function() moonpool.sleep(0.001 * (i % 7)) return i end) end
  local r = moonpool.wait_all(list)
  local left = list
  while #left > 1990 do
    local i = moonpool.wait_any(left)
    table.remove(left, i)
  end
  res:text(say(r.n, r[1], r[2000], #left))
end)
app:get("/gc-waits", function(_, res)
  local said
  do setmetatable({}, { __gc = function() said = say(pcall(moonpool.sleep, 0)) end }) end
  collectgarbage()
  local keep = say(pcall(string.gsub, "x", "x", function() return moonpool.run({ "true" }).reason end))
  res:text(tostring(said):match "^%a+" .. " " .. keep:match "^%a+")
end)
app:get("/error-values", function(_, res)
  local out = {}
  for i, v in ipairs { false, 12, moonpool.cancelled, print, coroutine.create(print) } do
    local t = moonpool.spawn(function() error(v) end)
    local ok, err = pcall(t.wait, t)
    out[i] = say(ok, err == v, t:status())
  end
  local t = moonpool.spawn(function() error() end)
  out[#out + 1] = say(pcall(t.wait, t)) .. " " .. t:status()
  res:text(table.concat(out, "|"))
end)
app:get("/long", function()
  moonpool.scope(function(scope)
    for i = 1, 5 do
      scope:spawn(function()
        local _ <close> = closer(function() moonpool.sleep(0.05) end)
        local ch = moonpool.channel()
        moonpool.wait_any { ch, scope:spawn { "sh", "-c", "setsid sleep 3683 & sleep 3683" } }
      end)
    end
    moonpool.offload(function() while true do end end):wait()
  end)
end)
return app
]]

describe("whatever a script does", function()
  local s
  setup(function() s = server.start { app = app, args = { "--threads", 3 } } end)
  teardown(function() s:stop() end)
  before_each(function() s:get "/told" end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body, path)
  end
  local function quiet()
    wait.until_true(function() return s:get("/counts").body == "1 0 0 0 1" end, 8, "tasks and processes to be gone")
  end

  it("an outer deadline ends all below it, innermost first", function()
    says("/nested-deadlines", "false timeout inner,middle,outer")
    assert.are.same({}, proc.named "sleep 3681")
    quiet()
  end)
  it("an inner deadline is no error of the outer scope", function() says("/inner-deadline", "false timeout went on") end)
  it("a __close may wait and be cancelled meanwhile", function()
    says("/cancel-in-close", "true slept true true cancelled first")
    says("/told", "0 ")
  end)
  it("an error of a __close is not lost", function() says("/close-raises", "false from close failed") end)
  it("wait_all joins slow closers, processes and threads before it raises", function()
    says("/slow-closers", "false 7 20 cancelled 3 cancelled true")
    assert.are.same({}, proc.named "sleep 3682")
    says("/told", "0 ")
  end)
  it("errors of closers are each told once", function()
    says("/errors-in-closers", "false first")
    local body = s:get("/told").body
    assert.are.equal("5", body:match "^%d+", body)
  end)
  for how, text in pairs {
    wait = "cycle of 3 tasks, cycle of 3 tasks, cycle of 3 tasks",
    all = "cycle of 3 tasks, cycle of 3 tasks, cycle of 3 tasks",
    mixed = "cycle of 3 tasks, cycle of 3 tasks, cycle of 3 tasks",
    any = "", scope = "",
  } do
    it("a cycle of three is named: " .. how, function()
      local body = s:get("/cycle/" .. how).body
      if text ~= "" then assert.are.equal(text, body) else assert.is_nil(body:find "hangs", body) end
      assert.is_truthy(body:find "cycle of", body)
    end)
  end
  it("a channel is closed under its senders", function()
    says("/closed-under-senders", "sent,closed,closed,closed,closed 1 closed closed")
  end)
  it("iterators in coroutines may wait", function() says("/iterators", "42925 500500 true") end)
  it("coroutines that wait are closed with their task", function()
    says("/dropped-coroutines", "1,2,timeout,3,closed,true")
  end)
  it("recursion without end is an error, again and again", function()
    says("/recursion", "false true,false true,false true false false false true")
  end)
  it("an error comes up through hundreds of tasks, and through scopes", function()
    says("/deep-tasks", "false from the deep false from the deep")
    says("/told", "0 ")
  end)
  it("functions that lead back to themselves cross to a thread", function() says("/offload-cycles", "true true bottom true") end)
  it("nothing exits but by the server's own end", function()
    local worker, r = s:worker(), s:get "/exits"
    assert.are.equal("os.exit,os.exit,os.exit,os.exit,ended,an error false os.exit", r.body)
    assert.are.equal(worker, s:worker())
  end)
  it("a turmoil of cancels ends", function()
    local body = s:get("/turmoil").body
    assert.is_truthy(body:find "50$", body)
    quiet()
  end)
  it("long lists are waited for", function() says("/huge-lists", "2000 1 2000 1990") end)
  it("nothing waits where nothing can", function() says("/gc-waits", "false false") end)
  it("any value may be an error", function()
    says("/error-values", "false true failed|false true failed|false true failed|false true failed|false true failed|"
      .. "false nil failed")
  end)
  it("a client that goes away in the middle of it leaves nothing", function()
    for _ = 1, 5 do
      local c = s:connect()
      c:send(client.bytes("GET", "/long"))
      wait.sleep(0.15)
      c:rst()
    end
    wait.until_true(function() return #proc.named "sleep 3683" == 0 end, 6, "its processes to be gone")
    quiet()
    says("/told", "0 ")
  end)
end)
