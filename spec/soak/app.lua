-- The server's side of the soak: each route does what the query asks for and says in one line what became of it.
-- The mixer knows what the line must be. The first line of the copy that is served sets `version`.
local moonpool = require "moonpool"
local version = rawget(_G, "soak_version") or 0
local app = moonpool.app()

-- Scripts that take part by name. What they leave behind ends by itself after a while, should the server fail to end it.
local scripts = {
  exit = 'exit "$1"',
  signal = 'ulimit -c 0; kill -"$1" $$; sleep 20',
  both = 'head -c "$2" /dev/zero | tr "\\0" o; head -c "$3" /dev/zero | tr "\\0" e >&2; exit "$1"',
  deaf = 'trap "" TERM; echo up; while :; do sleep 0.05; done',
  polite = 'trap "exit $1" TERM; echo up; sleep 20 & wait',
  sleeper = 'echo up; sleep 20 & sleep 20',
  holder = 'sleep 20 & echo said; exit "$1"',
  leftover = 'sleep 20 >/dev/null 2>&1 & echo said; exit "$1"',
  escape = 'setsid sleep 3 & echo said; exit "$1"',
  escape_quiet = 'setsid sleep 3 >/dev/null 2>&1 </dev/null & exit "$1"',
  stopped = 'echo up; kill -STOP $$; exit "$1"',
  later = 'sleep "$2"; exit "$1"',
  lines = 'i=0; while [ $i -lt "$2" ]; do i=$((i+1)); echo line $i; done; exit "$1"',
  count = 'wc -c; exit "$1"',
}

-- argv of a script of the list; every one has "soak" and the mixer's word in it, by which it is found should it stay.
local function command(q, options)
  local argv = options or {}
  argv[1], argv[2], argv[3], argv[4] = "sh", "-c", assert(scripts[q.script], "no such script"), q.word or "soak"
  for n = 1, 3 do argv[4 + n] = q["a" .. n] end
  return argv
end

local function number(text) return text and tonumber(text) end

local function told(r, err, code)
  if not r then return ("failed %s"):format(tostring(code) .. (err and "" or " without a word")) end
  return ("%s code=%s signal=%s ok=%s out=%s err=%s%s%s%s"):format(
    r.reason, rawget(r, "code"), rawget(r, "signal"), r.ok, r.stdout and #r.stdout, r.stderr and #r.stderr,
    r.timed_out and " timed_out" or "", r.held and " held" or "", r.truncated and " truncated=" .. r.truncated or "")
end

local function head(res) return res:header("X-Version", tostring(version)):header("X-Pid", tostring(moonpool.worker.pid)) end
app:use(function(_, res, next)
  head(res)
  next()
end)

app:get("/hello/:name", function(req, res) res:text("hello " .. req.params.name) end)

app:get("/run", function(req, res)
  local q = req.query
  local r, err, code = moonpool.run(command(q, {
    timeout = number(q.timeout), grace = number(q.grace), linger = number(q.linger), max_output = number(q.most),
    on_limit = q.on_limit, input = q.input and ("i"):rep(number(q.input)), session = q.session == "1" or nil,
    leave = q.leave == "1" or nil, stderr = q.merge and "stdout" or nil,
  }))
  local text = told(r, err, code)
  if q.say and r then text = text .. " says=" .. r.stdout:sub(1, 40):gsub("%s+$", "") end
  res:text(text)
end)

app:get("/start/:what", function(req, res)
  local wrong = {
    missing = { "soak-no-such-program" }, denied = { "./plain.txt" }, folder = { "./plain.txt/x" },
    cwd = { "true", cwd = "/nowhere/at/all" },
  }
  res:text(told(moonpool.spawn(wrong[req.params.what])))
end)

app:get("/check", function(req, res)
  local ok, err = pcall(moonpool.run, command(req.query, { check = true }))
  res:text(ok and "ok" or tostring(err))
end)

-- ---- a process in hand ----

local hands = {}

-- Output that nobody reads: wait drains it.
function hands.unread(q)
  local p = assert(moonpool.spawn(command(q, { stdout = "pipe", stderr = "null" })))
  local r = p:wait()
  return told(r) .. " discarded=" .. tostring(r.discarded or 0)
end
function hands.read(q)
  local p = assert(moonpool.spawn(command(q, { stdout = "pipe", stderr = "null" })))
  local n = 0
  for piece in function() return p.stdout:read(number(q.piece)) end do n = n + #piece end
  return told(p:wait()) .. " read=" .. n
end
function hands.some(q)
  local p = assert(moonpool.spawn(command(q, { stdout = "pipe", stderr = "null" })))
  local first = p.stdout:read(1)
  p.stdout:close()
  return (first or "nothing") .. " " .. p:wait().reason
end
function hands.lines(q)
  local p = assert(moonpool.spawn(command(q, { stdout = "pipe" })))
  local n, sum = 0, 0
  for line in p.stdout:lines() do
    n = n + 1
    sum = sum + tonumber(line:match "^line (%d+)$")
  end
  return told(p:wait()) .. (" n=%d sum=%d"):format(n, sum)
end
function hands.fed(q)
  local p <close> = assert(moonpool.spawn { "cat", stdin = "pipe", stdout = "pipe" })
  local size, pieces = number(q.size), number(q.pieces)
  local writer = moonpool.spawn(function()
    for _ = 1, pieces do assert(p.stdin:write(("w"):rep(size))) end
    p.stdin:close()
  end)
  local all = p.stdout:read "a"
  writer:wait()
  return told(p:wait()) .. " read=" .. #all
end
function hands.deaf_stdin(q)
  local p = assert(moonpool.spawn(command(q, { stdin = "pipe" })))
  p:wait()
  local ok, _, code = p.stdin:write(("w"):rep(200000))
  return told(p:wait()) .. " write=" .. tostring(ok or code)
end
function hands.kill(q)
  local p = assert(moonpool.spawn { "sleep", "20" })
  assert(p:kill(q.signal, q.group and "group" or nil))
  local r = p:wait()
  local ok, why, code = p:kill()
  return told(r) .. (" then %s %s %s"):format(ok, why, code)
end
function hands.stop(q)
  local p = assert(moonpool.spawn(command(q, { stdout = "pipe" })))
  local up = p.stdout:read(1)
  return told(p:stop(number(q.grace))) .. " up=" .. tostring(up ~= nil)
end
function hands.patience(q)
  local p = assert(moonpool.spawn(command(q)))
  local _, why = p:wait(0.001)
  local first, second = p:wait(), p:wait()
  return told(first) .. (" %s same=%s"):format(why, first == second)
end
function hands.forget(q)
  assert(moonpool.spawn(command(q, { stdout = q.pipe and "pipe" or nil })))
  return "forgotten"
end
function hands.close(q)
  local r
  do
    local p <close> = assert(moonpool.spawn(command(q)))
    r = p
  end
  return told(r:wait())
end
function hands.two_waits(q)
  local p = assert(moonpool.spawn(command(q)))
  local t = moonpool.spawn(function() return p:wait() end)
  local mine = p:wait()
  return told(mine) .. " same=" .. tostring(mine == t:wait())
end
function hands.execute(q)
  local ok, how, n = os.execute(("exit %d"):format(number(q.a1)))
  return ("%s %s %d"):format(ok, how, n)
end
function hands.popen(q)
  local f = assert(io.popen(("head -c %d /dev/zero; exit %d"):format(number(q.a2), number(q.a1))))
  local all = f:read "a"
  local ok, how, n = f:close()
  return ("%s %s %d read=%d"):format(ok, how, n, #all)
end
function hands.popen_write(q)
  local f = assert(io.popen(("wc -c >/dev/null; exit %d"):format(number(q.a1)), "w"))
  assert(f:write(("w"):rep(number(q.a2))))
  local ok, how, n = f:close()
  return ("%s %s %d"):format(ok, how, n)
end

app:get("/hand/:how", function(req, res) res:text(hands[req.params.how](req.query)) end)

-- ---- several at once ----

app:get("/all", function(req, res)
  local list, said = {}, {}
  for n = 1, number(req.query.n) do
    local a1 = tostring((number(req.query.a1) + n) % 256)
    list[n] = n % 3 == 0 and moonpool.spawn(function()
      moonpool.sleep(n / 1000)
      return { code = number(a1) }
    end) or assert(moonpool.spawn(command { script = "exit", a1 = a1 }))
  end
  for n, r in ipairs(moonpool.wait_all(list)) do said[n] = tostring(r.code) end
  res:text(table.concat(said, " "))
end)

app:get("/any", function(req, res)
  local list = { assert(moonpool.spawn(command { script = "sleeper", word = req.query.word })),
                 moonpool.spawn(function() moonpool.sleep(20) end),
                 assert(moonpool.spawn(command { script = "exit", a1 = req.query.a1 })) }
  local i, r = moonpool.wait_any(list)
  local j, why = moonpool.wait_any({ list[1], list[2] }, 0.001)
  list[2]:cancel()
  list[1]:kill("SIGKILL", "group")
  res:text(("%d %s then %s %s"):format(i, r.code, j, why))
end)

app:get("/all-error", function(req, res)
  local p
  local ok, err = pcall(moonpool.wait_all, {
    moonpool.spawn(function()
      p = assert(moonpool.spawn(command { script = "sleeper", word = req.query.word }))
      p:wait()
    end),
    moonpool.spawn(function()
      moonpool.sleep(0.01)
      error("soak: " .. req.query.id, 0)
    end),
  })
  res:text(("%s %s"):format(ok, err))
end)

-- ---- tasks ----

local tasks = {}
function tasks.unheard(q)
  moonpool.spawn(function()
    if q.late then moonpool.sleep(0.02) end
    error("soak: unheard " .. q.id .. ".", 0)
  end)
  return "ok"
end
function tasks.heard(q)
  local t = moonpool.spawn(function() error("soak: heard " .. q.id .. ".", 0) end)
  return select(2, pcall(t.wait, t)) .. " " .. t:status()
end
function tasks.cancel(q)
  local seen
  local t = moonpool.spawn(function()
    local watch <close> = setmetatable({}, { __close = function() -- luacheck: ignore watch
      moonpool.sleep(0.001)
      seen = "closed"
    end })
    moonpool.run(command(q))
  end)
  moonpool.sleep(number(q.after))
  t:cancel "soak"
  local ok, err = pcall(t.wait, t)
  return ("%s %s %s %s %s"):format(ok, err == moonpool.cancelled, t:status(), t.reason, seen)
end
function tasks.deaf(q)
  local t = moonpool.spawn(function()
    while true do pcall(moonpool.sleep, number(q.after)) end
  end)
  moonpool.sleep(0)
  t:cancel()
  pcall(t.wait, t)
  return t:status()
end
function tasks.patience()
  local t = moonpool.spawn(function()
    moonpool.sleep(0.02)
    return "late", nil, 3
  end)
  local _, why = t:wait(0.001)
  return ("%s %s %d"):format(why, t:wait(), select("#", t:wait()))
end
function tasks.nested(q)
  local co = coroutine.wrap(function(n)
    for i = 1, n do
      moonpool.sleep(0)
      coroutine.yield(i)
    end
    return "over"
  end)
  local sum, n = 0, number(q.n)
  for _ = 1, n do sum = sum + co(n) end
  return sum .. " " .. co()
end
function tasks.crowd(q)
  local list, n = {}, number(q.n)
  for i = 1, n do
    list[i] = moonpool.spawn(function()
      moonpool.sleep(i % 7 / 1000)
      return i
    end)
  end
  local sum = 0
  for _, v in ipairs(moonpool.wait_all(list)) do sum = sum + v end
  return tostring(sum)
end
function tasks.raise(q) error("soak: raised " .. q.id .. ".", 0) end
function tasks.answer(q) error { status = number(q.status), message = "soak: answered " .. q.id .. "." } end
function tasks.background(q)
  moonpool.background(function()
    moonpool.run(command(q))
    moonpool.log.info("soak: background " .. q.id .. ".")
  end)
  return "ok"
end

app:get("/task/:what", function(req, res) res:text(tasks[req.params.what](req.query)) end)

-- ---- what the client leaves before its end ----

local long = {}
function long.run(q) return told(moonpool.run(command(q, { grace = 0.2 }))) end
function long.task(q)
  local t = moonpool.spawn(function() return moonpool.run(command(q, { grace = 0.2 })) end)
  moonpool.spawn(function() moonpool.sleep(20) end)
  return told(t:wait())
end
function long.read(q)
  local p = assert(moonpool.spawn(command(q, { stdout = "pipe", grace = 0.2 })))
  return #p.stdout:read "a"
end
function long.execute(q) return tostring(os.execute("sleep 20; : " .. q.word)) end
function long.popen(q)
  local f <close> = assert(io.popen("sleep 20; : " .. q.word))
  return f:read "a"
end
function long.deaf_task(q)
  moonpool.spawn(function()
    local until_when = moonpool.now() + 20
    while moonpool.now() < until_when do pcall(moonpool.sleep, 0.05) end
  end)
  return told(moonpool.run(command(q, { grace = 0.2 })))
end
app:get("/long/:how", function(req, res) res:text(long[req.params.how](req.query)) end)

app:get("/kept", function(req, res)
  req:keep()
  res:write "kept"
  local r = moonpool.run(command(req.query))
  moonpool.log.info(("soak: kept %s. code=%d"):format(req.query.id, r.code))
  res:finish(told(r))
end)

-- ---- bodies and streams ----

app:post("/echo", function(req, res) res:text(req:body()) end)
app:post("/count", function(req, res)
  local n, pieces = 0, 0
  for piece in function() return req:read() end do
    n, pieces = n + #piece, pieces + 1
  end
  res:text(tostring(n))
end)
app:post("/ignore", function(_, res) res:text "ignored" end)
app:post("/feed", function(req, res)
  local p <close> = assert(moonpool.spawn(command({ script = "count", a1 = "3" }, { stdin = "pipe", stdout = "pipe" })))
  local reader = moonpool.spawn(function() return p.stdout:read "a" end)
  for piece in function() return req:read() end do assert(p.stdin:write(piece)) end
  p.stdin:close()
  res:text(reader:wait():gsub("%s", "") .. " " .. told(p:wait()))
end)
app:get("/stream", function(req, res)
  local size = number(req.query.size)
  for n = 1, number(req.query.n) do
    res:write(string.char(97 + n % 26):rep(size))
    if req.query.pause then moonpool.sleep(number(req.query.pause)) end
  end
end)
app:get("/broken", function(req, res)
  res:write "begun"
  error("soak: raised " .. req.query.id .. ".", 0)
end)
app:get("/pipe-out", function(req, res)
  local q = req.query
  local p <close> = assert(moonpool.spawn(command(q, { stdout = "pipe", stderr = "null" })))
  for piece in function() return p.stdout:read(8192) end do res:write(piece) end
  res:write(told(p:wait()))
end)
app:get("/events", function(req, res)
  local events = res:sse()
  for n = 1, number(req.query.n) do events:send("event " .. n, { id = tostring(n) }) end
end)

-- ---- for the mixer itself ----

local has = {}
for _, name in ipairs { "scope", "channel", "semaphore", "after", "every", "offload", "service", "limit", "read_file",
                        "write_file", "shared", "publish" } do
  if moonpool[name] then has[#has + 1] = name end
end
if pcall(function() return moonpool.app():static("/public", "public") end) then has[#has + 1] = "static" end
app:get("/features", function(req, res)
  if req.parts then has[#has + 1] = "multipart" end
  res:text(" " .. table.concat(has, " ") .. " ") end)

-- Holds the loop, so that a request sent meanwhile goes to another worker; then what is left over in this one.
app:get("/stats", function(req, res)
  if req.query.hold then
    local over = moonpool.now() + number(req.query.hold)
    while moonpool.now() < over do end
  end
  if req.query.collect then
    collectgarbage()
    collectgarbage()
  end
  local s = moonpool.stats()
  local fields = {}
  for name, value in pairs(s) do
    if type(value) == "number" then fields[#fields + 1] = ("%s=%s"):format(name, value) end
  end
  res:text(table.concat(fields, " "))
end)

require "more"(app)

return app
