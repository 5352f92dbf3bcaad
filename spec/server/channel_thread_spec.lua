-- Channels between a worker and its threads: values both ways, bounded, closed for both, and nobody waits for a thread
-- that is gone.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

local function say(...)
  local out = table.pack(...)
  for i = 1, out.n do out[i] = tostring(out[i]) end
  return table.concat(out, " ")
end

app:get("/both-ways", function(_, res)
  local jobs, answers = moonpool.channel(2), moonpool.channel(2)
  local t = moonpool.offload(function(jobs, answers)
    for n in jobs:values() do answers:send { n, n * n } end
    answers:close()
    return "through"
  end, jobs, answers)
  local feeder = moonpool.spawn(function()
    for n = 1, 100 do jobs:send(n) end
    jobs:close()
  end)
  local sum, n = 0, 0
  for pair in answers:values() do
    assert(pair[2] == pair[1] * pair[1])
    sum, n = sum + pair[2], n + 1
  end
  feeder:wait()
  res:text(say(n, sum, t:wait()))
end)
app:get("/bounded", function(_, res)
  local ch, done = moonpool.channel(3), nil
  local t = moonpool.offload(function(ch)
    for i = 1, 10 do ch:send(i) end
    return "sent"
  end, ch)
  local early, why = t:wait(0.1)
  local held, got = #ch, {}
  for i = 1, 10 do got[i] = ch:receive(1) end
  res:text(say(early, why, held, table.concat(got), t:wait()))
end)
app:get("/values", function(_, res)
  local there, back = moonpool.channel(20), moonpool.channel(20)
  local loop = { name = "loop" }
  loop.self = loop
  local up = 40
  there:send(1) there:send(1.5) there:send "s" there:send(false) there:send(loop)
  there:send(function(n) return up + n end)
  there:send(moonpool.json.null) there:send(back)
  there:close()
  local same, f = moonpool.offload(function(there, back)
    local got = {}
    for v in there:values() do got[#got + 1] = v end
    back:send(math.type(got[1]) == "integer" and got[2] == 1.5 and got[3] == "s" and got[4] == false
      and got[5].self == got[5] and got[6](2) == 42 and got[7] == moonpool.json.null)
    return got[8] == back, got[6], there
  end, there, back):wait()
  res:text(say(same, f(1), back:receive()))
end)
app:get("/returned", function(_, res)
  local ch = moonpool.channel(1)
  local back, n, text = moonpool.offload(function(ch) return ch, #ch, tostring(ch) end, ch):wait()
  res:text(say(back == ch, n, text))
end)
app:get("/closed", function(_, res)
  local ch = moonpool.channel(1)
  local t = moonpool.offload(function(ch)
    local out = { tostring(select(2, ch:receive(0.02))) }
    ch:send "held"
    ch:close()
    out[2] = tostring(select(2, ch:send "late"))
    out[3] = ch:receive()
    out[4] = select(2, ch:receive())
    local moonpool = require "moonpool"
    out[5] = select(2, moonpool.wait(ch))
    do local _ <close> = ch end
    return table.concat(out, " ")
  end, ch)
  local text = t:wait()
  local waiting, other = moonpool.channel(), nil
  local reader = moonpool.offload(function(ch) return select(2, ch:receive()) end, waiting)
  moonpool.sleep(0.02)
  waiting:close()
  res:text(say(text, select(2, ch:receive()), reader:wait()))
end)
app:get("/wrong", function(_, res)
  local ch = moonpool.channel(1)
  ch:send(coroutine.create(print))
  local a, b, c = moonpool.offload(function(ch)
    local moonpool = require "moonpool"
    local function why(...) return select(2, pcall(...)) end
    return why(ch.receive, ch), why(ch.send, ch, nil), why(function() return moonpool.channel(1) end)
  end, ch):wait()
  res:text(a .. "\n" .. b .. "\n" .. c)
end)
-- Whoever waits for a thread that does not come to it any more, goes on.
local ends = {
  error = function(ch) ch:send(1) error "broke" end,
  stopped = function(ch) ch:send(1) while true do local _ = {} end end,
  asleep = function(ch) ch:send(1) require "moonpool".sleep(3600) end,
  receiving = function(ch) ch:send(1) ch:receive() end,
  in_c = function(ch) ch:send(1) return ("a"):rep(60000):find "^.-.-.-b" end,
}
app:get("/gone/:how", function(req, res)
  local ch = moonpool.channel()
  local t = moonpool.offload(ends[req.params.how], ch)
  local first = ch:receive()
  local waiting = moonpool.spawn(function()
    return req.params.how == "receiving" and "nothing" or say(ch:receive())
  end)
  if req.params.how ~= "error" then t:cancel() end
  pcall(t.wait, t)
  res:text(say(first, waiting:wait(), select(2, ch:send(2, 1))))
end)
app:get("/dropped", function(_, res)
  local busy, ch = {}, moonpool.channel()
  for i = 1, 2 do busy[i] = moonpool.offload(function() require "moonpool".sleep(0.3) end) end
  local t = moonpool.offload(function(ch) ch:send(1) end, ch)
  t:cancel()
  res:text(say(ch:receive()))
end)
app:get("/shared-by-two", function(_, res)
  local jobs, answers = moonpool.channel(), moonpool.channel(10)
  local function work(jobs, answers)
    for n in jobs:values() do
      if n == 3 then error "one of them fails" end
      answers:send(n)
    end
  end
  local one, two = moonpool.offload(work, jobs, answers), moonpool.offload(work, jobs, answers)
  for n = 1, 6 do jobs:send(n) end
  jobs:close()
  local failed = pcall(one.wait, one) ~= pcall(two.wait, two)
  local sum = 0
  for _ = 1, 5 do sum = sum + answers:receive(1) end
  res:text(say(failed, sum))
end)
app:get("/normal-end", function(_, res)
  local ch = moonpool.channel(1)
  moonpool.offload(function(ch) ch:send(1) end, ch):wait()
  local a = ch:receive()
  res:text(say(a, ch:send(2, 0), ch:receive()))
end)

local store = moonpool.service "store"
app:get("/service", function(_, res)
  local there, back = moonpool.channel(1), moonpool.channel(1)
  store:call("keep", there, back):wait()
  local out = {}
  for i = 1, 3 do
    there:send(i)
    store:call("double"):wait()
    out[i] = back:receive()
  end
  local same = store:call("same", there):wait()
  res:text(say(table.concat(out, ","), same, store:call("give"):wait() == there))
end)
app:get("/service-thrown-away", function(_, res)
  local ch = moonpool.channel()
  store:call("keep", ch, ch):wait()
  local waiting = moonpool.spawn(function() return say(ch:receive()) end)
  local endless = store:call "endless"
  moonpool.sleep(0.05)
  endless:cancel()
  pcall(endless.wait, endless)
  res:text(waiting:wait())
end)
app:get("/service-lets-go", function(_, res)
  for _ = 1, 300 do
    local ch = moonpool.channel(1)
    store:call("keep", ch, ch):wait()
    moonpool.offload(function(ch) ch:send "x" end, ch):wait()
  end
  store:call("keep"):wait()
  store:call("collect"):wait()
  local both = {}
  for i = 1, 2 do -- at once, so that each thread has one
    both[i] = moonpool.offload(function()
      collectgarbage()
      collectgarbage()
      require "moonpool".sleep(0.2)
    end)
  end
  moonpool.wait_all(both)
  local links = 0
  for _, v in pairs(debug.getregistry()) do
    if type(v) == "table" and getmetatable(v) == nil then
      for k, c in pairs(v) do
        if math.type(k) == "integer" and type(c) == "userdata" and tostring(c):find "^channel" then links = links + 1 end
      end
    end
  end
  res:text(tostring(links <= 4) .. " " .. links)
end)
app:get("/disconnect", function()
  local ch = moonpool.channel()
  moonpool.offload(function(ch) for v in ch:values() do print(v) end end, ch):wait()
end)
app:get("/stats", function(_, res) res:text(tostring(moonpool.stats().offloads)) end)
return app
]]

local store = [[
local there, back
return {
  keep = function(a, b) there, back = a, b end,
  double = function() back:send(there:receive() * 2) end,
  same = function(ch) return ch == there end,
  give = function() return there end,
  endless = function() while true do local _ = {} end end,
  collect = function() collectgarbage() collectgarbage() end,
}
]]

describe("a channel that goes to a thread", function()
  local s
  setup(function()
    s = server.start { app = app, files = { ["store.lua"] = store }, args = { "--threads", 2 } }
  end)
  teardown(server.stop_all)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  it("carries values there and back", function() says("/both-ways", "100 338350 through") end)
  it("makes the thread wait when it is full", function() says("/bounded", "nil timeout 3 12345678910 sent") end)
  it("carries what crosses, other channels too", function() says("/values", "true 41 true") end)
  it("comes back as itself", function() says("/returned", "true 0 channel (0 of 1)") end)
  it("is closed for both by either", function()
    says("/closed", "timeout closed held closed closed closed closed closed")
  end)
  it("names what cannot cross", function()
    local body = s:get("/wrong").body
    assert.is_truthy(body:find "coroutine.*only nil.*\n.*nil cannot be sent.*\n.*needs the worker's loop", body)
  end)
  for _, how in ipairs { "error", "stopped", "asleep", "in_c" } do
    it("is closed when the thread does not come back to it: " .. how, function()
      says("/gone/" .. how, "1 nil closed closed closed closed")
    end)
  end
  it("is closed for who sends when the thread that received is stopped", function()
    assert.is_truthy(s:get("/gone/receiving").body:find "closed$")
  end)
  it("is closed when its offload never ran", function() says("/dropped", "nil closed closed") end)
  it("goes on while another offload has it", function() says("/shared-by-two", "true 18") end)
  it("stays open when its offload has returned", function() says("/normal-end", "1 true 2") end)
  it("stays with a service from call to call", function() says("/service", "2,4,6 true true") end)
  it("is closed when the state of the service that held it is thrown away", function()
    says("/service-thrown-away", "nil closed closed")
  end)
  it("is let go of when no thread holds it any more", function()
    assert.is_truthy(s:get("/service-lets-go").body:find "^true", s:get("/service-lets-go").body)
  end)
  it("hangs nobody when the client goes away", function()
    local c = s:connect()
    c:send(client.bytes("GET", "/disconnect"))
    wait.until_true(function() return s:get("/stats").body == "1" end, 2, "the offload")
    c:rst()
    wait.until_true(function() return s:get("/stats").body == "0" end, 3, "its end")
  end)
  it("holds for many at once", function()
    for _, r in ipairs(client.at_once(s.port, 20, function() return "GET", "/both-ways" end)) do
      assert.are.equal("100 338350 through", r.body)
    end
    assert.is_true(proc.alive(s:worker()))
  end)
end)
