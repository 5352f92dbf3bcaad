-- One wait for all: tasks and processes, and what gives again and again: channels, semaphores, timers.
local client = require "spec.support.client"
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

local function say(...)
  local out = table.pack(...)
  for i = 1, out.n do out[i] = tostring(out[i]) end
  return table.concat(out, " ")
end
local function later(s, fn, ...)
  local arguments = table.pack(...)
  return moonpool.spawn(function()
    moonpool.sleep(s)
    return fn(table.unpack(arguments, 1, arguments.n))
  end)
end

app:get("/alone", function(_, res)
  local ch, sem = moonpool.channel(1), moonpool.semaphore(1)
  ch:send "held"
  local a = moonpool.wait(ch)
  local b = say(moonpool.wait(ch, 0.01))
  later(0.01, ch.send, ch, "sent")
  local c = moonpool.wait(ch)
  local permit = moonpool.wait(sem)
  local d = say(moonpool.wait(sem, 0.01))
  permit:release()
  local e = say(moonpool.wait(sem, 0))
  ch:close()
  res:text(say(a, b, c, permit, d, e, moonpool.wait(ch)))
end)
app:get("/timers", function(_, res)
  local n = 0
  local once = moonpool.after(0.02, function() moonpool.sleep(0.02) n = n + 1 end)
  local first = say(moonpool.wait(once, 0.005), moonpool.wait(once), n, moonpool.wait(once), moonpool.wait(once, 0))
  local every = moonpool.every(0.01, function() n = n + 1 end)
  moonpool.wait(every)
  moonpool.wait(every)
  local t = moonpool.spawn(function() return moonpool.wait(every) end)
  moonpool.sleep(0)
  every:cancel()
  local gone = moonpool.after(30, print)
  local waiting = moonpool.spawn(function() return say(moonpool.wait(gone)) end)
  moonpool.sleep(0)
  gone:cancel()
  res:text(say(first, n >= 3, t:wait(), say(moonpool.wait(every)), waiting:wait()))
end)
app:get("/any", function(_, res)
  local a, b = moonpool.channel(1), moonpool.channel(1)
  local slow = moonpool.spawn(moonpool.sleep, 30)
  b:send "b1"
  local out = { say(moonpool.wait_any { slow, a, b }) }
  later(0.01, a.send, a, "a1")
  out[#out + 1] = say(moonpool.wait_any { slow, a, b })
  out[#out + 1] = say(moonpool.wait_any({ slow, a, b }, 0.01))
  b:send "b2"
  a:send "a2"
  out[#out + 1] = say(moonpool.wait_any { slow, b, a }) -- takes one alone
  out[#out + 1] = #a .. " " .. #b
  out[#out + 1] = say(moonpool.wait_any { moonpool.after(0.01, print), slow })
  a:receive()
  a:close()
  out[#out + 1] = say(moonpool.wait_any { slow, a })
  slow:cancel()
  res:text(table.concat(out, "\n"))
end)
-- Both are given something in one turn of the loop: the second goes back, in its place.
app:get("/goes-back", function(_, res)
  local a, b, sem = moonpool.channel(3), moonpool.channel(3), moonpool.semaphore(1)
  local held = sem:acquire()
  local t = moonpool.spawn(function() return say(moonpool.wait_any { a, b, sem }) end)
  moonpool.sleep(0.01)
  a:send(1)
  b:send(2)
  b:send(3)
  held:release()
  local first = t:wait()
  res:text(say(first, b:receive(), b:receive(), sem:acquire(0)))
end)
app:get("/all", function(_, res)
  local a, b, sem = moonpool.channel(), moonpool.channel(1), moonpool.semaphore(1)
  b:send "b"
  later(0.01, a.send, a, "a")
  local p = moonpool.spawn { "sh", "-c", "exit 3" }
  local r = moonpool.wait_all { a, b, sem, p, moonpool.after(0.01, print), later(0.02, tostring, "t") }
  res:text(say(r[1], r[2], r[3], r[4].code, r[5], r[6], r.n))
end)
-- A wait that comes to nothing has taken nothing.
app:get("/all-undone", function(_, res)
  local a, b, never = moonpool.channel(2), moonpool.channel(2), moonpool.channel()
  a:send "a1"
  a:send "a2"
  later(0.01, b.send, b, "b1")
  local out = { say(moonpool.wait_all({ a, b, never }, 0.03)) }
  out[#out + 1] = say(a:receive(0), a:receive(0), b:receive(0))
  a:send "a3"
  local bad = later(0.01, error, "bad", 0)
  out[#out + 1] = say(pcall(moonpool.wait_all, { a, never, bad }))
  out[#out + 1] = say(a:receive(0))
  a:send "a4"
  local t = moonpool.spawn(function() moonpool.wait_all { a, never } end)
  moonpool.sleep(0.01)
  out[#out + 1] = say(#a)
  t:cancel()
  out[#out + 1] = say(a:receive(0))
  local deaf = moonpool.spawn(function()
    while true do pcall(moonpool.wait_all, { a, never }) end
  end)
  moonpool.sleep(0.01)
  deaf:cancel()
  a:send "a5"
  pcall(deaf.wait, deaf)
  out[#out + 1] = say(a:receive(0), deaf:status())
  res:text(table.concat(out, "\n"))
end)
app:get("/subscription", function(_, res)
  local news, ch = moonpool.subscribe "news", moonpool.channel()
  later(0.02, moonpool.publish, "news", "first")
  local a = say(moonpool.wait_any { ch, news })
  moonpool.publish("news", "second")
  later(0.05, ch.send, ch, "third")
  local r = moonpool.wait_all { news, ch }
  news:close()
  res:text(say(a, r[1], r[2], select("#", moonpool.wait(news))))
end)
app:get("/twice", function(_, res)
  local ch = moonpool.channel()
  local t = moonpool.spawn(function() return say(moonpool.wait_any { ch, ch }) end)
  local all = moonpool.spawn(function()
    local r = moonpool.wait_all { ch, ch }
    return say(r[1], r[2])
  end)
  moonpool.sleep(0.01)
  for i = 1, 3 do ch:send(i) end
  res:text(say(t:wait(), all:wait()))
end)
app:get("/line", function(_, res)
  local ch, got, tasks = moonpool.channel(), {}, {}
  for i = 1, 6 do
    tasks[i] = moonpool.spawn(function()
      local v = i % 2 == 0 and ch:receive() or select(2, moonpool.wait_any { moonpool.channel(), ch })
      got[i] = v
    end)
  end
  moonpool.sleep(0.01)
  for i = 1, 6 do ch:send(i) end
  moonpool.wait_all(tasks)
  res:text(table.concat(got))
end)
app:get("/select", function(_, res)
  local a, b, quit, sum, n = moonpool.channel(2), moonpool.channel(2), moonpool.channel(), 0, 0
  local function feed(ch, from)
    return moonpool.spawn(function()
      for i = from, from + 199 do
        ch:send(i)
        if i % 50 == 0 then moonpool.sleep(0) end
      end
    end)
  end
  local feeders = { feed(a, 1), feed(b, 201), feed(a, 401) }
  moonpool.spawn(function()
    moonpool.wait_all(feeders)
    while #a + #b > 0 do moonpool.sleep(0) end
    quit:close()
  end)
  while true do
    local i, v = moonpool.wait_any { a, b, quit }
    if i == 3 then break end
    sum, n = sum + v, n + 1
  end
  res:text(say(n, sum))
end)
app:get("/nothing", function(_, res)
  res:text(say(pcall(moonpool.wait, {})) .. "\n" .. say(pcall(moonpool.wait_any, { moonpool.channel(), 7 })) .. "\n"
    .. say(pcall(moonpool.wait, moonpool.limit { max = 1 })))
end)
app:get("/dropped", function(_, res)
  local ch = moonpool.channel()
  for _ = 1, 200 do
    local t = moonpool.spawn(function() moonpool.wait_any { ch, moonpool.semaphore(1), moonpool.spawn(moonpool.sleep, 0) } end)
    moonpool.sleep(0)
    t:cancel()
    pcall(t.wait, t)
  end
  collectgarbage()
  collectgarbage()
  local t = moonpool.spawn(function() return ch:receive() end)
  moonpool.sleep(0)
  ch:send "arrives"
  res:text(t:wait())
end)
return app
]]

describe("a wait", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  it("for a channel receives, for a semaphore acquires", function()
    says("/alone", "held nil timeout timeout sent permit (released) nil timeout timeout permit nil closed closed")
  end)

  it("for a timer is over when its next firing is", function()
    says("/timers", "nil true 1 true true true nil nil closed closed nil closed closed")
  end)

  it("for the first of several may be for any of them, and takes from one alone", function()
    says("/any", "3 b1\n2 a1\nnil timeout timeout\n2 b2\n1 0\n1 true\n2 nil closed closed")
  end)

  it("for the first of several gives back what came beside it", function() says("/goes-back", "1 1 2 3 permit") end)

  it("for all takes one from each", function() says("/all", "a b permit 3 true t 6") end)

  it("for all that comes to nothing has taken nothing", function()
    says("/all-undone", "nil timeout timeout\na1 a2 b1\nfalse bad\na3\n0\na4\na5 cancelled")
  end)

  it("may be for what is published", function() says("/subscription", "2 first second third 3") end)

  it("may be for the same thing twice", function() says("/twice", "1 1 2 3") end)

  it("for several stands in each line as any other", function() says("/line", "123456") end)

  it("for several channels loses nothing and doubles nothing", function() says("/select", "600 180300") end)

  it("for what nobody can wait for says so", function()
    local lines = {}
    for line in s:get("/nothing").body:gmatch "[^\n]+" do lines[#lines + 1] = line end
    for i = 1, 3 do assert.is_truthy(lines[i]:find "^false .*nothing to wait for", lines[i]) end
  end)

  it("that was cancelled leaves nothing in a line", function() says("/dropped", "arrives") end)

  it("holds for many requests at once", function()
    for _, r in ipairs(client.at_once(s.port, 20, function() return "GET", "/select" end)) do
      assert.are.equal("600 180300", r.body)
    end
  end)
end)
