-- Offload: every row of the laws of offload, and that the rest of the worker notices nothing.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local sums = require "sums"
local app = moonpool.app()
local told = {}

app:on_error(function(err, traceback, what)
  told[#told + 1] = ("%s: %s %s"):format(what.kind, tostring(err), traceback)
end)
app:get("/told", function(_, res)
  res:text(#told .. " " .. table.concat(told, "\n"))
  told = {}
end)
app:get("/ping", function(_, res) res:text "pong" end)
app:get("/stats", function(_, res) res:json(moonpool.stats()) end)

local function failure(fn, ...)
  local t = moonpool.offload(fn, ...)
  local ok, err = pcall(t.wait, t)
  assert(not ok)
  return err, t
end

-- row 1
app:get("/error", function(_, res)
  local err, t = failure(function() local x; return x.field end)
  res:text(err .. "\n" .. t:status() .. "\n" .. t:traceback())
end)
app:get("/unwaited", function(_, res)
  moonpool.offload(function() error "nobody hears" end)
  res:text "ok"
end)
app:get("/escapes", function() moonpool.offload(function() error("from below", 0) end):wait() end)
app:get("/twice", function(_, res)
  local t = moonpool.offload(function() return 1, nil, 3, nil end)
  local r, again = table.pack(t:wait()), table.pack(moonpool.wait(t))
  res:text(("%d %s %s %d %s"):format(r.n, r[2], r[3], again.n, t:status()))
end)
app:get("/timeout", function(_, res)
  local t = moonpool.offload(function() moonpool.sleep(0.2) return "later" end)
  local r, why, code = t:wait(0.01)
  res:text(("%s %s %s then %s"):format(r, why, code, t:wait()))
end)
app:get("/wait-all", function(_, res)
  local list = {}
  for i = 1, 8 do list[i] = moonpool.offload(function(n) return n * n end, i) end
  res:text(table.concat(moonpool.wait_all(list), " "))
end)

-- row 2
app:get("/error-values", function(_, res)
  local out = {}
  for _, value in ipairs { 42, true, { code = 7, list = { 1, 2 } } } do
    local err = failure(function() error(value) end)
    out[#out + 1] = type(err) == "table" and err.code + err.list[2] or tostring(err)
  end
  out[#out + 1] = tostring(failure(function() error() end))
  out[#out + 1] = tostring(failure(function() error(setmetatable({ code = 5 }, { __name = "mine" })) end).code)
  out[#out + 1] = failure(function() error(io.stderr) end)
  res:text(table.concat(out, "\n"))
end)

-- row 3
app:get("/refused", function(_, res)
  local out = {}
  local function refused(...) out[#out + 1] = select(2, pcall(moonpool.offload, ...)) end
  local function f() end
  local co, file, boxed = coroutine.create(f), io.stderr, setmetatable({}, { __name = "my class" })
  refused(f, co)
  refused(f, 1, { users = { 1, { handle = file } } })
  refused(function() return file end)
  refused(f, boxed)
  refused(f, { [boxed] = 1 })
  refused(function() local g = function() return co end return g end)
  refused(7)
  refused "nodot"
  refused({ max_mem = 1 }, f)
  out[#out + 1] = failure(function() return 1, coroutine.create(print) end)
  res:text(table.concat(out, "\n"))
end)

-- row 4
local total = 0
local function add(n) total = total + n return total end
local function fact(n) return n < 2 and 1 or n * fact(n - 1) end
local upper, insert, encode = string.upper, table.insert, moonpool.json.encode
app:get("/functions", function(_, res)
  local seen = { "a" }
  local r = table.pack(moonpool.offload(function(f, x)
    insert(seen, upper "b")
    add(5)
    add(5)
    return total, fact(10), f(x), seen, sums.double(4), encode { 1 }, here == nil, require "sums" == sums
  end, function(x) return x + 1 end, 41):wait())
  here = true
  res:text(("%s %s %s %s %s %s %s %s here %d %d"):format(r[1], r[2], r[3], table.concat(r[4]), r[5], r[6], r[7], r[8],
    total, #seen))
end)
app:get("/returned", function(_, res)
  local n, get, set = moonpool.offload(function()
    local count = 5
    return count, function() return count end, function(x) count = x end
  end):wait()
  set(9)
  res:text(n .. " " .. get())
end)
app:get("/module", function(_, res)
  local bad = failure "sums.missing"
  local gone = failure "nosuchmodule.fn"
  res:text(moonpool.offload("sums.double", 21):wait() .. "\n" .. bad .. "\n" .. gone)
end)
app:get("/values", function(_, res)
  local loop = { name = "loop" }
  loop.self = loop
  local shared = {}
  local null, empty = moonpool.json.null, moonpool.json.array {}
  local back, n, e, same, c = moonpool.offload(function(l, a, b, x, list, cancelled)
    return l, x, list, l.self == l and a == b and math.type(1) == "integer", cancelled == moonpool.cancelled
  end, loop, shared, shared, null, empty, moonpool.cancelled):wait()
  res:text(("%s %s %s %s %s"):format(back.self == back, n == null, moonpool.json.encode(e), same, c))
end)

-- row 5
app:get("/busy", function(req, res)
  local list = {}
  for i = 1, tonumber(req.query.n) do list[i] = moonpool.offload(function() moonpool.sleep(0.1) end) end
  moonpool.sleep(0.05)
  local s = moonpool.stats()
  moonpool.wait_all(list)
  res:text(("%d %d %s"):format(s.offloads, s.offloads_queued, s.offloads_oldest > 0.02))
end)
app:get("/full", function(_, res)
  local made, list = 0, {}
  local maker = moonpool.spawn(function()
    for i = 1, 1100 do
      list[i] = moonpool.offload(function(n) moonpool.sleep(n < 3 and 2 or 0) return n end, i)
      made = i
    end
  end)
  moonpool.sleep(0.4)
  local before = made
  maker:wait()
  local sum = 0
  for _, v in ipairs(moonpool.wait_all(list)) do sum = sum + v end
  res:text(before .. " " .. made .. " " .. sum)
end)
app:get("/full-cancel", function(_, res)
  local list = {}
  local function make(n)
    return moonpool.spawn(function()
      for _ = 1, n do list[#list + 1] = moonpool.offload(function() moonpool.sleep(0.2) end) end
    end)
  end
  local one, two = make(1100), nil
  moonpool.sleep(0.05)
  two = make(1)
  moonpool.sleep(0.05)
  one:cancel()
  for _, t in ipairs(list) do t:cancel() end
  local ok = two:wait(5) == nil
  for _, t in ipairs(list) do pcall(t.wait, t) end -- the one of `two` may have got its place after the cancels
  res:text(tostring(ok) .. " " .. two:status() .. " " .. moonpool.stats().offloads_queued)
end)

-- row 6
app:get("/cancel-queued", function(_, res)
  local first, second = moonpool.offload(function() moonpool.sleep(0.2) end), moonpool.offload(function() moonpool.sleep(0.2) end)
  local t = moonpool.offload(function() print "the dropped one ran" end)
  t:cancel()
  local ok, err = pcall(t.wait, t)
  first:wait()
  second:wait()
  moonpool.offload(function() end):wait()
  res:text(("%s %s %s"):format(ok, err == moonpool.cancelled, t:status()))
end)
local loops = {
  plain = function() while true do end end,
  pcall = function() while true do pcall(function() while true do end end) end end,
  coroutine = function()
    coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)()
    while true do end
  end,
  gsub = function() ("x"):gsub("x", function() while true do end end) end,
  sort = function() table.sort({ 3, 2, 1 }, function() while true do end end) end,
  pcalled = function() while true do pcall(string.gsub, "x", "x", function() while true do end end) end end,
  close = function()
    local _ <close> = setmetatable({}, { __close = function() print "closed in the thread" end })
    while true do end
  end,
  deaf = function()
    local _ <close> = setmetatable({}, { __close = function() while true do end end })
    while true do end
  end,
  sleep = function() moonpool.sleep(3600) end,
  caught = function() while true do pcall(moonpool.sleep, 3600) end end,
  process = function() moonpool.run { "sleep", "3609" } end,
  collect = function() while true do local t = {} t[1] = {} end end,
  require = function() require "endless" end,
}
app:get("/loop/:name", function(req, res)
  local t = moonpool.offload(loops[req.params.name])
  local _, why = t:wait(0.1)
  t:cancel "enough"
  local started = moonpool.now()
  local ok, err = pcall(t.wait, t)
  local soon = moonpool.now() - started < 3
  local n = 0
  while moonpool.stats().offloads > 0 and n < 500 do
    n = n + 1
    moonpool.sleep(0.01)
  end
  res:text(("%s %s %s %s %s %s %d"):format(why, ok, err == moonpool.cancelled, t:status(), soon, t.reason,
    moonpool.stats().threads_stuck))
end)
app:get("/in-c", function(req, res)
  local t = moonpool.offload(function(n) return ("a"):rep(n):find "^.-.-.-b" end, tonumber(req.query.n))
  t:wait(0.1)
  local started = moonpool.now()
  t:cancel()
  local _, err = pcall(t.wait, t)
  res:text(("%s %s"):format(err == moonpool.cancelled, moonpool.now() - started < 0.5))
end)
app:get("/disconnect", function()
  moonpool.offload(loops.plain):wait()
end)

-- row 8
app:get("/exit", function(_, res)
  res:text(failure(function() os.exit(3) end))
end)
app:get("/memory", function(_, res)
  local function grow() local t = {} for i = 1, 1e8 do t[i] = ("x"):rep(100) .. i end end
  local err = failure({ max_memory = 8 * 1024 * 1024 }, grow)
  res:text(err .. "\n" .. moonpool.offload(function() return ("x"):rep(1024 * 1024):len() end):wait())
end)

-- processes belong to the loop
app:get("/run", function(_, res)
  res:json(moonpool.offload(function()
    local r = moonpool.run { "sh", "-c", "echo out; exit 27" }
    local p = moonpool.spawn { "cat", stdin = "pipe", stdout = "pipe" }
    p.stdin:write "one\ntwo"
    p.stdin:close()
    local lines = {}
    for line in p.stdout:lines() do lines[#lines + 1] = line end
    local none, message, code = moonpool.run { "/nowhere/at-all" }
    local f = io.popen "echo popen; exit 4"
    local read = f:read "l"
    local _, how, n = f:close()
    local _, _, m = os.execute "exit 6"
    return { r.code, r.stdout, tostring(r), lines, p:wait().ok, tostring(none), message, code, read, how, n, m,
      moonpool.wait(p).code, select(2, pcall(moonpool.run, { "true", nonsense = 1 })) }
  end):wait())
end)
app:get("/needs-loop", function(_, res)
  res:text(moonpool.offload(function()
    return select(2, pcall(function() return moonpool.background end)) .. "\n"
      .. select(2, pcall(moonpool.spawn, print)) .. "\n" .. type(moonpool.time()) .. moonpool.worker.id .. #moonpool.random(4)
      .. moonpool.escape "<" .. moonpool.url.encode " "
  end):wait())
end)
app:get("/log", function(_, res)
  moonpool.offload(function() print("printed", 1) moonpool.log.warn("logged", { k = "v" }) end):wait()
  res:text "ok"
end)
app:get("/yield", function(_, res) res:text(failure(function() coroutine.yield() end)) end)
return app
]]

local files = {
  ["sums.lua"] = "return { double = function(x) return 2 * x end }",
  ["endless.lua"] = "while true do pcall(function() while true do end end) end",
}

describe("an offload", function()
  local s

  setup(function() s = server.start { app = app, files = files, args = { "--threads", 2 } } end)
  teardown(server.stop_all)

  local function says(path, expected)
    local r = s:get(path)
    assert.same({ 200, expected }, { r.status, r.body })
  end
  local function lines(path)
    local r, list = s:get(path), {}
    assert.equal(200, r.status)
    for line in r.body:gmatch "[^\n]+" do list[#list + 1] = line end
    return list
  end

  it("that fails raises in who waits, with the stack of its thread (row 1)", function()
    local r = lines "/error"
    assert.equal("app.lua:25: attempt to index a nil value (local 'x')", r[1])
    assert.equal("failed", r[2])
    assert.equal("stack traceback:", r[3])
    assert.matches("app.lua:25: in function <app.lua:25>", r[4])
  end)

  it("whose error nobody took is told once, as one of kind offload (row 1)", function()
    s:get "/told"
    s:get "/unwaited"
    wait.until_true(function() return s:count_log "offload error: app.lua:29: nobody hears spawned_at=app.lua:29" > 0 end)
    local told = s:get("/told").body
    assert.matches("^1 offload: app.lua:29: nobody hears stack traceback:", told)
    assert.matches("app.lua:29: in function <app.lua:29>", told)
    assert.equal(1, s:count_log "nobody hears")
  end)

  it("whose error escapes the handler is logged with both stacks (row 1)", function()
    assert.equal(500, s:get("/escapes").status)
    local log = s:log():match "handler error: from below.*"
    assert.matches("in method 'wait'", log)
    assert.matches("error of the task spawned at app.lua:32:\n.-in function <app.lua:32>", log)
  end)

  it("may be waited for twice, with a timeout, and with others", function()
    says("/twice", "4 nil 3 4 done")
    says("/timeout", "nil timeout timeout then later")
    says("/wait-all", "1 4 9 16 25 36 49 64")
  end)

  it("gives error values as they are, and others as text with a note (row 2)", function()
    local r = lines "/error-values"
    assert.same({ "42", "true", "9", "nil", "5" }, { table.unpack(r, 1, 5) })
    assert.matches("^file %(0x%x+%) %(this is its text: an error that holds userdata cannot leave its thread%)$", r[6])
  end)

  it("refuses what cannot cross, and names it (row 3)", function()
    local r = lines "/refused"
    local only = "; only nil, booleans, numbers, strings, plain tables and Lua functions cross"
    local function at(i, text) assert.equal(text, (r[i]:gsub("^app.lua:%d+: ", ""))) end
    at(1, "offload: argument 1 is a thread (coroutine)" .. only)
    at(2, "offload: field 'handle' of item 2 of field 'users' of argument 2 is a userdata (FILE*)" .. only)
    at(3, "offload: upvalue 'file' of the function is a userdata (FILE*)" .. only)
    at(4, "offload: argument 1 is a table with a metatable (my class)" .. only)
    at(5, "offload: a key of argument 1 is a table with a metatable (my class)" .. only)
    at(6, "offload: upvalue 'co' of the function is a thread (coroutine)" .. only)
    at(7, "offload: a function or \"module.function\" is wanted, not number")
    at(8, "offload: \"nodot\" names no function of a module, as in \"module.function\"")
    at(9, "offload: unknown option max_mem")
    at(10, "offload: result 2 is a thread (coroutine)" .. only)
  end)

  it("takes its upvalues along by value; modules and libraries are its own (row 4)", function()
    says("/functions", '10 3628800 42 aB 8 [1] true true here 0 1')
    says("/returned", "5 9")
  end)

  it("may be a function of a module, by name (row 4)", function()
    local r = lines "/module"
    assert.equal("42", r[1])
    assert.equal("offload: no function 'sums.missing'", r[2])
    assert.matches("module 'nosuchmodule' not found:", r[3])
  end)

  it("keeps what is shared, and what leads back to itself (row 4)", function()
    says("/values", "true true [] true true")
  end)

  it("waits for a thread when all are busy, and is counted (row 5)", function()
    says("/busy?n=6", "2 4 true")
    assert.matches('"offloads":0', s:get("/stats").body)
  end)

  it("waits in its caller when the queue is full (row 5)", function()
    local before, made, sum = s:get("/full").body:match "^(%d+) (%d+) (%d+)$"
    assert.is_true(tonumber(before) <= 1026, before)
    assert.same({ "1100", "605550" }, { made, sum })
    says("/full-cancel", "true done 0")
  end)

  it("that is still queued is dropped when cancelled (row 6)", function()
    says("/cancel-queued", "false true cancelled")
    assert.equal(0, s:count_log "the dropped one ran")
  end)

  -- A loop without a call is stopped by a signal, which ThreadSanitizer holds back until the next call it knows of.
  local tsan = (os.getenv "SPEC_TSAN" or "") ~= ""
  for _, name in ipairs { "plain", "pcall", "coroutine", "gsub", "sort", "pcalled", "close", "deaf", "sleep", "caught",
                          "process", "collect", "require" } do
    it("that never ends (" .. name .. ") is stopped, and named with file and line (row 6)", function()
      if tsan and name ~= "sleep" and name ~= "process" and name ~= "collect" then
        return pending "needs signals at any instruction"
      end
      local stopped = s:count_log "offload stopped at"
      says("/loop/" .. name, "timeout false true cancelled true enough 0")
      wait.until_true(function() return s:count_log "offload stopped at" > stopped end)
      if name ~= "process" and name ~= "sleep" then
        assert.matches("offload stopped at %S+%.lua:%d+ spawned_at=app.lua:%d+ after_ms=%d+\n\tstack traceback:", s:log())
      end
      if name == "close" then assert.equal(1, s:count_log "closed in the thread") end
      says("/ping", "pong")
    end)
  end

  it("is stopped when its client goes away (row 6)", function()
    if tsan then return pending "needs signals at any instruction" end
    local stopped = s:count_log "offload stopped at"
    local c = s:connect()
    c:send(client.bytes("GET", "/disconnect"))
    wait.until_true(function() return s:get("/stats").body:match '"offloads":1' end)
    c:close()
    wait.until_true(function() return s:count_log "offload stopped at" > stopped end)
    wait.until_true(function() return s:get("/stats").body:match '"offloads":0' end)
  end)

  it("does not block the loop, nor does one that is being stopped (row 7)", function()
    local slowest = 0
    local c = s:connect()
    c:send(client.bytes("GET", "/loop/" .. (tsan and "collect" or "plain")))
    for _ = 1, 20 do
      slowest = math.max(slowest, (wait.took(s.get, s, "/ping")))
      wait.sleep(0.01)
    end
    assert.matches("^timeout false true cancelled", c:response().body)
    c:close()
    assert.is_true(slowest < 0.05 * wait.slow, "a ping took " .. slowest)
  end)

  it("cannot end the process (row 8)", function()
    assert.matches("^app.lua:%d+: os.exit: the worker is not the app's to end", s:get("/exit").body)
  end)

  it("may be given a bound of memory; the thread goes on (row 8)", function()
    local r = lines "/memory"
    assert.equal("offload: not enough memory: max_memory is 8388608 bytes", r[1])
    assert.equal("1048576", r[2])
  end)

  it("has its processes started by the loop", function()
    local r = s:get("/run").body
    assert.equal('[27,"out\\n","exit 27",["one","two"],true,"nil","run: /nowhere/at-all: no such file or directory","ENOENT",'
      .. '"popen","exit",4,6,0,"run: unknown option \\"nonsense\\""]', (r:gsub('"[^"]*: (run: unknown)', '"%1')))
  end)

  it("says what needs the loop", function()
    local r = lines "/needs-loop"
    assert.matches("moonpool.background needs the worker's loop, which is not on this thread$", r[1])
    assert.matches("spawn: only processes can be started from a thread", r[2])
    assert.equal("number18&lt;%20", r[3])
    assert.matches("attempt to yield from outside a coroutine", s:get("/yield").body)
  end)

  it("prints and logs as the worker does", function()
    says("/log", "ok")
    s:wait_log "app info printed\t1"
    s:wait_log "app warn logged k=v"
  end)
end)

describe("an offload that is stuck in C", function()
  after_each(server.stop_all)

  it("releases who waits at once, is replaced, and reported when it comes back (row 6)", function()
    local s = server.start { app = app, files = files, args = { "--threads", 1 } }
    assert.equal("true true", s:get("/in-c?n=1000").body)
    s:wait_log("offload does not come back from C: its thread is replaced spawned_at=app.lua:%d+", 3)
    assert.equal("1 4 9 16 25 36 49 64", s:get("/wait-all").body)
    s:wait_log("offload came back after all, its thread ends", 60)
    wait.until_true(function() return s:get("/stats").body:match '"threads_stuck":0' end)
    s:stop()
  end)

  it("does not keep the worker from leaving (row 6)", function()
    local s = server.start { app = app, files = files, args = { "--threads", 1 } }
    assert.equal("true true", s:get("/in-c?n=20000").body)
    s:wait_log("does not come back from C", 3)
    local took = wait.took(s.stop, s)
    assert.is_true(took < 2 * wait.slow)
  end)
end)

describe("a worker with offloads", function()
  after_each(server.stop_all)

  it("that is told to leave while they run ends them", function()
    local s = server.start { app = app, files = files, args = { "--threads", 2, "--graceful-timeout", 1 } }
    local tsan = (os.getenv "SPEC_TSAN" or "") ~= ""
    local c = s:connect()
    c:send(client.bytes("GET", tsan and "/loop/collect" or "/disconnect"))
    wait.until_true(function() return s:get("/stats").body:match '"offloads":1' end)
    local took = wait.took(s.stop, s)
    assert.is_true(took < 3 * wait.slow)
    c:close()
  end)

  it("starts no thread before the first one", function()
    local s = server.start { app = app, files = files, args = { "--threads", 4 } }
    local worker = s:worker()
    local function threads() return tonumber(server.read_file("/proc/" .. worker .. "/status"):match "Threads:%s+(%d+)") end
    local before = threads()
    assert.equal("4 nil 3 4 done", s:get("/twice").body)
    assert.equal(before + 1, threads())
    assert.is_true(#proc.children(s.pid) == 1)
  end)
end)
