-- What goes into a process and comes out of it.
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

app:get("/input", function(_, res)
  local input = ("0123456789abcdef\n"):rep(100000)
  local r = moonpool.run { "cat", input = input }
  res:text(tostring(r.ok and r.stdout == input))
end)
app:get("/input-unread", function(_, res)
  local r = moonpool.run { "sh", "-c", "exec <&-; exit 4", input = ("x"):rep(1000000) }
  res:text(r.reason .. " " .. tostring(r.code))
end)
app:get("/epipe", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "exec <&-; sleep 0.5", stdin = "pipe" })
  moonpool.sleep(0.1)
  local ok, why, code
  for _ = 1, 3 do
    ok, why, code = p.stdin:write(("x"):rep(100000))
    if not ok then break end
  end
  p:stop()
  res:text(tostring(ok) .. " " .. tostring(code))
end)
app:get("/both", function(_, res)
  local r = moonpool.run { "sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done" }
  local out, err = 0, 0
  for n in r.stdout:gmatch "out (%d+)\n" do if tonumber(n) == out then out = out + 1 end end
  for n in r.stderr:gmatch "err (%d+)\n" do if tonumber(n) == err then err = err + 1 end end
  res:text(out .. " " .. err)
end)
app:get("/binary", function(_, res)
  local bytes = {}
  for n = 0, 255 do bytes[#bytes + 1] = string.char(n) end
  local all = table.concat(bytes):rep(100)
  res:text(tostring(moonpool.run({ "cat", input = all }).stdout == all))
end)
app:get("/big", function(_, res)
  res:text(tostring(#moonpool.run({ "head", "-c", "10000000", "/dev/zero" }).stdout))
end)
app:get("/drain", function(_, res)
  local p = assert(moonpool.spawn { "head", "-c", "1000000", "/dev/zero", stdout = "pipe" })
  local r = p:wait()
  res:text(("%s %s"):format(r.code, r.discarded))
end)
local held
app:get("/hold", function(_, res)
  held = assert(moonpool.spawn { "sh", "-c", "exec head -c 50000000 /dev/zero", stdout = "pipe", detach = true })
  res:text(tostring(held.pid))
end)
app:get("/release", function(_, res)
  held:stop()
  res:text "ok"
end)
app:get("/limit", function(_, res)
  local r = moonpool.run { "sh", "-c", "head -c 100000 /dev/zero; echo done >&2; exit 6", max_output = 1000 }
  res:text(("%d %s %s %s"):format(#r.stdout, r.truncated, r.code, r.stderr))
end)
app:get("/limit-both", function(_, res)
  local r = moonpool.run { "sh", "-c", "head -c 9999 /dev/zero; head -c 9999 /dev/zero >&2", max_output = 10 }
  res:text(("%d %d %s %s"):format(#r.stdout, #r.stderr, r.truncated, r.ok))
end)
app:get("/limit-kill", function(_, res)
  local r = moonpool.run { "yes", max_output = 1000, on_limit = "kill" }
  res:text(("%d %s %s"):format(#r.stdout, r.reason, tostring(r.code)))
end)
app:get("/lines", function(_, res)
  local p = assert(moonpool.spawn { "printf", "one\ntwo\n\nlast", stdout = "pipe" })
  local lines = {}
  for line in p.stdout:lines() do lines[#lines + 1] = line end
  res:text(table.concat(lines, "|") .. " " .. p:wait().code)
end)
app:get("/read", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "printf abcdef; sleep 0.1; printf ghi", stdout = "pipe" })
  local first = p.stdout:read(2)
  local rest = p.stdout:read "a"
  local after = p.stdout:read()
  p:wait()
  res:text(("%s %s %s"):format(first, rest, after))
end)
app:get("/talk", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "while read x; do echo got $x; done", stdin = "pipe", stdout = "pipe" })
  local heard = {}
  for n = 1, 3 do
    assert(p.stdin:write(n .. "\n"))
    heard[n] = p.stdout:read()
  end
  p.stdin:close()
  res:text(table.concat(heard) .. p:wait().code)
end)
app:get("/live", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done", stdout = "pipe" })
  for line in p.stdout:lines() do res:write(line) end
  res:finish(" " .. p:wait().code)
end)
app:get("/late", function(_, res)
  local p = assert(moonpool.spawn { "printf", "abcdef", stdout = "pipe" })
  while moonpool.run({ "kill", "-0", tostring(p.pid) }).ok do moonpool.sleep(0.02) end
  moonpool.sleep(0.1)
  res:text(("%s %s %s"):format(p.stdout:read(2), p.stdout:read "a", p:wait().code))
end)
app:get("/pause", function(_, res)
  local p = assert(moonpool.spawn { "seq", "1", "20000", stdout = "pipe" })
  local n, bytes = 0, 0
  for line in p.stdout:lines() do
    n, bytes = n + 1, bytes + #line + 1
    if n % 2000 == 0 then moonpool.sleep(0.02) end
  end
  res:text(("%d %d %d"):format(n, bytes, p:wait().code))
end)
app:get("/slow", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "yes | head -c 50000000; sleep 5", stdout = "pipe" })
  local line = p.stdout:lines()()
  moonpool.sleep(0.5)
  local rss = io.open("/proc/self/status"):read("a"):match "VmRSS:%s*(%d+)"
  p:stop()
  res:text(line .. " " .. rss)
end)
app:get("/merge", function(_, res)
  res:text(moonpool.run({ "sh", "-c", "echo a; echo b >&2; echo c", stderr = "stdout" }).stdout)
end)
app:get("/file", function(_, res)
  local path = os.tmpname()
  for _ = 1, 2 do
    assert(moonpool.run({ "echo", "line", stdout = { file = path, append = true } }).ok)
  end
  local f = io.open(path)
  res:text(f:read "a")
  f:close()
  os.remove(path)
end)
app:get("/log", function(_, res)
  moonpool.spawn({ "sh", "-c", "echo to the log; echo words of trouble >&2" }):wait()
  res:text "ok"
end)
app:get("/held", function(_, res)
  local before = moonpool.now()
  local r = moonpool.run { "sh", "-c", "echo said; sleep 30 & exit 8", linger = 0.2 }
  res:text(("%s %s %s %s"):format(r.code, r.held, r.stdout:gsub("\n", ""), moonpool.now() - before))
end)
app:get("/held-setsid", function(_, res)
  local before = moonpool.now()
  local r = moonpool.run { "sh", "-c", "echo said; setsid sleep 4.25 & exit 8", linger = 0.2 }
  res:text(("%s %s %s %s"):format(r.code, r.held, r.stdout:gsub("\n", ""), moonpool.now() - before))
end)
return app
]]

describe("a process's stream", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, r.body)
    assert.are.equal(text, r.body)
  end

  it("takes input as large as it likes (row 7)", function() says("/input", "true") end)

  it("that nobody reads does not spoil the result (row 8)", function()
    says("/input-unread", "exit 4")
    says("/epipe", "nil EPIPE")
    says("/input", "true")
  end)

  it("comes whole, both at once (row 9)", function()
    says("/both", "3000 3000")
    says("/binary", "true")
    says("/big", "10000000")
  end)

  it("that nobody reads is drained by a wait, and counted (row 10)", function() says("/drain", "0 1000000") end)

  it("that nobody reads and nobody waits for is left in the pipe (row 11)", function()
    local worker = s:worker()
    local before = proc.rss(worker)
    local pid = tonumber(s:get("/hold").body)
    wait.sleep(0.3)
    assert.is_true(proc.alive(pid))
    assert.is_true(proc.rss(worker) - before < 4096)
    says("/release", "ok")
    assert.is_false(proc.alive(pid))
  end)

  it("beyond max_output is read and thrown away; the status stays the child's (row 12)", function()
    says("/limit", "1000 stdout 6 done\n")
    says("/limit-both", "10 10 both true")
    says("/limit-kill", "1000 signal nil")
  end)

  it("held by a grandchild ends after linger (row 13)", function()
    local code, held, said, took = s:get("/held").body:match "^(%S+) (%S+) (%S+) (%S+)$"
    assert.are.same({ "8", "true", "said" }, { code, held, said })
    assert.is_true(tonumber(took) < 1 * wait.slow)
    wait.until_true(function() return #proc.named "sleep 30" == 0 end, 2, "the grandchild's end")
  end)

  it("held by one that left the group ends after linger, too (row 13)", function()
    local code, held, said, took = s:get("/held-setsid").body:match "^(%S+) (%S+) (%S+) (%S+)$"
    assert.are.same({ "8", "true", "said" }, { code, held, said })
    assert.is_true(tonumber(took) < 1 * wait.slow)
  end)

  it("is read by lines and by pieces", function()
    says("/lines", "one|two||last 0")
    says("/read", "ab cdefghi nil")
    says("/talk", "got 1\ngot 2\ngot 3\n0")
  end)

  it("that a child left behind is there for who reads it later", function()
    says("/late", "ab cdef 0")
    says("/pause", "20000 108894 0")
  end)

  it("read by lines is read no faster than the lines are taken", function()
    says("/lines", "one|two||last 0")
    local before = proc.rss(s:worker())
    local line, rss = s:get("/slow").body:match "^(%S+) (%d+)$"
    assert.are.equal("y", line)
    assert.is_true(tonumber(rss) - before < 4096)
  end)

  it("flows into the answer as it comes", function()
    local c = s:connect()
    c:send(require("spec.support.client").bytes("GET", "/live"))
    assert.are.equal(200, c:head().status)
    local pieces = {}
    repeat
      pieces[#pieces + 1] = c:chunk()
    until pieces[#pieces] == ""
    assert.are.equal("1|2|3| 0|", table.concat(pieces, "|"))
    c:close()
  end)

  it("may be merged, go to a file, or to the log", function()
    says("/merge", "a\nb\nc\n")
    says("/file", "line\nline\n")
    says("/log", "ok")
    s:wait_log "to the log"
    s:wait_log "words of trouble"
  end)
end)
