-- Services: one thread, one Lua state that lasts, calls one at a time, and what happens when it fails.
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local counter = moonpool.service("counter", { grace = 0.6, max_memory = 32 * 1024 * 1024 })
local services = { counter = counter }
local told = {}

app:on_error(function(err, _, what) told[#told + 1] = what.kind .. ": " .. tostring(err) end)
app:get("/outlives", function(_, res)
  local starter = moonpool.service "starter"
  local pid = starter:call("start"):wait()
  starter:stop()
  while starter:status() ~= "stopped" do moonpool.sleep(0.01) end
  moonpool.offload(function() require "moonpool".run { "true" } end):wait()
  moonpool.sleep(0.2) -- the thread is gone by now
  local f = io.open("/proc/" .. pid .. "/stat")
  local state = f and f:read("a"):match "%) (%S)"
  if f then f:close() end
  moonpool.run { "kill", tostring(pid) }
  local through = moonpool.offload(function()
    return tostring(require "moonpool".run { "sh", "-c", "sleep 0.1; exit 5" })
  end)
  res:text((state == "S" and "alive " or "gone ") .. through:wait())
end)
app:get("/told", function(_, res) res:text(table.concat(told, "\n")) end)
app:get("/ping", function(_, res) res:text "pong" end)
app:get("/new/:module", function(req, res)
  services[req.params.module] = moonpool.service(req.params.module)
  res:text(tostring(services[req.params.module]))
end)
app:get("/status/:module", function(req, res) res:text(services[req.params.module]:status()) end)
app:get("/call/:module/:fn", function(req, res)
  local t = services[req.params.module]:call(req.params.fn, tonumber(req.query.n))
  local r = table.pack(pcall(t.wait, t))
  for i = 1, r.n do r[i] = tostring(r[i]) end
  res:text(table.concat(r, " "))
end)
app:get("/unwaited", function(_, res)
  counter:call "fail"
  res:text "ok"
end)
app:get("/order", function(_, res)
  local list = {}
  for i = 1, 50 do list[i] = counter:call("note", i) end
  local r = moonpool.wait_all(list)
  for i = 1, 50 do assert(r[i] == i) end
  res:text(counter:call "overlap":wait() .. " " .. counter:call "notes":wait())
end)
app:get("/spin", function(_, res)
  counter:call("add", 5):wait()
  local t, queued = counter:call "spin", counter:call("add", 1)
  t:wait(0.05)
  t:cancel()
  local ok, err = pcall(t.wait, t)
  res:text(("%s %s %d"):format(ok, err == moonpool.cancelled, queued:wait()))
end)
app:get("/short", function(_, res)
  local before = counter:call("add", 1):wait()
  local t = counter:call("nap", 0.1)
  moonpool.sleep(0.02)
  t:cancel()
  pcall(t.wait, t)
  res:text(tostring(counter:call("add", 1):wait() == before + 1))
end)
app:get("/stop/:module", function(req, res)
  local svc = services[req.params.module]
  local running, queued = svc:call("nap", 0.4), svc:call("add", 1)
  moonpool.sleep(0.2)
  svc:stop()
  svc:stop()
  local _, a = pcall(running.wait, running)
  local _, b = pcall(queued.wait, queued)
  local _, c = pcall(svc.call, svc, "add", 1)
  res:text(("%s\n%s\n%s\n%s"):format(a, b, c, svc:status()))
end)
app:get("/refused", function(_, res)
  local out = {}
  local function refused(fn, ...) out[#out + 1] = select(2, pcall(fn, ...)) end
  refused(counter.call, counter, "add", io.stderr)
  refused(counter.call, counter, 5)
  refused(moonpool.service, "counter", { gracious = 1 })
  res:text(table.concat(out, "\n"))
end)
app:get("/dropped", function(_, res)
  moonpool.service "closing":call("touch"):wait()
  collectgarbage()
  collectgarbage()
  res:text "ok"
end)
return app
]]

local files = {
  ["starter.lua"] = [[
    local moonpool = require "moonpool"
    return { start = function() return moonpool.spawn({ "sleep", "3651", detach = true }).pid end }
  ]],
  ["counter.lua"] = [[
local moonpool = require "moonpool"
local n, notes, inside, overlap = 0, 0, false, 0
return {
  add = function(by) n = n + by return n end,
  fail = function() error "the service raised" end,
  nap = function(s) moonpool.sleep(s) return n end,
  spin = function() while true do end end,
  note = function(i)
    if inside then overlap = overlap + 1 end
    inside = true
    notes = notes + 1
    inside = false
    return i
  end,
  notes = function() return notes end,
  overlap = function() return overlap end,
  run = function() return moonpool.run({ "sh", "-c", "exit 9" }).code end,
  eat = function() local t = {} while true do t[#t + 1] = ("x"):rep(1000) .. #t end end,
}
]],
  ["fails.lua"] = [[error "cannot reach the database"]],
  ["nothing.lua"] = [[return 5]],
  ["later.lua"] = [[
local file = io.open "later.ok"
if not file then error "not yet" end
file:close()
return { add = function(by) return 100 + by end }
]],
  ["endless.lua"] = [[while true do end]],
  ["closing.lua"] = [[
local moonpool = require "moonpool"
closing = setmetatable({}, { __gc = function() moonpool.log.info "the service's state is closed" end })
return { touch = function() return true end }
]],
}

describe("a service", function()
  local s
  local tsan = (os.getenv "SPEC_TSAN" or "") ~= ""

  setup(function() s = server.start { app = app, files = files } end)
  teardown(server.stop_all)

  local function says(path, expected)
    local r = s:get(path)
    assert.same({ 200, expected }, { r.status, r.body })
  end

  it("keeps its state from call to call", function()
    says("/call/counter/add?n=2", "true 2")
    says("/call/counter/add?n=3", "true 5")
    says("/status/counter", "ready")
  end)

  it("runs its calls one at a time, in order", function() says("/order", "0 50") end)

  it("raises in who waits for the call, and goes on", function()
    assert.matches("^false .*counter.lua:5: the service raised$", s:get("/call/counter/fail").body)
    says("/call/counter/add?n=0", "true 5")
  end)

  it("tells an error that nobody took, as one of kind service", function()
    says("/unwaited", "ok")
    wait.until_true(function() return s:get("/told").body:match "service: .*counter.lua:5: the service raised" end)
    assert.equal(1, s:count_log "service error: .*the service raised spawned_at=app.lua")
  end)

  it("names a function that is not there, and what cannot cross", function()
    says("/call/counter/nosuch", "false service 'counter' has no function 'nosuch'")
    local body = s:get("/refused").body
    assert.matches("service: argument 1 is a userdata %(FILE%*%); only", body)
    assert.matches("call: the name of a function is wanted, not number", body)
    assert.matches("service: unknown option gracious", body)
  end)

  it("has its processes started by the loop", function() says("/call/counter/run", "true 9") end)

  it("that has ended leaves what it had the loop start alone: no process dies with its thread (row 32)", function()
    says("/outlives", "alive exit 5")
  end)

  it("keeps to its bound of memory", function()
    says("/call/counter/eat", "false service: not enough memory: max_memory is 33554432 bytes")
    says("/call/counter/add?n=0", "true 5")
  end)

  it("lets a cancelled call end in its own time, if that is short", function() says("/short", "true") end)

  it("is begun anew when a call never ends, which is named with file and line; nothing else waits", function()
    if tsan then return pending "needs signals at any instruction" end
    local slowest = 0
    local c = s:connect()
    c:send(client.bytes("GET", "/spin"))
    for _ = 1, 20 do
      slowest = math.max(slowest, (wait.took(s.get, s, "/ping")))
      wait.sleep(0.01)
    end
    assert.equal("false true 1", c:response().body)
    c:close()
    assert.matches("service warn counter stopped at .*counter.lua:7 spawned_at=app.lua:%d+", s:log())
    assert.is_true(slowest < 0.05 * wait.slow, "a ping took " .. slowest)
  end)

  it("that cannot be loaded is down, says why, and is tried again after a growing pause", function()
    s:get "/new/fails"
    wait.until_true(function() return s:get("/status/fails").body == "down" end)
    assert.matches("^false service 'fails' failed to load: .*fails.lua:1: cannot reach the database$",
      s:get("/call/fails/add").body)
    wait.until_true(function() return s:count_log "service error: service 'fails' failed to load" >= 3 end, 10)
    assert.matches("service error: service 'fails' failed to load: [^\n]+spawned_at=app.lua:%d+\n\tstack traceback:", s:log())
    s:get "/new/nothing"
    wait.until_true(function() return s:get("/status/nothing").body == "down" end)
    assert.matches("the module must return a table of functions, not number", s:get("/call/nothing/add").body)
  end)

  it("comes up by itself once it can", function()
    s:get "/new/later"
    wait.until_true(function() return s:get("/status/later").body == "down" end)
    server.write_file(s.folder .. "/later.ok", "")
    wait.until_true(function() return s:get("/status/later").body == "ready" end, 10)
    says("/call/later/add?n=1", "true 101")
  end)

  it("that is stopped fails its calls, by name", function()
    local body = s:get("/stop/counter").body
    local lines = {}
    for line in body:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.matches("^%d+$", lines[1]) -- the running one may end
    assert.equal("service 'counter' was stopped", lines[2])
    assert.matches("call: the service was stopped$", lines[3])
    assert.equal("stopped", lines[4])
  end)

  it("is ended when nobody holds it, and its state is closed", function()
    says("/dropped", "ok")
    s:wait_log "the service's state is closed"
  end)
end)

describe("a worker with services", function()
  after_each(server.stop_all)

  it("closes their states when it leaves", function()
    local s = server.start { app = app, files = files }
    s:get "/new/closing"
    assert.equal("true true", s:get("/call/closing/touch").body)
    s:stop()
  end)

  it("leaves though one never comes back from loading", function()
    local s = server.start { app = app, files = files }
    s:get "/new/endless"
    wait.sleep(0.1)
    local took = wait.took(s.stop, s)
    assert.is_true(took < 4 * wait.slow)
  end)

  it("that is only checked starts none", function()
    local folder = server.launch { argv = { "version" }, app = app, files = files }
    folder:wait_exit()
    local s = server.launch { argv = { "check", folder.app } }
    local how, code = s:wait_exit()
    assert.same({ "exit", 0, "" }, { how, code, s:log() })
    s:abandon()
    folder:abandon()
  end)
end)
