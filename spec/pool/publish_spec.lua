-- moonpool.publish and moonpool.subscribe: every worker hears what any of them says, in one order.
local client = require "spec.support.client"
local host = require "host"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local heard = {}

app:on_start(function()
  local news = assert(moonpool.subscribe "news")
  moonpool.background(function()
    for v in news:values() do heard[#heard + 1] = v end
  end)
end)
app:get("/say/:v", function(req, res) res:text(tostring(moonpool.publish("news", req.params.v))) end)
app:get("/heard", function(_, res) res:text(moonpool.worker.pid .. " " .. table.concat(heard, " ")) end)
app:get("/flood/:n", function(req, res)
  local n = math.tointeger(req.params.n)
  for i = 1, n do
    assert(moonpool.publish("flood", { from = moonpool.worker.pid, n = i }))
    if i % 100 == 0 then moonpool.sleep(0) end
    if i == n // 2 then moonpool.log.info "half of the flood" end
  end
  res:text(tostring(moonpool.worker.pid))
end)
-- Answers with what it has heard: how many from each worker, up to `last` of somebody, and whether any is missing.
app:get("/listen/:last", function(req, res)
  local last, got = math.tointeger(req.params.last), {}
  local ch <close> = moonpool.subscribe "flood"
  moonpool.log.info("listening gen=" .. moonpool.worker.generation)
  for m in ch:values() do
    if m.n ~= (got[m.from] or 0) + 1 then return res:text(("%d came after %s"):format(m.n, got[m.from])) end
    got[m.from] = m.n
    if m.n == last then break end
  end
  local out = {}
  for from, n in pairs(got) do out[#out + 1] = from .. "=" .. n end
  res:text(moonpool.worker.generation .. " " .. table.concat(out, " "))
end)
app:get("/sequence/:count", function(req, res)
  local ch <close> = moonpool.subscribe("order")
  moonpool.log.info "in order"
  local out = {}
  for _ = 1, math.tointeger(req.params.count) do out[#out + 1] = ch:receive() end
  res:text(table.concat(out, " "))
end)
app:get("/order/:n", function(req, res)
  for i = 1, math.tointeger(req.params.n) do assert(moonpool.publish("order", moonpool.worker.id .. "-" .. i)) end
  res:text "ok"
end)
app:get("/values", function(_, res)
  local ch <close> = moonpool.subscribe "values"
  local shared = { 1, 2.5, "s\0", true, moonpool.json.null }
  shared.again, shared.inner = shared, { deep = { deeper = moonpool.json.array {} } }
  moonpool.publish("values", shared)
  moonpool.publish("values", false)
  local up = 3
  moonpool.publish("values", function(x) return x * up end)
  local v, no, f = ch:receive(), ch:receive(), ch:receive()
  res:text(("%s %s %s %s %s %s %s %d"):format(v ~= shared, v.again == v, math.type(v[2]), v[3] == "s\0",
    v[5] == moonpool.json.null, moonpool.json.encode(v.inner), no, f(5)))
end)
app:get("/scope", function(_, res)
  local out, kept = {}, nil
  moonpool.scope(function() kept = moonpool.subscribe "s" end)
  out[#out + 1] = select(3, kept:receive())
  local task = moonpool.spawn(function()
    local ch = moonpool.subscribe "s"
    return ch:receive(), ch
  end)
  moonpool.sleep(0.02)
  moonpool.publish("s", "to the task")
  local got, ch = task:wait()
  out[#out + 1] = got
  ch:close()
  moonpool.publish("s", "to nobody")
  out[#out + 1] = tostring(ch:receive())
  do
    local scoped <close> = moonpool.subscribe "s"
    kept = scoped
  end
  out[#out + 1] = select(2, kept:receive())
  out[#out + 1] = tostring(pcall(kept.send, kept, 1))
  local held = moonpool.subscribe("s", 2)
  out[#out + 1] = tostring(select(2, pcall(held.send, held, 1))):match "subscription"
  out[#out + 1] = tostring(held:receive(0.01))
  out[#out + 1] = tostring(held)
  res:text(table.concat(out, "|"))
end)
app:get("/collected", function(_, res)
  local weak = setmetatable({}, { __mode = "k" })
  for i = 1, 50 do weak[moonpool.subscribe("forgotten", 1)] = true end
  collectgarbage()
  collectgarbage() -- weak keys go one round later
  moonpool.sleep(0)
  for i = 1, 100 do assert(moonpool.publish("forgotten", i, 0)) end
  moonpool.sleep(0.02)
  local n = 0
  for _ in pairs(weak) do n = n + 1 end
  res:text(tostring(n < 5))
end)
local left_open
app:get("/leave-open", function(_, res)
  left_open = moonpool.subscribe "left"
  res:text "ok"
end)
app:get("/left-open", function(_, res) res:text(tostring(left_open) .. " " .. tostring(left_open:receive())) end)
app:get("/wrong", function(_, res)
  local out = {}
  for _, call in ipairs { { moonpool.publish, 1, 1 }, { moonpool.publish, "t" }, { moonpool.publish, "t", nil },
                          { moonpool.publish, ("t"):rep(1025), 1 }, { moonpool.publish, "t", io.stdout },
                          { moonpool.publish, "t", coroutine.create(print) },
                          { moonpool.subscribe }, { moonpool.subscribe, "t", 0 } } do
    out[#out + 1] = tostring(select(2, pcall(table.unpack(call, 1, 3))))
  end
  out[#out + 1] = tostring(select(3, moonpool.publish("t", ("x"):rep(1 << 20))))
  res:text(table.concat(out, "\n"))
end)
app:get("/slow-one", function(req, res)
  req:keep()
  local ch = moonpool.subscribe("slow", 10)
  local fast, n, last = moonpool.subscribe("slow", 10), 0, nil
  moonpool.spawn(function()
    for v in fast:values() do n, last = n + 1, v end
  end)
  for i = 1, 30 do assert(moonpool.publish("slow", i)) end
  local before = moonpool.now()
  while last ~= 30 do moonpool.sleep(0.02) end
  local took = moonpool.now() - before
  local held = 0
  local v, message, code
  repeat
    v, message, code = ch:receive()
    held = held + (v and 1 or 0)
  until not v
  fast:close()
  res:text(("%s %d %d %s|%s"):format(took > 3 and took < 20, n, held, message, code))
end)
app:get("/hold", function(_, res)
  local ch = moonpool.subscribe "held"
  moonpool.log.info("holding " .. moonpool.worker.pid)
  local n, v, message, code = 0, nil, nil, nil
  repeat
    v, message, code = ch:receive()
    n = n + (v and 1 or 0)
  until not v
  local again <close> = moonpool.subscribe "held"
  moonpool.publish("held", "after that")
  res:text(("%d %s|%s|%s"):format(n, message, code, again:receive()))
end)
app:get("/fill", function(_, res)
  local text, n, none = ("x"):rep(50000), 0, 0
  repeat
    local ok, _, code = moonpool.publish("held", text, 0)
    if ok then n = n + 1 else none = none + (code == "EAGAIN" and 1 or 0) end
  until not ok
  local before = moonpool.now()
  assert(moonpool.publish("held", text))
  res:text(("%s %s %.1f"):format(n > 50, none, moonpool.now() - before))
end)
return app
]]

describe("what is published", function()
  local s
  after_each(server.stop_all)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  -- By pid, what each of `n` workers answers.
  local function ask_all(path, n)
    local answers, count = {}, 0
    wait.until_true(function()
      local pid, text = s:connect():ask("GET", path).body:match "^(%d+) ?(.*)$"
      if not answers[pid] then count = count + 1 end
      answers[pid] = text
      return count == n
    end, 10, "an answer of each worker")
    return answers
  end

  it("is heard by every worker, the publisher too", function()
    s = server.start { app = app, workers = 3 }
    for i = 1, 20 do says("/say/m" .. i, "true") end
    local want = {}
    for i = 1, 20 do want[i] = "m" .. i end
    wait.until_true(function()
      for _, text in pairs(ask_all("/heard", 3)) do
        if text ~= table.concat(want, " ") then return false end
      end
      return true
    end, 5, "everything everywhere")
  end)

  it("comes in the same order to all", function()
    s = server.start { app = app, workers = 3 }
    local listeners = {}
    for i = 1, 6 do
      listeners[i] = s:connect()
      listeners[i]:send(client.bytes("GET", "/sequence/1200"))
    end
    s:wait_log("in order", 10, 6)
    local publishers = client.at_once(s.port, 6, function() return "GET", "/order/200" end)
    for _, r in ipairs(publishers) do assert.are.equal("ok", r.body) end
    local first
    for _, c in ipairs(listeners) do
      local body = c:response().body
      local _, n = body:gsub("%S+", "")
      assert.are.equal(1200, n)
      first = first or body
      assert.are.equal(first, body)
    end
  end)

  it("is heard in full by workers of both generations while they are replaced", function()
    s = server.start { app = app, workers = 3, args = { "--graceful-timeout", "60" } }
    local listeners = {}
    for i = 1, 6 do
      listeners[i] = s:connect()
      listeners[i]:send(client.bytes("GET", "/listen/10000"))
    end
    s:wait_log("listening gen=1", 10, 6)
    local publisher = s:connect()
    publisher:send(client.bytes("GET", "/flood/10000"))
    s:signal "HUP"
    s:wait_log("worker ready.*gen=2", 30, 3)
    local pid = publisher:response().body
    for _, c in ipairs(listeners) do assert.are.equal("1 " .. pid .. "=10000", c:response().body) end
    for i = 1, 6 do
      listeners[i] = s:connect()
      listeners[i]:send(client.bytes("GET", "/listen/10000"))
    end
    s:wait_log("listening gen=2", 10, 6)
    says("/say/x", "true")
    pid = s:get("/flood/10000").body
    for _, c in ipairs(listeners) do assert.are.equal("2 " .. pid .. "=10000", c:response().body) end
  end)

  it("is heard across generations in the middle of a reload", function()
    s = server.start { app = app, workers = 2, args = { "--graceful-timeout", "60" } }
    local old = s:connect()
    old:send(client.bytes("GET", "/listen/10000"))
    s:wait_log "listening gen=1"
    s:signal "HUP"
    s:wait_log("worker ready.*gen=2", 30, 2)
    local new = s:connect()
    new:send(client.bytes("GET", "/listen/10000"))
    s:wait_log "listening gen=2"
    local pid = s:get("/flood/10000").body
    assert.are.equal("1 " .. pid .. "=10000", old:response().body)
    assert.are.equal("2 " .. pid .. "=10000", new:response().body)
  end)

  it("goes on when a worker that listens, and one that publishes, are killed", function()
    s = server.start { app = app, workers = 3 }
    local listeners = {}
    for i = 1, 6 do
      listeners[i] = s:connect()
      listeners[i]:send(client.bytes("GET", "/listen/20000"))
    end
    s:wait_log("listening", 10, 6)
    local publisher = s:connect()
    publisher:send(client.bytes("GET", "/flood/1000000"))
    s:wait_log("worker ready", 10, 3)
    host.kill(s:workers()[1], "KILL")
    s:wait_log("worker ready", 10, 4)
    says("/say/after", "true")
    local whole = 0
    local ok, _ = pcall(publisher.response, publisher, "GET")
    for _, c in ipairs(listeners) do
      local heard, r = pcall(c.response, c)
      if heard and r then
        assert.is_truthy(r.body:find "^1 ", r.body)
        whole = whole + 1
      end
      if not ok then break end -- the publisher itself was killed: nobody hears the 20000th
    end
    if not ok then s:get "/flood/20000" end
    for _, c in ipairs(listeners) do c:close() end
    assert.is_true(not ok or whole >= 3, whole)
    s:signal "QUIT"
    s:wait_exit()
    s:finish("exit", 0)
  end)

  it("crosses as it would to a thread", function()
    s = server.start { app = app }
    says("/values", [[true true float true true {"deep":{"deeper":[]}} false 15]])
  end)

  it("is heard as long as its scope lasts", function()
    s = server.start { app = app }
    says("/scope", "closed|to the task|nil|closed|true|subscription|nil|channel (0 of 2)")
    says("/leave-open", "ok")
    wait.until_true(function() return s:get("/left-open").body == "channel (closed, 0 of 1024) nil" end, 5, "its end")
    says("/collected", "true")
  end)

  it("names a wrong argument", function()
    s = server.start { app = app }
    local lines = {}
    for line in s:get("/wrong").body:gmatch "[^\n]+" do lines[#lines + 1] = line end
    for i, pattern in ipairs { "#1 to .*string expected", "nil cannot be published", "nil cannot be published",
      "at most 1024 bytes",
      "publish: the message is a table with a metatable", "publish: the message is a thread", "#1 to .*string expected",
      "a number of values, 1", "EMSGSIZE" } do
      assert.is_truthy(lines[i]:find(pattern), lines[i])
    end
  end)

  it("waits for a subscriber that is slow, and cuts off one that takes nothing", function()
    s = server.start { app = app }
    says("/slow-one", "true 30 10 cut off: nothing was taken from it for too long|ETIMEDOUT")
    s:wait_log "a subscription is cut off.*topic=slow"
  end)

  it("is not held up for ever by a worker that was stopped, which hears of it", function()
    s = server.start { app = app, workers = 2 }
    local stopped = s:connect()
    stopped:send(client.bytes("GET", "/hold"))
    local pid = tonumber((s:wait_log "holding (%d+)"))
    host.kill(pid, "STOP")
    local body
    wait.until_true(function()
      local c = s:connect()
      c:send(client.bytes("GET", "/fill"))
      local ok, r = pcall(c.response, c)
      body = ok and r and r.body
      return body
    end, 30, "an answer of the other worker")
    assert.is_truthy(body:find "^true 1 %d", body)
    local took = tonumber(body:match "(%S+)$")
    assert.is_true(took >= 4 and took < 15, body)
    s:wait_log("workers are cut off from what is published.*pid=" .. pid)
    host.kill(pid, "CONT")
    s:wait_log "cut off from what is published: nothing was read"
    local want = "0 cut off: this worker has held up the others for too long|ETIMEDOUT|after that"
    assert.are.equal(want, stopped:response().body)
  end)
end)
