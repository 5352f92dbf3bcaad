-- How a process starts, ends, and what of it is told: the first half of the laws of processes.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

-- What every app of these specs begins with: a JSON-like line of a result, and of a failed start.
local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

local function told(r, err, code)
  if not r then return ("failed: %s|%s"):format(err, code) end
  return ("ok=%s reason=%s code=%s signal=%s signame=%s timed_out=%s"):format(
    r.ok, r.reason, r.code, r.signal, r.signame, r.timed_out or false)
end

app:get("/exit/:code", function(req, res)
  res:text(told(moonpool.run { "sh", "-c", "exit " .. req.params.code }))
end)
app:get("/all-codes", function(_, res)
  local processes, wrong = {}, {}
  for n = 0, 255 do processes[n + 1] = assert(moonpool.spawn { "sh", "-c", "exit " .. n }) end
  local results = moonpool.wait_all(processes)
  for n = 0, 255 do
    local r = results[n + 1]
    if r.code ~= n or r.ok ~= (n == 0) or r.reason ~= "exit" or r.signal ~= nil then wrong[#wrong + 1] = n end
  end
  res:text(#wrong == 0 and "all right" or table.concat(wrong, " "))
end)
app:get("/killed/:signal", function(req, res)
  local r = moonpool.run { "sh", "-c", "ulimit -c 0; kill -" .. req.params.signal .. " $$; sleep 5" }
  res:text(told(r) .. " rawcode=" .. tostring(rawget(r, "code")))
end)
app:get("/missing", function(_, res) res:text(told(moonpool.spawn { "no-such-program-at-all" })) end)
app:get("/missing-path", function(_, res) res:text(told(moonpool.spawn { "/no/such/program" })) end)
app:get("/not-executable", function(_, res) res:text(told(moonpool.spawn { "./plain.txt" })) end)
app:get("/bad-format", function(_, res) res:text(told(moonpool.spawn { "./bad.sh" })) end)
app:get("/not-a-folder", function(_, res) res:text(told(moonpool.spawn { "./plain.txt/x" })) end)
app:get("/too-big", function(_, res) res:text(told(moonpool.spawn { "true", ("x"):rep(4 * 1024 * 1024) })) end)
app:get("/bad-cwd", function(_, res) res:text(told(moonpool.spawn { "true", cwd = "/nowhere/at/all" })) end)
app:get("/not-found-exit", function(_, res) res:text(told(moonpool.run { "sh", "-c", "no-such-program-at-all" })) end)
app:get("/many-missing", function(_, res)
  for _ = 1, 200 do assert(not moonpool.spawn { "no-such-program-at-all" }) end
  res:text "ok"
end)
app:get("/cwd", function(_, res) res:text(moonpool.run({ "pwd", cwd = "/usr" }).stdout) end)
app:get("/env", function(_, res)
  res:text(moonpool.run({ "/usr/bin/env", env = { A = "1", B = "two words" } }).stdout)
end)
app:get("/setenv", function(_, res)
  res:text(moonpool.run({ "/usr/bin/env", setenv = { ADDED = "yes", GONE = false } }).stdout)
end)
app:get("/child-path", function(_, res)
  res:text(told(moonpool.run { "only-there", env = { PATH = "./bin" } }))
end)
app:get("/bad-env", function(_, res)
  res:text(tostring(pcall(moonpool.spawn, { "true", setenv = { ["A=B"] = "x" } })))
end)
app:get("/no-stdin", function(_, res) res:text(told(moonpool.run { "cat" })) end)
app:get("/bad/:what", function(req, res)
  local bad = {
    empty = {}, option = { "true", tiemout = 1 }, nul = { "true", "a\0b" }, number = { "true", 5 },
    negative = { "true", timeout = -1 }, hole = { "true", nil, "x" },
  }
  local ok, err = pcall(moonpool.spawn, bad[req.params.what])
  res:text(tostring(ok) .. " " .. tostring(err))
end)
app:get("/group", function(_, res)
  local p = assert(moonpool.spawn { "sleep", "30" })
  local f = io.open("/proc/" .. p.pid .. "/stat")
  local stat = f:read "a"
  f:close()
  local mine = io.open "/proc/self/stat"
  local own = mine:read "a"
  mine:close()
  p:kill "SIGKILL"
  p:wait()
  res:text(p.pid .. " " .. stat:match "%) %S %d+ (%d+)" .. " " .. own:match "%) %S %d+ (%d+)")
end)
app:get("/signals", function(_, res)
  res:text(moonpool.run({ "cat", "/proc/self/status" }).stdout)
end)
app:get("/fds", function(_, res)
  local leak = assert(io.open("/dev/zero"))
  res:text(moonpool.run({ "ls", "-l", "/proc/self/fd" }).stdout)
  leak:close()
end)
app:get("/twice", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "exit 5" })
  local one, other = nil, nil
  local t = moonpool.spawn(function() other = p:wait() end)
  one = p:wait()
  t:wait()
  moonpool.sleep(0.05)
  res:text(tostring(one == other and one == p:wait() and one == moonpool.wait(p)) .. " " .. one.code)
end)
app:get("/wait-timeout", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "sleep 0.3; exit 6" })
  local r, why, code = p:wait(0.02)
  res:text(("%s %s %s then %d"):format(r, why, code, p:wait().code))
end)
app:get("/never-waited", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "exit 33" })
  moonpool.sleep(0.1)
  res:text(tostring(p.pid))
end)
app:get("/kill-late", function(_, res)
  local p = assert(moonpool.spawn { "true" })
  p:wait()
  local ok, why, code = p:kill()
  res:text(("%s|%s|%s"):format(ok, why, code))
end)
app:get("/kill", function(_, res)
  local p = assert(moonpool.spawn { "sleep", "30" })
  assert(p:kill "SIGUSR1")
  res:text(told(p:wait()))
end)
app:get("/stop", function(_, res)
  local p = assert(moonpool.spawn { "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done" })
  moonpool.sleep(0.1)
  res:text(told(p:stop(0.2)))
end)
app:get("/check", function(_, res)
  local ok, err = pcall(moonpool.run, { "sh", "-c", "echo first >&2; echo last words >&2; exit 3", check = true })
  res:text(("%s|%s|%s"):format(ok, tostring(err), err.result and err.result.code))
end)
app:get("/tostring", function(_, res)
  res:text(tostring(moonpool.run { "sh", "-c", "exit 27" }) .. "|" .. tostring(moonpool.run { "sleep", "9", timeout = 0.1 }))
end)
app:get("/trivial", function(_, res) res:text "at once" end)
app:get("/sleep/:s", function(req, res) res:text(told(moonpool.run { "sleep", req.params.s })) end)
app:get("/hello-sh", function(_, res) res:text(told(moonpool.run { "sh", "hello.sh" })) end)
return app
]]

local files = {
  ["plain.txt"] = "no program\n",
  ["bad.sh"] = "\1\2\3\4 no format that the kernel knows",
  ["hello.sh"] = "#!/bin/sh\necho hello\nexit 27\n",
  ["bin/only-there"] = "#!/bin/sh\nexit 9\n",
}

describe("a process", function()
  local s
  setup(function()
    s = server.start { app = app, files = files, env = { GONE = "still here" } }
    assert(os.execute(("chmod 755 %s/bin/only-there"):format(s.folder)))
  end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, r.body)
    assert.are.equal(text, r.body)
  end
  local function has(path, pattern)
    local r = s:get(path)
    assert.are.equal(200, r.status, r.body)
    if not r.body:find(pattern) then error(("%q is not in %q"):format(pattern, r.body), 2) end
    return r.body
  end

  it("that exits tells its code (row 1)", function()
    says("/exit/0", "ok=true reason=exit code=0 signal=nil signame=nil timed_out=false")
    says("/exit/27", "ok=false reason=exit code=27 signal=nil signame=nil timed_out=false")
    says("/hello-sh", "ok=false reason=exit code=27 signal=nil signame=nil timed_out=false")
  end)

  it("tells each of 256 codes right, all at once (row 1)", function() says("/all-codes", "all right") end)

  it("killed by a signal has no code (row 2)", function()
    for signal, name in pairs { [1] = "HUP", [2] = "INT", [3] = "QUIT", [6] = "ABRT", [9] = "KILL", [11] = "SEGV",
                                [13] = "PIPE", [14] = "ALRM", [15] = "TERM" } do
      has("/killed/" .. signal, ("^ok=false reason=signal code=nil signal=%d signame=SIG%s .*rawcode=nil$"):format(signal, name))
    end
  end)

  it("that cannot start is nil, a sentence and the name of the error (row 3)", function()
    has("/missing", "^failed: .*no%-such%-program%-at%-all: no such file or directory|ENOENT$")
    has("/missing-path", "|ENOENT$")
    has("/not-executable", "|EACCES$")
    has("/bad-format", "|E%u+$")
    has("/not-a-folder", "|ENOTDIR$")
    has("/too-big", "|E2BIG$")
  end)

  it("that cannot start is not one that exits 127 (law 6)", function()
    has("/not-found-exit", "reason=exit code=127")
  end)

  it("that cannot start leaves no descriptor behind (row 3)", function()
    s:get "/many-missing"
    local before = proc.count_fds(s:worker())
    s:get "/many-missing"
    wait.until_true(function() return proc.count_fds(s:worker()) <= before end, 1, "no descriptor more")
    assert.are.same({}, proc.zombies(s:worker()))
  end)

  it("with a missing folder names the folder and the step (row 4)", function()
    has("/bad-cwd", "^failed: .*chdir /nowhere/at/all: no such file or directory|ENOENT$")
    says("/cwd", "/usr\n")
  end)

  it("gets env alone when it is given, and setenv on top of the worker's (row 5)", function()
    local lines = {}
    for line in s:get("/env").body:gmatch "[^\n]+" do lines[#lines + 1] = line end
    table.sort(lines)
    assert.are.same({ "A=1", "B=two words" }, lines)
    local body = s:get("/setenv").body
    assert.is_truthy(("\n" .. body):find("\nADDED=yes\n", 1, true))
    assert.is_truthy(("\n" .. body):find "\nPATH=")
    assert.is_nil(("\n" .. body):find("\nGONE=", 1, true))
    assert.is_nil(("\n" .. body):find "\nMOONPOOL_")
    has("/child-path", "code=9")
    has("/bad-env", "^false")
  end)

  it("without stdin reads an empty one (row 6)", function() has("/no-stdin", "^ok=true") end)

  it("with bad arguments is an error that names them (row 35)", function()
    has("/bad/empty", "^false ")
    has("/bad/option", "^false .*tiemout")
    has("/bad/nul", "^false ")
    has("/bad/number", "^false ")
    has("/bad/negative", "^false .*timeout")
    has("/bad/hole", "^false ")
  end)

  it("leads a group of its own (row 24)", function()
    local pid, group, workers = s:get("/group").body:match "^(%d+) (%d+) (%d+)$"
    assert.are.equal(pid, group)
    assert.are_not.equal(workers, group)
  end)

  it("starts with no signal blocked, ignored or caught (row 23)", function()
    local body = s:get("/signals").body
    for _, name in ipairs { "SigBlk", "SigIgn", "SigCgt" } do
      assert.is_truthy(body:find("\n" .. name .. ":%s+0+\n"), body)
    end
  end)

  it("gets stdin, stdout, stderr and no other descriptor (row 22)", function()
    local body = s:get("/fds").body
    for fd, target in body:gmatch " (%d+) %-> ([^\n]+)" do
      assert.is_true(tonumber(fd) <= 2 or target:find "^/proc/%d+/fd" ~= nil, body)
    end
  end)

  it("keeps its result for any number of waits (row 25)", function() says("/twice", "true 5") end)

  it("goes on when a wait gives up (row 26)", function()
    says("/wait-timeout", "nil timeout timeout then 6")
  end)

  it("that nobody waited for is reaped and logged (row 27)", function()
    local pid = s:get("/never-waited").body
    s:wait_log(pid .. " .*exited 33.*nobody waited")
    assert.are.same({}, proc.zombies(s:worker()))
  end)

  it("is signalled while it lives and never after (row 31)", function()
    has("/kill", "reason=signal code=nil signal=10 signame=SIGUSR1")
    says("/kill-late", "nil|process has exited|ESRCH")
  end)

  it("that ignores TERM is killed by stop after the grace", function()
    has("/stop", "reason=signal code=nil signal=9 signame=SIGKILL")
  end)

  it("raises with check unless it exits 0", function()
    has("/check", "^false|sh: exit 3: last words|3$")
  end)

  it("reads well", function()
    has("/tostring", "^exit 27|killed by SIGTERM %(timeout 0%.1 s%)$")
  end)

  it("holds up nobody else: eight sleep, a ninth answers at once", function()
    local took
    client.beside(9, function(n)
      local c = client.shared(s.port)
      if n < 9 then
        assert(c:ask("GET", "/sleep/2").body:find "^ok=true")
      else
        took = wait.took(c.ask, c, "GET", "/trivial")
      end
      c:close()
    end)
    assert.is_true(took < 0.5 * wait.slow, took)
  end)
end)

describe("200 processes at once on two workers", function()
  it("all exit 27", function()
    local s = server.start { app = app, files = files, workers = 2 }
    local answers = client.at_once(s.port, 200, function() return "GET", "/hello-sh" end)
    for n, r in ipairs(answers) do
      assert.are.equal("ok=false reason=exit code=27 signal=nil signame=nil timed_out=false", r.body, n)
    end
    s:stop()
  end)
end)

describe("a thousand processes", function()
  it("leave no zombie, descriptor or memory (row 28)", function()
    local s = server.start { app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      app:get("/many/:n", function(req, res)
        for n = 1, tonumber(req.params.n) do
          if n % 4 == 0 then
            assert(moonpool.run({ "true" }).ok)
          elseif n % 4 == 1 then
            assert(moonpool.spawn { "true", stdout = "null", stderr = "null" }) -- and forgotten
            moonpool.sleep(0.002)
          elseif n % 4 == 2 then
            assert(moonpool.run({ "sleep", "5", timeout = 0.001 }).timed_out)
          else
            local t = moonpool.spawn(function() moonpool.run { "sleep", "5" } end)
            moonpool.sleep(0)
            t:cancel()
            pcall(t.wait, t)
          end
        end
        collectgarbage()
        res:text "done"
      end)
      return app
    ]] }
    local worker = s:worker()
    client.patience = 30
    assert.are.equal("done", s:get("/many/800").body) -- what the same load needs once is not a leak
    wait.until_true(function() return #proc.children(worker) == 0 end, 5, "the children's end")
    local fds, rss = proc.count_fds(worker), proc.rss(worker)
    assert.are.equal("done", s:get("/many/800").body)
    wait.until_true(function() return #proc.children(worker) == 0 end, 5, "the children's end")
    client.patience = 5
    assert.are.same({}, proc.zombies(worker))
    wait.until_true(function() return proc.count_fds(worker) <= fds end, 1, "no descriptor more")
    assert.is_true(proc.rss(worker) - rss < 1024 * wait.slow, proc.rss(worker) - rss)
    assert.are.equal(worker, s:worker())
    s:stop()
  end)
end)
