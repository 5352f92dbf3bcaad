-- What a client of the mixer may do: each operation asks for something and knows what the answer must be.
-- fn(c): c is the client (mixer.lua): c:get, c:post, c:says, c.random, c:id(), c.word.
local client = require "spec.support.client"

local M = { list = {}, sum = 0 }

-- `needs`: a feature without which the operation is left out.
local function operation(name, weight, fn, needs)
  M.list[#M.list + 1] = { name = name, weight = weight, fn = fn, needs = needs }
end

-- Leaves out what the server does not have.
function M.only(features)
  local kept = {}
  M.sum = 0
  for _, one in ipairs(M.list) do
    if not one.needs or features:find(" " .. one.needs .. " ", 1, true) then
      kept[#kept + 1] = one
      M.sum = M.sum + one.weight
    end
  end
  M.list = kept
end

local function exited(n, tail) return ("exit code=%d signal=nil ok=%s %s"):format(n, n == 0, tail) end
local function killed(n, tail) return ("signal code=nil signal=%d ok=false %s"):format(n, tail) end

-- A size, mostly small, now and then around and beyond what a pipe holds.
local function size_of(random, most)
  local kind = random:int(1, 4)
  if kind == 1 then return random:int(0, 10) end
  if kind == 2 then return random:int(0, 4096) end
  if kind == 3 then return random:int(65530, 65545) end
  return random:int(0, most)
end

-- ---- processes, collected ----

operation("exit", 14, function(c)
  local n = c.random:int(0, 255)
  c:says("/run", { script = "exit", a1 = n }, exited(n, "out=0 err=0"))
end)

operation("signal", 5, function(c)
  local n = c.random:pick { 1, 2, 3, 6, 9, 10, 11, 12, 13, 14, 15 }
  c:says("/run", { script = "signal", a1 = n }, killed(n, "out=0 err=0"))
end)

operation("output", 6, function(c)
  local n, out, err = c.random:int(0, 255), size_of(c.random, 300000), size_of(c.random, 100000)
  local q = { script = "both", a1 = n, a2 = out, a3 = err }
  if c.random:chance(0.2) then
    q.merge = 1
    return c:says("/run", q, exited(n, ("out=%d err=nil"):format(out + err)))
  end
  c:says("/run", q, exited(n, ("out=%d err=%d"):format(out, err)))
end)

operation("max_output", 3, function(c)
  local n, most = c.random:int(0, 255), c.random:int(1, 70000)
  local out, err = most + c.random:int(1, 200000), c.random:int(0, 1)
  local both = err > most and "both" or "stdout"
  c:says("/run", { script = "both", a1 = n, a2 = out, a3 = err, most = most },
    exited(n, ("out=%d err=%d truncated=%s"):format(most, math.min(err, most), both)))
end)

operation("on_limit", 2, function(c)
  local most = c.random:int(1, 5000)
  c:matches("/run", { script = "both", a1 = 0, a2 = 800000, a3 = 0, most = most, on_limit = "kill", grace = 0.5 },
    "^signal code=nil signal=1?[59] ok=false out=" .. most .. " err=0[ a-z=]* truncated=stdout$")
end)

operation("timeout", 4, function(c)
  c:matches("/run", { script = "sleeper", timeout = 0.01 + c.random:below(0.2) },
    "^signal code=nil signal=15 ok=false out=[03] err=0 timed_out$")
end)

operation("deaf", 3, function(c)
  local body = c:matches("/run", { script = "deaf", timeout = 0.05 + c.random:below(0.2), grace = c.random:below(0.2) },
    "^signal code=nil signal=%d+ ok=false out=[03] err=0 timed_out")
  -- Only one that had not yet said that it ignores TERM may have died of it.
  c:must(body:find "signal=9 " or body:find "signal=15 .* out=0 ", "an ending that was not asked for: " .. body)
end)

operation("polite", 3, function(c)
  local n = c.random:int(0, 255)
  local body = c:matches("/run", { script = "polite", a1 = n, timeout = 0.05 + c.random:below(0.2), grace = 15 }, " timed_out")
  c:must(body:find("^exit code=" .. n .. " signal=nil ok=%a+ out=3 err=0 timed_out")
    or body:find "^signal code=nil signal=15 ok=false out=0 err=0 timed_out", "an ending that was not asked for: " .. body)
end)

operation("holder", 3, function(c)
  local n = c.random:int(0, 255)
  c:says("/run", { script = "holder", a1 = n, linger = c.random:below(0.1) }, exited(n, "out=5 err=0 held"))
end)

-- What stays behind lets go of the pipe as soon as it gets to run, which is waited for.
operation("leftover", 3, function(c)
  local n = c.random:int(0, 255)
  c:says("/run", { script = "leftover", a1 = n, linger = 20 }, exited(n, "out=5 err=0"))
end)

operation("escape", 1, function(c)
  local n = c.random:int(0, 255)
  c:says("/run", { script = "escape", a1 = n, linger = 0.05 }, exited(n, "out=5 err=0 held"))
end)

operation("escape_quiet", 1, function(c)
  local n = c.random:int(0, 255)
  c:says("/run", { script = "escape_quiet", a1 = n, linger = 20, session = c.random:int(0, 1) }, exited(n, "out=0 err=0"))
end)

operation("stopped", 2, function(c)
  local n = c.random:int(0, 255)
  c:matches("/run", { script = "stopped", a1 = n, timeout = 0.05 + c.random:below(0.1), grace = 5 },
    "^%a+ code=%w+ signal=%w+ ok=%a+ out=[03] err=0 timed_out$")
end)

operation("input", 4, function(c)
  local n, size = c.random:int(0, 255), size_of(c.random, 400000)
  local reply = tostring(size)
  c:says("/run", { script = "count", a1 = n, input = size, say = 1 },
    exited(n, ("out=%d err=0 says=%s"):format(#reply + 1, reply)))
end)

operation("input_unread", 2, function(c)
  local n = c.random:int(0, 255)
  c:says("/run", { script = "exit", a1 = n, input = size_of(c.random, 400000) }, exited(n, "out=0 err=0"))
end)

operation("cannot_start", 3, function(c)
  local what = c.random:pick { { "missing", "ENOENT" }, { "denied", "EACCES" }, { "folder", "ENOTDIR" }, { "cwd", "ENOENT" } }
  c:says("/start/" .. what[1], {}, "failed " .. what[2])
end)

operation("check", 2, function(c)
  local n = c.random:int(0, 3)
  c:says("/check", { script = "exit", a1 = n }, n == 0 and "ok" or "sh: exit " .. n)
end)

-- ---- processes in hand ----

operation("unread", 2, function(c)
  local n, out = c.random:int(0, 255), size_of(c.random, 300000)
  c:says("/hand/unread", { script = "both", a1 = n, a2 = out, a3 = 9 }, exited(n, "out=nil err=nil discarded=" .. out))
end)

operation("read", 3, function(c)
  local n, out = c.random:int(0, 255), size_of(c.random, 300000)
  c:says("/hand/read", { script = "both", a1 = n, a2 = out, a3 = 9, piece = c.random:int(500, 70000) },
    exited(n, "out=nil err=nil read=" .. out))
end)

operation("some", 2, function(c)
  c:says("/hand/some", { script = "both", a1 = 1, a2 = c.random:int(1, 300000), a3 = 0 }, "o exit")
end)

operation("lines", 2, function(c)
  local n, lines = c.random:int(0, 255), c.random:int(0, 300)
  c:says("/hand/lines", { script = "lines", a1 = n, a2 = lines },
    exited(n, ("out=nil err=nil n=%d sum=%d"):format(lines, lines * (lines + 1) // 2)))
end)

operation("fed", 2, function(c)
  local size, pieces = c.random:int(1, 60000), c.random:int(1, 8)
  c:says("/hand/fed", { size = size, pieces = pieces }, exited(0, "out=nil err=nil read=" .. size * pieces))
end)

operation("deaf_stdin", 1, function(c)
  local n = c.random:int(0, 255)
  c:matches("/hand/deaf_stdin", { script = "exit", a1 = n }, "^exit code=" .. n .. " .* write=%a+$")
end)

operation("kill", 4, function(c)
  local signal = c.random:pick { { "SIGTERM", 15 }, { "SIGKILL", 9 }, { "SIGINT", 2 }, { "SIGHUP", 1 }, { "SIGUSR1", 10 } }
  c:says("/hand/kill", { signal = signal[1], group = c.random:chance(0.3) and 1 or nil },
    killed(signal[2], "out=nil err=nil then nil process has exited ESRCH"))
end)

operation("stop", 2, function(c)
  c:says("/hand/stop", { script = "deaf", grace = c.random:below(0.1) }, killed(9, "out=nil err=nil up=true"))
end)

operation("patience", 2, function(c)
  local n = c.random:int(0, 255)
  local body = c:matches("/hand/patience", { script = "later", a1 = n, a2 = 0.05 }, "^exit code=" .. n .. " ")
  c:must(body:find "err=nil timeout same=true$" or body:find "err=nil nil same=true$", body)
end)

operation("forget", 3, function(c)
  c:says("/hand/forget", { script = c.random:pick { "exit", "later", "lines" }, a1 = c.random:int(0, 255), a2 = "0.2",
                           pipe = c.random:chance(0.5) and 1 or nil }, "forgotten")
end)

operation("close", 2, function(c) c:says("/hand/close", { script = "sleeper" }, killed(15, "out=nil err=nil")) end)

operation("two_waits", 2, function(c)
  local n = c.random:int(0, 255)
  c:says("/hand/two_waits", { script = "later", a1 = n, a2 = "0.01" }, exited(n, "out=nil err=nil same=true"))
end)

operation("execute", 3, function(c)
  local n = c.random:int(0, 255)
  c:says("/hand/execute", { a1 = n }, (n == 0 and "true" or "nil") .. " exit " .. n)
end)

operation("popen", 3, function(c)
  local n, out = c.random:int(0, 255), size_of(c.random, 200000)
  c:says("/hand/popen", { a1 = n, a2 = out }, ("%s exit %d read=%d"):format(n == 0 and "true" or "nil", n, out))
end)

operation("popen_write", 2, function(c)
  local n = c.random:int(0, 255)
  c:says("/hand/popen_write", { a1 = n, a2 = size_of(c.random, 200000) }, (n == 0 and "true" or "nil") .. " exit " .. n)
end)

-- ---- several, tasks ----

operation("all", 3, function(c)
  local n, a1, said = c.random:int(1, 12), c.random:int(0, 255), {}
  for i = 1, n do said[i] = tostring((a1 + i) % 256) end
  c:says("/all", { n = n, a1 = a1 }, table.concat(said, " "))
end)

operation("any", 2, function(c)
  local n = c.random:int(0, 255)
  c:says("/any", { a1 = n }, ("3 %d then nil timeout"):format(n))
end)

operation("all_error", 2, function(c)
  local id = c:id()
  c:says("/all-error", { id = id }, "false soak: " .. id)
end)

operation("unheard", 4, function(c)
  local id = c:id()
  c:expect_line("soak: unheard " .. id .. ".", function()
    c:says("/task/unheard", { id = id, late = c.random:chance(0.5) and 1 or nil }, "ok")
  end)
end)

operation("heard", 2, function(c)
  local id = c:id()
  c:says("/task/heard", { id = id }, "soak: heard " .. id .. ". failed")
end)

operation("cancel", 4, function(c)
  c:says("/task/cancel", { script = c.random:pick { "sleeper", "deaf" }, after = c.random:below(0.05) },
    "false true cancelled soak closed")
end)

operation("deaf_task", 1, function(c) c:says("/task/deaf", { after = 0.01 }, "cancelled") end)

operation("task_patience", 2, function(c) c:matches("/task/patience", {}, "^%a+ late 3$") end)

operation("nested", 2, function(c)
  local n = c.random:int(1, 20)
  c:says("/task/nested", { n = n }, n * (n + 1) // 2 .. " over")
end)

operation("crowd", 2, function(c)
  local n = c.random:int(1, 300)
  c:says("/task/crowd", { n = n }, tostring(n * (n + 1) // 2))
end)

operation("raise", 2, function(c)
  local id = c:id()
  c:expect_line("soak: raised " .. id .. ".", function()
    local r = c:get("/task/raise", { id = id })
    c:must(r.status == 500 and not r.body:find "soak", "not a mute 500: " .. r.status .. " " .. r.body)
  end)
end)

operation("answer", 2, function(c)
  local status, id = c.random:pick { 400, 403, 404, 409, 418, 422, 500, 503 }, c:id()
  local text = ("soak: answered %s."):format(id)
  local function ask()
    local r = c:get("/task/answer", { status = status, id = id })
    c:must(r.status == status and r.body:find(text, 1, true), ("%d instead of %d: %s"):format(r.status, status, r.body))
  end
  if status < 500 then return ask() end
  c:expect_line(text, ask)
end)

operation("background", 2, function(c)
  local id = c:id()
  c:expect_line("soak: background " .. id .. ".", function()
    c:says("/task/background", { script = "later", a1 = c.random:int(0, 255), a2 = "0.1", id = id }, "ok")
  end, true)
end)

-- ---- clients that leave ----

local function leave(c, conn)
  local how = c.random:int(1, 3)
  if how == 1 then return conn:close() end
  if how == 2 then return conn:rst() end
  conn:half_close()
  conn:silent(c.random:below(0.05))
  conn:rst() -- a plain close would tell the server nothing more
end

operation("leave_long", 6, function(c)
  local how = c.random:pick { "run", "task", "read", "execute", "popen", "deaf_task" }
  local conn = c:open()
  conn:send(c:bytes("GET", "/long/" .. how, { script = c.random:pick { "sleeper", "deaf" } }))
  conn:silent(c.random:below(0.3))
  leave(c, conn)
end)

operation("leave_anything", 6, function(c)
  local target = c.random:pick {
    { "/run", { script = "exit", a1 = 3 } }, { "/run", { script = "both", a1 = 3, a2 = 100000, a3 = 100000 } },
    { "/hand/fed", { size = 60000, pieces = 5 } }, { "/hand/kill", { signal = "SIGTERM" } }, { "/all", { n = 9, a1 = 1 } },
    { "/any", { a1 = 3 } }, { "/task/crowd", { n = 100 } }, { "/task/cancel", { script = "sleeper", after = 0.02 } },
    { "/stream", { n = 200, size = 30000 } }, { "/pipe-out", { script = "both", a1 = 3, a2 = 900000, a3 = 0 } },
    { "/hand/popen", { a1 = 3, a2 = 100000 } }, { "/hand/lines", { script = "lines", a1 = 3, a2 = 200 } },
    { "/hello/x", {} }, { "/events", { n = 500 } }, { "/hand/stop", { script = "deaf", grace = 0.05 } },
    { "/run", { script = "holder", a1 = 3, linger = 0.1 } },
  }
  local bytes = c:bytes("GET", target[1], target[2])
  if c.random:chance(0.2) then bytes = bytes:sub(1, c.random:int(1, #bytes)) end
  local conn = c:open()
  conn:send(bytes)
  conn:silent(c.random:below(0.06))
  leave(c, conn)
end)

operation("leave_body", 2, function(c)
  local conn = c:open()
  local path = c.random:pick { "/echo", "/count", "/feed", "/ignore" }
  local bytes = client.bytes("POST", path, { body = ("b"):rep(c.random:int(10, 200000)) })
  conn:send(bytes:sub(1, #bytes - c.random:int(1, 9)))
  conn:silent(c.random:below(0.05))
  leave(c, conn)
end)

operation("kept", 2, function(c)
  local id, code = c:id(), c.random:int(0, 255)
  c:expect_line(("soak: kept %s. code=%d"):format(id, code), function()
    local conn = c:open()
    assert(conn:send(c:bytes("GET", "/kept", { script = "later", a1 = code, a2 = "0.2", id = id })))
    conn:head() -- from here on it is kept
    leave(c, conn)
  end)
end)

operation("half_close", 3, function(c)
  local n = c.random:int(0, 255)
  local conn = c:open()
  assert(conn:send(c:bytes("GET", "/run", { script = "later", a1 = n, a2 = "0.05" })))
  conn:half_close()
  c:judge(conn:response("GET"), exited(n, "out=0 err=0"))
  conn:close()
end)

-- ---- HTTP ----

operation("hello", 10, function(c)
  local id = c:id()
  c:says("/hello/" .. id, {}, "hello " .. id)
end)

operation("pipeline", 4, function(c)
  local conn, bytes, expected = c:open(), {}, {}
  for i = 1, c.random:int(2, 12) do
    local n = c.random:int(0, 255)
    if c.random:chance(0.3) then
      bytes[i], expected[i] = c:bytes("GET", "/run", { script = "exit", a1 = n }), exited(n, "out=0 err=0")
    elseif c.random:chance(0.3) then
      local body = ("p"):rep(n)
      bytes[i], expected[i] = client.bytes("POST", "/echo", { body = body }), body
    else
      bytes[i], expected[i] = c:bytes("GET", "/hello/" .. n, {}), "hello " .. n
    end
  end
  assert(conn:send(table.concat(bytes)))
  for i = 1, #expected do
    local r = conn:response "GET"
    c:judge(r, expected[i])
    if (r.headers.connection or "") == "close" then break end -- one that is told to leave answers what it has begun
  end
  conn:close()
end)

local function body_of(random, most)
  local size = random:int(1, 3) == 1 and random:int(0, most) or random:int(0, 3000)
  return (("0123456789abcdefghijklmnopqrstuvwxyz"):rep(size // 36 + 1)):sub(1, size)
end

operation("body", 4, function(c)
  local body = body_of(c.random, 300000)
  local r = c:post("/echo", body)
  c:must(r.status == 200 and r.body == body, ("echo of %d bytes: %d, %d bytes"):format(#body, r.status, #r.body))
end)

operation("chunks", 4, function(c)
  local chunks, sum = {}, 0
  for i = 1, c.random:int(1, 20) do
    chunks[i] = ("c"):rep(c.random:int(1, c.random:chance(0.1) and 50000 or 500))
    sum = sum + #chunks[i]
  end
  local conn = c:open()
  local bytes = client.bytes("POST", "/count", { chunks = chunks })
  local at = 1
  while at <= #bytes do
    local last = math.min(#bytes, at + c.random:int(1, math.max(2, #bytes // 3)))
    assert(conn:send(bytes:sub(at, last)))
    if c.random:chance(0.3) then conn:silent(0.002) end
    at = last + 1
  end
  c:judge(conn:response "POST", tostring(sum))
  conn:close()
end)

operation("feed", 2, function(c)
  local body = body_of(c.random, 300000)
  c:judge(c:post("/feed", body), #body .. " " .. exited(3, "out=nil err=nil"))
end)

operation("ignored_body", 2, function(c) c:judge(c:post("/ignore", body_of(c.random, 100000)), "ignored") end)

operation("stream", 4, function(c)
  local n, size = c.random:int(1, 40), c.random:int(1, 20000)
  local r = c:get("/stream", { n = n, size = size })
  c:must(r.status == 200 and #r.body == n * size, ("stream of %d bytes: %d, %d bytes"):format(n * size, r.status, #r.body))
end)

-- Reads little at a time, so that the server has to wait.
operation("slow_reader", 2, function(c)
  local n, size = c.random:int(20, 60), 65536
  local conn = c:open()
  assert(conn:send(c:bytes("GET", "/stream", { n = n, size = size })))
  conn:silent(c.random:below(0.3))
  local r = conn:response "GET"
  c:must(r.status == 200 and #r.body == n * size, ("stream of %d bytes: %d, %d bytes"):format(n * size, r.status, #r.body))
  conn:close()
end)

operation("broken", 2, function(c)
  local id = c:id()
  c:expect_line("soak: raised " .. id .. ".", function()
    local conn = c:open()
    assert(conn:send(c:bytes("GET", "/broken", { id = id })))
    local ok, r = pcall(conn.response, conn, "GET")
    c:must(not ok, "an answer that broke looks whole: " .. tostring(not ok or r.body))
    conn:close()
  end)
end)

operation("pipe_out", 2, function(c)
  local n, out = c.random:int(0, 255), size_of(c.random, 300000)
  local r = c:get("/pipe-out", { script = "both", a1 = n, a2 = out, a3 = 0 })
  local expected = ("o"):rep(out) .. exited(n, "out=nil err=nil")
  c:must(r.status == 200 and r.body == expected, ("%d bytes instead of %d: %s"):format(#r.body, #expected, r.body:sub(-80)))
end)

operation("events", 2, function(c)
  local n = c.random:int(1, 50)
  local r = c:get("/events", { n = n })
  local _, seen = r.body:gsub("data: event %d+\n", "")
  c:must(r.status == 200 and seen == n, ("%d events instead of %d"):format(seen, n))
end)

operation("malformed", 2, function(c)
  local conn = c:open()
  assert(conn:send(c.random:pick {
    "GET / HTTP/1.1\r\n\r\n", "GARBAGE\r\n\r\n", "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  }))
  local r = conn:response "GET"
  c:must(r.status == 400 and conn:at_eof(), "not refused: " .. r.status)
  conn:close()
end)

operation("not_found", 1, function(c)
  local r = c:get("/nowhere/" .. c:id(), {})
  c:must(r.status == 404, "not 404: " .. r.status)
end)

require "spec.soak.more_operations"(operation)

return M
