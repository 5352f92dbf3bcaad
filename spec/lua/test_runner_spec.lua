local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

describe("moonpool test", function()
  local folders = {}

  after_each(function()
    for _, folder in ipairs(folders) do os.execute(("rm -rf '%s'"):format(folder)) end
    folders = {}
  end)

  local function launch(files, words, env)
    local folder = assert(host.tempdir())
    table.insert(folders, folder)
    lfs.mkdir(folder .. "/spec")
    for name, text in pairs(files) do server.write_file(folder .. "/" .. name, text) end
    return server.launch { argv = { "test", table.unpack(words or {}) }, cwd = folder, env = env }
  end

  -- Runs it to its end; what it has written.
  local function run(files, code, words, env)
    local s = launch(files, words, env)
    s:wait_exit(60)
    local out, log = s:out(), s:log()
    s:finish("exit", code)
    return out, log
  end

  local function spec(body) return { ["spec/a_spec.lua"] = "local moonpool = require 'moonpool'\n" .. body } end

  it("runs the project's specs, in which everything may wait", function()
    local out = run(spec [[
      describe("waiting", function()
        local order = {}
        setup(function() moonpool.sleep(0.001) table.insert(order, "setup") end)
        before_each(function() moonpool.sleep(0.001) table.insert(order, "before") end)
        after_each(function() moonpool.sleep(0.001) table.insert(order, "after") end)
        teardown(function()
          moonpool.sleep(0.001)
          assert(table.concat(order, " ") == "setup before it after before after", table.concat(order, " "))
        end)
        it("works in tests", function()
          finally(function() moonpool.sleep(0.001) end)
          local r = moonpool.run { "echo", "hi" }
          assert.equal("hi\n", r.stdout)
          assert.equal(7, moonpool.wait(moonpool.spawn(function() moonpool.sleep(0.01) return 7 end)))
          assert.equal(3, moonpool.wait(moonpool.offload(function(a) return a + 1 end, 2)))
          assert.is_true(moonpool.shared("x"):set("k", 1))
          local heard = moonpool.subscribe "news"
          moonpool.publish("news", "hello")
          assert.equal("hello", heard:receive(5))
          assert.equal("in a shell\n", io.popen("echo in a shell"):read "a")
          table.insert(order, "it")
        end)
        it("works twice", function() end)
      end)]], 0)
    assert.is_truthy(out:find "2 successes / 0 failures / 0 errors", out)
  end)

  it("exits 1 and names line and values when a test fails", function()
    local out = run(spec "it('is wrong', function() moonpool.sleep(0) assert.equal(1, 2) end)", 1)
    assert.is_truthy(out:find "a_spec.lua @ 2\nis wrong\nspec/a_spec.lua:2: Expected objects to be equal", out)
  end)

  it("exits 1 when a file does not load, and when there is none", function()
    assert.is_truthy(run(spec "it(", 1):find "1 error")
    run({}, 1)
  end)

  it("honours .busted and the options of busted", function()
    local files = { ["tests.lua"] = "it('one', function() end) it('two', function() error 'no' end)",
      [".busted"] = "return { default = { ROOT = { 'tests.lua' }, output = 'TAP' } }" }
    assert.is_truthy(run(files, 0, { "--filter=one" }):find("ok 1 - one", 1, true))
    run(files, 1)
    assert.is_truthy(run(files, 0, { "--list" }):find "one\ntwo")
    assert.is_truthy(run(files, 0, { "--help" }):find("--test-timeout S", 1, true))
    assert.is_truthy(run(files, 0, { "--repeat=2", "--filter=one" }):find "ok 1 %- one.*ok 1 %- one")
  end)

  it("fails the test that leaves a task or a process behind, and names them", function()
    local out = run(spec [[
      it("leaves", function()
        moonpool.spawn(function() moonpool.sleep(1000) end)
        moonpool.spawn { "sleep", "4321.5" }
      end)
      it("does not", function() end)]], 1)
    assert.is_truthy(out:find "1 success / 1 failure / 0 errors", out)
    assert.is_truthy(out:find("leaves: a task of spec/a_spec.lua:3 was left behind", 1, true), out)
    assert.is_truthy(out:find "process %d+ %(sleep%) of spec/a_spec.lua:4 was left behind", out)
  end)

  it("lets after_each end what the test has begun", function()
    run(spec [[
      local p
      after_each(function() p:stop() end)
      it("begins", function() p = moonpool.spawn { "sleep", "4321.5" } end)]], 0)
  end)

  it("fails the test whose task failed when nobody waited for it", function()
    local out = run(spec "it('is deaf', function() moonpool.spawn(function() error 'unheard' end) end)", 1)
    assert.is_truthy(out:find "is deaf: error of a task that nobody took %(spawned at spec/a_spec.lua:2%)[^\n]*unheard", out)
  end)

  it("takes no error for lost that the test takes later", function()
    run(spec [[it("waits late", function()
      local task = moonpool.spawn(function() error "late" end)
      local p = moonpool.spawn { "false" }
      moonpool.sleep(0.2)
      assert.has_error(function() moonpool.wait(task) end)
      assert.equal(1, p:wait().code)
    end)]], 0)
  end)

  it("names a describe that leaves something behind", function()
    local out = run(spec [[describe("a group", function()
      setup(function() moonpool.spawn { "sleep", "4321.5" } end)
      it("is fine", function() end)
    end)]], 1)
    assert.is_truthy(out:find "a group: process %d+ %(sleep%)", out)
  end)

  it("ends a test that hangs, also one that will not be cancelled, and goes on", function()
    local out = run(spec [[
      it("hangs", function() moonpool.sleep(1000) end)
      it("insists", function() while true do pcall(moonpool.sleep, 1000) end end)
      it("is well", function() end)]], 1, { "--test-timeout", "0.2" })
    assert.is_truthy(out:find "1 success / 0 failures / 2 errors", out)
    assert.is_truthy(out:find "hangs\nspec/a_spec.lua:2: did not end within 0.2 s", out)
    assert.is_truthy(out:find "insists\nspec/a_spec.lua:3: did not end within 0.2 s", out)
  end)

  it("ends a describe that hangs, and an app that does not stop", function()
    local out = run(spec [[
      describe("no end", function() moonpool.sleep(1000) end)
      it("cannot close", function()
        local app = moonpool.app()
        app:on_stop(function() moonpool.sleep(1000) end)
        require("moonpool.test").client(app)
      end)
      it("is well", function() end)]], 1, { "--test-timeout", "0.2" })
    assert.is_truthy(out:find "1 success / 1 failure / 1 error", out)
    assert.is_truthy(out:find("no end\nspec/a_spec.lua:2: did not end within 0.2 s", 1, true), out)
    assert.is_truthy(out:find("cannot close: what it has opened could not be closed within 0.2 s", 1, true), out)
  end)

  it("is for specs: an app that requires moonpool.test does not load", function()
    local folder = assert(host.tempdir())
    table.insert(folders, folder)
    server.write_file(folder .. "/app.lua", "require 'moonpool.test'")
    local check = server.launch { argv = { "check", folder } }
    check:wait_exit(20)
    assert.is_truthy(check:log():find("run them by `moonpool test`", 1, true), check:log())
    check:finish("exit", 3)
  end)

  it("ends a test that never lets go of the loop", function()
    local out = run(spec "it('spins', function() while true do end end) it('is well', function() end)", 1, {},
      { MOONPOOL_TIMEOUT = "0.3" })
    assert.is_truthy(out:find "1 success / 0 failures / 1 error", out)
  end)

  it("exits 2 and names the package where busted is missing", function()
    local env = { LUA_PATH = "/nowhere/?.lua", LUA_PATH_5_4 = false, HOME = "/nowhere" }
    local _, log = run(spec "it('x', function() end)", 2, {}, env)
    assert.is_truthy(log:find("lua-busted", 1, true), log)
  end)

  it("exits 2 on a timeout that is none", function()
    local _, log = run({}, 2, { "--test-timeout", "soon" })
    assert.is_truthy(log:find('--test-timeout: a number of seconds is wanted, not "soon"', 1, true), log)
  end)

  it("is ended by ^C, with its processes", function()
    local s = launch(spec "it('waits', function() moonpool.run { 'sleep', '4321.25' } end)")
    local child
    wait.until_true(function()
      child = proc.children(s.pid)[1]
      return child and proc.command(child):find "4321.25"
    end, 20, "the child")
    s:signal "INT"
    s:finish("exit", 130)
    assert.is_false(proc.alive(child))
  end)

  it("finds busted and modules in the project's lua_modules", function()
    local files = spec "it('has it', function() assert.equal(42, require 'answer') end)"
    local s = launch({ ["spec/b_spec.lua"] = "it('x', function() end)" })
    s:wait_exit(30)
    s:finish("exit", 0)
    local folder = folders[1]
    os.execute(("mkdir -p '%s/lua_modules/share/lua/5.4'"):format(folder))
    server.write_file(folder .. "/lua_modules/share/lua/5.4/answer.lua", "return 42")
    server.write_file(folder .. "/spec/a_spec.lua", files["spec/a_spec.lua"])
    local again = server.launch { argv = { "test" }, cwd = folder }
    again:wait_exit(30)
    again:finish("exit", 0)
  end)

  it("gives moonpool.settings and the limits of moonpool.conf.lua", function()
    local files = spec "it('x', function() assert.equal('blue', moonpool.settings.colour) end)"
    files["moonpool.conf.lua"] = "app = { colour = 'blue' }"
    run(files, 0)
  end)
end)
