-- What is wrong at start ends in one clear sentence and an exit code that says what kind of wrong it was.
local server = require "spec.support.server"
local socket = require "socket"
local wait = require "spec.support.wait"

describe("a start", function()
  local function fails(options, code)
    local s = server.launch(options)
    local ok, err = pcall(function()
      s:wait_exit(15)
      return s:log()
    end)
    local out = ok and s:out()
    s:finish("exit", code)
    assert.are.equal("", out)
    return err
  end

  local broken = {
    { "a syntax error", "local moonpool = require 'moonpool'\nlocal x = = 1\n", "app%.lua:2: unexpected symbol" },
    { "an error at load", "local a\n\nprint(a.b)\n", "app%.lua:3: .*attempt to index" },
    { "a module that is missing", "local x = require 'no.such.module'\nreturn x\n", "app%.lua:1: .*no%.such%.module" },
    { "nothing returned", "local moonpool = require 'moonpool'\n", "app%.lua" },
    { "a number returned", "return 5\n\n", "app%.lua" },
    { "os.exit at load", "os.exit(0)\nreturn function() end\n", "app%.lua" },
    { "a wait at load", "require('moonpool').sleep(1)\nreturn function() end\n", "app%.lua:1: .*on_start" },
    { "the same route twice", "local app = require('moonpool').app()\napp:get('/a', print)\napp:get('/a', print)\nreturn app\n",
      "app%.lua:3: .*/a" },
    { "an on_start that raises",
      "local app = require('moonpool').app()\napp:on_start(function()\nerror 'no luck' end)\nreturn app\n", "app%.lua:3: no luck" },
  }
  for _, case in ipairs(broken) do
    it("with " .. case[1] .. " in the app is exit 3, told once", function()
      local log = fails({ app = case[2], workers = 3 }, 3)
      local n = 0
      for line in log:gmatch "[^\n]+" do
        if line:find "^%S" and line:find(case[3]) then n = n + 1 end
      end
      assert.are.equal(1, n, log)
    end)
  end

  it("without the app's file is exit 3 or 2, and names it", function()
    local s = server.launch { argv = { "serve", "/no/such/app.lua", "--listen", "127.0.0.1:0" } }
    local _, code = s:wait_exit()
    assert.is_true(code == 3 or code == 2, code)
    assert.is_truthy(s:log():find("/no/such/app.lua", 1, true))
    s:finish("exit", code)
  end)

  it("on a port in use is exit 4, and names the address", function()
    local taken = assert(socket.bind("127.0.0.1", 0))
    local _, port = taken:getsockname()
    local log = fails({ app = "return function() end\n", listen = "127.0.0.1:" .. port }, 4)
    assert.is_truthy(log:find("127.0.0.1:" .. port, 1, true), log)
    assert.is_truthy(log:find "EADDRINUSE" or log:find "in use", log)
    taken:close()
  end)

  it("on an address that is none is exit 2 or 4", function()
    local s = server.launch { app = "return function() end\n", listen = "999.0.0.1:80" }
    local _, code = s:wait_exit()
    assert.is_true(code == 2 or code == 4, code)
    s:finish("exit", code)
  end)

  it("with an unknown option is exit 2, and names the nearest", function()
    local log = fails({ app = "return function() end\n", args = { "--wrokers", "2" } }, 2)
    assert.is_truthy(log:find("--wrokers", 1, true), log)
    assert.is_truthy(log:find("--workers", 1, true), log)
  end)

  it("with a value that does not fit is exit 2, and names the option", function()
    for option, value in pairs { ["--workers"] = "many", ["--max-body"] = "-1", ["--keep-alive"] = "soon",
                                 ["--log-level"] = "loud" } do
      local log = fails({ app = "return function() end\n", args = { option, value } }, 2)
      assert.is_truthy(log:find(option, 1, true), log)
    end
  end)

  it("with an option that lacks its value, or without an app, is exit 2", function()
    fails({ argv = { "serve", "--workers" } }, 2)
    fails({ argv = { "serve" } }, 2)
    fails({ argv = { "no-such-verb" } }, 2)
    fails({ argv = {} }, 2)
  end)

  it("of workers that die before they are ready ends with exit 5", function()
    local log = fails({ workers = 2, app = [[
      local host = require "host"
      host.kill(host.pid(), "KILL")
      return function() end
    ]] }, 5)
    assert.is_truthy(log:find "SIGKILL", log)
  end)
end)

describe("moonpool", function()
  local function prints(argv, pattern)
    local s = server.launch { argv = argv }
    s:wait_exit()
    local out = s:out()
    s:finish("exit", 0)
    assert.is_truthy(out:find(pattern), out)
  end

  it("tells its version", function() prints({ "version" }, "^moonpool %d+%.%d+%.%d+") end)
  it("helps", function() prints({ "serve", "--help" }, "%-%-workers") end)

  it("checks an app without serving it", function()
    local good = server.launch { files = { ["good.lua"] = "return function() end\n" }, argv = { "version" } }
    good:wait_exit()
    local s = server.launch { argv = { "check", good.folder .. "/good.lua" } }
    s:wait_exit()
    s:finish("exit", 0)
    server.write_file(good.folder .. "/good.lua", "return = 1\n")
    s = server.launch { argv = { "check", good.folder .. "/good.lua" } }
    s:wait_exit()
    assert.is_truthy(s:log():find "good%.lua:1" or s:out():find "good%.lua:1")
    s:finish("exit", 3)
    good:finish("exit", 0)
  end)

  it("listens where it is told, more than once", function()
    local s = server.start { app = "return function(_, res) res:text 'both' end\n", args = { "--listen", "127.0.0.1:0" } }
    wait.until_true(function() return s:count_log "listening on http://" == 2 end, 5, "both ports")
    local ports = {}
    for port in s:log():gmatch "listening on http://127%.0%.0%.1:(%d+)" do ports[#ports + 1] = tonumber(port) end
    for _, port in ipairs(ports) do
      assert.are.equal("both", require("spec.support.client").request(port, "GET", "/").body)
    end
    s:stop()
  end)
end)
