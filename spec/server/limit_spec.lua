-- Limits and semaphores: at most so many at once, first come first served.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local shared = moonpool.limit { max = 2, queue = 40 }
local narrow = moonpool.limit { max = 1, queue = 1 }
local now, most = 0, 0

local function within(s)
  now = now + 1
  most = math.max(most, now)
  moonpool.sleep(s)
  now = now - 1
end

app:get("/tasks", function(_, res)
  local order, tasks = {}, {}
  now, most = 0, 0
  for i = 1, 7 do
    tasks[i] = shared:spawn(function(name)
      order[#order + 1] = name
      within(0.02)
      return name, nil
    end, i)
  end
  local first = moonpool.wait_all(tasks)
  local r = table.pack(tasks[7]:wait())
  res:text(("%s %d %d %d"):format(table.concat(order), most, first[7], r.n))
end)
app:get("/full", function(_, res)
  local limit = moonpool.limit { max = 1, queue = 1 }
  local a = limit:spawn(moonpool.sleep, 0.1)
  local b = limit:spawn(moonpool.sleep, 0)
  local c, message, code = limit:spawn(moonpool.sleep, 0)
  local d, _, code_of_run = limit:run { "true" }
  local e, _, code_of_spawn = limit:spawn { "true" }
  moonpool.wait_all { a, b }
  local f = limit:run { "true" }
  res:text(("%s %s %s %s %s %s %s %s"):format(c, message, code, d, code_of_run, e, code_of_spawn, f.ok))
end)
app:get("/positions", function(_, res)
  local limit = moonpool.limit { 1, 0 }
  local p = limit:spawn { "sleep", "0.2" }
  local _, _, code = limit:spawn { "true" }
  p:wait()
  local again = limit:spawn { "true" }
  res:text(("%s %s %s"):format(code, again:wait().ok, tostring(limit)))
end)
app:get("/runs", function(_, res)
  local t = {}
  for i = 1, 6 do
    t[i] = moonpool.spawn(function() return shared:run { "sh", "-c", "sleep 0.05; exit " .. i } end)
  end
  local codes = {}
  for i, r in ipairs(moonpool.wait_all(t)) do codes[i] = r.code end
  res:text(table.concat(codes, ","))
end)
app:get("/no-start", function(_, res)
  local limit = moonpool.limit { max = 1, queue = 0 }
  local out = {}
  for i = 1, 3 do out[i] = select(3, limit:run { "/no/such/program" }) end
  for i = 4, 6 do out[i] = select(3, limit:spawn { "/no/such/program" }) end
  out[7] = tostring(pcall(limit.run, limit, { "true", nonsense = 1 }))
  out[8] = tostring(pcall(limit.spawn, limit, { "true", nonsense = 1 }))
  out[9] = tostring(pcall(limit.run, limit, { "false", check = true }))
  out[10] = tostring(limit:run({ "true" }).ok)
  res:text(table.concat(out, " "))
end)
app:get("/timeout", function(_, res)
  local limit = moonpool.limit { max = 1, queue = 2 }
  local p = limit:spawn { "sleep", "0.3" }
  local r, message, code = limit:run { "true", queue_timeout = 0.02 }
  local left = p:wait().ok
  res:text(("%s %s %s %s"):format(r, message, code, left))
end)
app:get("/cancelled", function(_, res)
  local limit, ran = moonpool.limit { max = 1, queue = 2 }, {}
  local a = limit:spawn(moonpool.sleep, 0.1)
  local b = limit:spawn(function() ran[#ran + 1] = "b" end)
  local c = moonpool.spawn(function() limit:run { "true" } end)
  moonpool.sleep(0.01)
  b:cancel()
  c:cancel()
  local d = limit:spawn(function() ran[#ran + 1] = "d" end)
  local e = limit:spawn(function() ran[#ran + 1] = "e" end)
  moonpool.wait_all { a, d, e }
  res:text(("%s %s %s"):format(table.concat(ran), b:status(), c:status()))
end)
app:get("/cancelled-at-once", function(_, res)
  local limit, ran = moonpool.limit { max = 1, queue = 2 }, {}
  local a = limit:spawn(function() ran[#ran + 1] = "a" end)
  local b = limit:spawn(function() ran[#ran + 1] = "b" end)
  a:cancel()
  b:cancel()
  local c = limit:spawn(function() ran[#ran + 1] = "c" end)
  c:wait()
  pcall(a.wait, a)
  pcall(b.wait, b)
  res:text(("%s %s %s"):format(table.concat(ran), a:status(), b:status()))
end)
app:get("/errors", function(_, res)
  local limit = moonpool.limit { max = 1, queue = 3 }
  local a = limit:spawn(function() error("a", 0) end)
  local b = limit:spawn(function() moonpool.sleep(0.01) error("b", 0) end)
  local c = limit:spawn(function() return "c" end)
  local _, ea = pcall(a.wait, a)
  local _, eb = pcall(b.wait, b)
  res:text(ea .. eb .. c:wait())
end)
app:get("/request", function(_, res)
  res:text(tostring(narrow:run { "sleep", "3620" }))
end)
app:get("/quick", function(_, res)
  local r, _, code = narrow:run { "true" }
  res:text(tostring(r and r.ok or code))
end)
app:get("/arguments", function(_, res)
  local out = {}
  for _, options in ipairs { {}, { max = 0 }, { max = 1, queue = -1 }, { max = 1, size = 2 }, { max = 1.5 }, "2" } do
    out[#out + 1] = select(2, pcall(moonpool.limit, options))
  end
  out[#out + 1] = select(2, pcall(shared.run, shared, "true"))
  out[#out + 1] = select(2, pcall(moonpool.semaphore, 0))
  res:text(table.concat(out, "\n"))
end)

app:get("/semaphore", function(_, res)
  local semaphore, order, tasks = moonpool.semaphore(2), {}, {}
  now, most = 0, 0
  for i = 1, 6 do
    tasks[i] = moonpool.spawn(function()
      local permit <close> = semaphore:acquire()
      order[#order + 1] = i
      within(0.01)
      if i == 3 then error "let go all the same" end
    end)
  end
  for _, t in ipairs(tasks) do pcall(t.wait, t) end
  local permit = semaphore:acquire(0)
  permit:release()
  permit:release()
  res:text(("%s %d %s"):format(table.concat(order), most, tostring(semaphore)))
end)
app:get("/semaphore-timeout", function(_, res)
  local semaphore = moonpool.semaphore(1)
  local held = semaphore:acquire()
  local p, why, code = semaphore:acquire(0.02)
  local q, _, at_once = semaphore:acquire(0)
  local t = moonpool.spawn(function() semaphore:acquire() end)
  moonpool.sleep(0.01)
  t:cancel()
  pcall(t.wait, t)
  held:release()
  local again = semaphore:acquire(0)
  res:text(("%s %s %s %s %s %s"):format(p, why, code, q, at_once, tostring(again)))
end)
-- The permit and the cancel reach the task in one turn: the next in the line gets it.
app:get("/semaphore-race", function(_, res)
  local semaphore = moonpool.semaphore(1)
  local held, got = semaphore:acquire(), {}
  local a = moonpool.spawn(function() local p <close> = semaphore:acquire() got[#got + 1] = "a" end)
  local b = moonpool.spawn(function() local p <close> = semaphore:acquire() got[#got + 1] = "b" end)
  moonpool.sleep(0.01)
  held:release()
  a:cancel()
  b:wait()
  res:text(table.concat(got) .. " " .. tostring(semaphore))
end)
app:get("/forgotten", function(_, res)
  local semaphore = moonpool.semaphore(1)
  semaphore:acquire()
  collectgarbage()
  collectgarbage()
  res:text(tostring(semaphore:acquire(1)))
end)
return app
]]

describe("a limit", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  it("lets tasks begin in turn, so many at once", function() says("/tasks", "1234567 2 7 2") end)

  it("says EAGAIN when its queue is full", function()
    says("/full", "nil limit: 1 at once, and 1 wait already EAGAIN nil EAGAIN nil EAGAIN true")
  end)

  it("holds a place for a process until it has ended", function()
    says("/positions", "EAGAIN true limit (1 at once, 0 may wait)")
  end)

  it("runs processes, each with its own result", function() says("/runs", "1,2,3,4,5,6") end)

  it("gives the place back whatever happens", function()
    says("/no-start", "ENOENT ENOENT ENOENT ENOENT ENOENT ENOENT false false false true")
    says("/errors", "abc")
  end)

  it("forgets who gives up or is cancelled", function()
    says("/timeout", "nil limit: no free place among 1 within 0.02 s EAGAIN true")
    says("/cancelled", "de cancelled cancelled")
    says("/cancelled-at-once", "ac done cancelled") -- a has its place, and no wait that could raise
  end)

  it("is one for all requests, and forgets a client that goes away", function()
    local first, second = s:connect(), s:connect()
    first:send "GET /request HTTP/1.1\r\nHost: x\r\n\r\n"
    wait.until_true(function() return #proc.named "sleep 3620" == 1 end, 3, "the first process")
    second:send "GET /request HTTP/1.1\r\nHost: x\r\n\r\n"
    wait.until_true(function() return s:get("/quick").body == "EAGAIN" end, 3, "a full queue")
    second:close()
    first:close()
    wait.until_true(function() return s:get("/quick").body == "true" end, 5, "a free place")
    assert.are.equal(0, #proc.named "sleep 3620")
  end)

  it("holds under many requests", function()
    for _, r in ipairs(client.at_once(s.port, 6, function() return "GET", "/runs" end)) do
      assert.are.equal("1,2,3,4,5,6", r.body)
    end
    says("/tasks", "1234567 2 7 2")
  end)

  it("names a wrong argument", function()
    local body = s:get("/arguments").body
    assert.is_truthy(body:find("^[^\n]*max must be a whole number from 1\n[^\n]*max must[^\n]*\n[^\n]*queue must be[^\n]*\n"
      .. "[^\n]*unknown option size\n[^\n]*max must[^\n]*\n[^\n]*a table is needed[^\n]*\n[^\n]*run needs a table[^\n]*\n"
      .. "[^\n]*number of places[^\n]*$"), body)
    assert.is_nil(body:find "limit.lua", body)
  end)
end)

describe("a semaphore", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  it("gives permits in turn; the end of a block gives one back", function()
    says("/semaphore", "123456 2 semaphore (0 of 2 taken, 0 waiting)")
  end)

  it("lets a task give up, and be cancelled", function()
    says("/semaphore-timeout", "nil timeout timeout nil timeout permit")
  end)

  it("loses no permit to a task that is cancelled as it gets one", function()
    says("/semaphore-race", "b semaphore (0 of 1 taken, 0 waiting)")
  end)

  it("gets a forgotten permit back from the collector", function() says("/forgotten", "permit") end)
end)
