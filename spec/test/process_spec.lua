local moonpool = require "moonpool"
local test = require "moonpool.test"

describe("test.process", function()
  it("plays output and exit code, and notes the call", function()
    local git = test.process("git", { stdout = "out\n", stderr = "fatal: no\n", code = 128 })
    local r = moonpool.run { "git", "log", "-1", cwd = "/" }
    assert.same({ "out\n", "fatal: no\n", 128, "exit" }, { r.stdout, r.stderr, r.code, r.reason })
    assert.equal(1, #git.calls)
    assert.same({ "git", "log", "-1" }, git.calls[1].argv)
    assert.equal("/", git.calls[1].cwd)
  end)

  it("plays it for a path too, and only for that name", function()
    local fake = test.process("echo", { stdout = "played" })
    assert.equal("played", moonpool.run { "/bin/echo", "real" }.stdout)
    assert.equal("real\n", moonpool.run { "printf", "real\n" }.stdout)
    assert.equal(1, #fake.calls)
  end)

  it("is over with its test, or when it is closed", function()
    assert.equal("real\n", moonpool.run { "echo", "real" }.stdout)
    do
      local _ <close> = test.process("echo", { stdout = "played" })
      assert.equal("played", moonpool.run { "echo", "real" }.stdout)
    end
    assert.equal("real\n", moonpool.run { "echo", "real" }.stdout)
  end)

  it("dies by a signal", function()
    test.process("crash", { stdout = "so far", signal = "SEGV" })
    local r = moonpool.run { "crash" }
    assert.same({ "so far", "signal", "SIGSEGV" }, { r.stdout, r.reason, r.signame })
  end)

  it("does not start", function()
    test.process("gone", { error = "ENOENT" })
    local p, message, code = moonpool.spawn { "gone" }
    assert.same({ nil, "spawn: gone: no such file or directory", "ENOENT" }, { p, message, code })
    assert.has_error(function() moonpool.run { "gone", check = true } end)
  end)

  it("answers by a function of its words and its input", function()
    local cat = test.process("cat", function(argv, input)
      moonpool.sleep(0.001)
      return { stdout = argv[2] .. input:upper(), code = 3 }
    end)
    local r = moonpool.run { "cat", "-n", input = "text" }
    assert.same({ "-nTEXT", 3 }, { r.stdout, r.code })
    assert.equal("text", cat.calls[1].input)
    local p <close> = moonpool.spawn { "cat", "a", stdin = "pipe", stdout = "pipe" }
    p.stdin:write "piece "
    p.stdin:write "by piece"
    p.stdin:close()
    assert.equal("aPIECE BY PIECE", p.stdout:read "a")
    assert.equal(3, p:wait().code)
  end)

  it("talks both ways", function()
    test.process("bc", function(_, _, child)
      for piece in child.read, child do
        child:write(tostring(load("return " .. piece)()) .. "\n")
      end
      return { code = 0 }
    end, { interactive = true })
    local p <close> = moonpool.spawn { "bc", stdin = "pipe", stdout = "pipe" }
    local lines = p.stdout:lines()
    p.stdin:write "1 + 1"
    assert.equal("2", lines())
    p.stdin:write "6 * 7"
    assert.equal("42", lines())
    p.stdin:close()
    assert.is_true(p:wait().ok)
  end)

  it("takes as long as it is told, on the clock of the test", function()
    test.process("slow", { delay = 60, stdout = "at last" })
    local clock = test.clock()
    local task = moonpool.spawn(function() return moonpool.run { "slow" } end)
    clock:advance(59)
    assert.equal("running", task:status())
    clock:advance(2)
    assert.equal("at last", moonpool.wait(task).stdout)
  end)

  it("is ended by a timeout and by a kill, as a real one", function()
    test.process("slow", { delay = 1000 })
    local r = moonpool.run { "slow", timeout = 0.05 }
    assert.is_true(r.timed_out)
    assert.equal("SIGTERM", r.signame)
    test.process("deaf", { delay = 1000, ignore = "TERM" })
    r = moonpool.run { "deaf", timeout = 2, grace = 0.05 } -- it has begun by then
    assert.equal("SIGKILL", r.signame)
  end)

  it("stands in for shell commands", function()
    local git = test.process("git", { stdout = "clean\n", code = 1 })
    local pipe = io.popen "git status --short"
    assert.equal("clean\n", pipe:read "a")
    assert.same({ nil, "exit", 1 }, { pipe:close() })
    assert.same({ nil, "exit", 1 }, { os.execute "LANG=C git status" })
    assert.same({ "git", "status", "--short", shell = "git status --short" }, git.calls[1].argv)
    assert.same({ "git", "status", shell = "LANG=C git status" }, git.calls[2].argv)
    os.execute "git log | head"
    assert.same({ "git", shell = "git log | head" }, git.calls[3].argv)
  end)

  it("stands in where nothing can wait", function()
    test.process("git", { stdout = "clean\n", code = 4 })
    local seen
    table.sort({ 2, 1 }, function(a, b)
      seen = seen or table.pack(os.execute "git status")
      return a < b
    end)
    assert.same({ nil, "exit", 4, n = 3 }, seen)
  end)

  it("gives more output than a pipe holds", function()
    test.process("yes", { stdout = ("y\n"):rep(1000000) })
    assert.equal(2000000, #moonpool.run { "yes" }.stdout)
  end)

  it("refuses what is not faked, when asked to", function()
    test.process("git", {})
    local allow = test.only_fakes()
    assert.is_true(moonpool.run({ "git" }).ok)
    assert.has_error(function() moonpool.run { "echo" } end, "process: echo is not faked, and this test starts no other")
    allow()
    assert.is_true(moonpool.run({ "echo" }).ok)
  end)

  it("names a wrong argument", function()
    assert.has_error(function() test.process(1) end, "process: the name must be a string, got number")
    assert.has_error(function() test.process("x", { out = "" }) end)
    assert.has_error(function() test.process("x", { stdout = 1 }) end, "process: stdout must be a string, got 1")
    assert.has_error(function() test.process("x", { code = 1, signal = "TERM" }) end, "process: code and signal exclude each other")
    assert.has_error(function() test.process("x", { signal = "NONE" }) end, "process: there is no signal NONE")
  end)
end)
