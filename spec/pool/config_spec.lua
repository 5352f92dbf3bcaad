-- Where settings come from, which of them wins, and what becomes of a file that is wrong.
local host = require "host"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text(moonpool.settings and moonpool.settings.name or "no name") end)
return app
]]

local function run(argv, files, env)
  local s = server.launch { argv = argv, app = app, files = files, env = env }
  s:wait_exit()
  return s
end

-- What `--print-config` says of one key: its value and its origin.
local function effective(key, files, args, env)
  local beside = server.launch { argv = { "version" }, app = app, files = files }
  beside:wait_exit()
  local argv = { "serve", beside.folder .. "/app.lua", "--print-config" }
  table.move(args or {}, 1, #(args or {}), #argv + 1, argv)
  local s = run(argv, nil, env)
  local value, origin = ("\n" .. s:out()):match("\n" .. key .. " += ([^#]-) +# (%a+)")
  s:finish("exit", 0)
  beside:finish("exit", 0)
  return value, origin
end

describe("a setting", function()
  local file = { ["moonpool.conf.lua"] = "workers = 2\nlisten = { ':1', ':2' }\nkeep_alive = 7.5\n" }

  it("is its default when nobody says anything", function()
    assert.are.same({ "8M", "default" }, { effective "max_body" })
  end)

  it("comes from the file in the app's folder", function()
    assert.are.same({ "7.5", "file" }, { effective("keep_alive", file) })
    assert.are.same({ ":1,:2", "file" }, { effective("listen", file) })
  end)

  it("comes from a variable before the file, and from a flag before both", function()
    local env = { MOONPOOL_WORKERS = "3", MOONPOOL_LISTEN = ":3" }
    assert.are.same({ "3", "variable" }, { effective("workers", file, {}, env) })
    assert.are.same({ ":3", "variable" }, { effective("listen", file, {}, env) })
    assert.are.same({ "4", "flag" }, { effective("workers", file, { "--workers", "4" }, env) })
  end)
end)

describe("a configuration file", function()
  local wrong = {
    { "a syntax error", "workers = 2\nlisten = = 3\n", "moonpool%.conf%.lua:2: " },
    { "an unknown key", "\nwrokers = 2\n", "moonpool%.conf%.lua:2: unknown key wrokers .*workers" },
    { "a value that does not fit", "workers = 'many'\n", "moonpool%.conf%.lua:1: workers: " },
    { "a table where one value goes", "workers = { 2 }\n", "moonpool%.conf%.lua:1: workers: " },
    { "an error", "local x = nil\nworkers = x.y\n", "moonpool%.conf%.lua:2: " },
    { "a reach for the file system", "io.open('/etc/passwd')\n", "moonpool%.conf%.lua:1: " },
    { "settings that are no data", "app = { f = print }\n", "moonpool%.conf%.lua:1: app: .*%$%.f" },
  }
  for _, case in ipairs(wrong) do
    it("with " .. case[1] .. " is exit 2 and one line", function()
      local s = server.launch { app = app, files = { ["moonpool.conf.lua"] = case[2] } }
      s:wait_exit()
      local log = s:log()
      s:finish("exit", 2)
      assert.is_truthy(log:find(case[3]), log)
      assert.are.equal(1, select(2, log:gsub("\n", "")), log)
    end)
  end

  it("that is not there is exit 2 when it was named", function()
    local s = server.launch { app = app, args = { "--config", "/no/such/file.lua" } }
    s:wait_exit()
    assert.is_truthy(s:log():find("/no/such/file.lua", 1, true))
    s:finish("exit", 2)
  end)

  it("that never ends is exit 2 after its five seconds", function()
    local s = server.launch { app = app, files = { ["moonpool.conf.lua"] = "while true do end\n" } }
    s:wait_exit(10)
    assert.is_truthy(s:log():find "within 5 s", s:log())
    s:finish("exit", 2)
  end)

  it("gives the app its settings, which no process list shows", function()
    local s = server.start { app = app, files = { ["moonpool.conf.lua"] = "app = { name = 'a secret' }\n" } }
    assert.are.equal("a secret", s:get("/").body)
    local command = assert(io.open("/proc/" .. s:worker() .. "/cmdline")):read "a"
    assert.is_nil(command:find "secret")
    s:stop()
  end)
end)

describe("a reload of the configuration", function()
  local s
  after_each(server.stop_all)

  local function write(text) server.write_file(s.folder .. "/moonpool.conf.lua", text) end

  it("that is broken changes nothing but the log", function()
    s = server.start { app = app }
    local old = s:worker()
    write "wrokers = 2\n"
    s:signal "HUP"
    s:wait_log "error .*moonpool%.conf%.lua:1: unknown key wrokers"
    assert.are.equal(old, s:worker())
    assert.are.equal("no name", s:get("/").body)
  end)

  it("reaches the new workers", function()
    s = server.start { app = app }
    write "app = { name = 'renamed' }\n"
    s:signal "HUP"
    s:wait_log "reloaded gen=2"
    assert.are.equal("renamed", s:get("/").body)
  end)

  it("does not hold up the pool while it is read", function()
    s = server.start { app = app }
    local old = s:worker()
    write "while true do end\n"
    s:signal "HUP"
    s:wait_log "SIGHUP"
    host.kill(old, "KILL")
    s:wait_log("worker ready", 3, 2)
    s:signal "TERM"
    s:finish("exit", 0)
  end)
end)

describe("the pool", function()
  local s
  after_each(server.stop_all)

  it("grows by TTIN, shrinks by TTOU, rests by WINCH until HUP", function()
    s = server.start { app = app }
    s:signal "TTIN"
    s:wait_log "worker ready slot=1"
    s:signal "TTOU"
    s:wait_log "worker left.*slot=1"
    s:signal "WINCH"
    wait.until_true(function() return #s:workers() == 0 end, 5, "rest")
    s:signal "HUP"
    s:wait_log "reloaded gen=2"
    assert.are.equal("no name", s:get("/").body)
  end)

  it("writes its number to --pid and takes it away again", function()
    s = server.start { app = app, args = { "--pid", "/tmp/moonpool-spec-" .. host.pid() .. ".pid" } }
    local path = "/tmp/moonpool-spec-" .. host.pid() .. ".pid"
    assert.are.equal(s.pid .. "\n", server.read_file(path))
    s:stop()
    assert.is_nil(io.open(path))
  end)

  it("takes a unix socket's name away when it stops", function()
    local path = "/tmp/moonpool-spec-" .. host.pid() .. ".sock"
    s = server.start { app = app, args = { "--listen", "unix:" .. path } }
    s:wait_log("listening on unix:" .. path:gsub("%p", "%%%0"))
    s:stop()
    assert.is_falsy(os.rename(path, path))
  end)

  it("lets no process that an app starts have its descriptors", function()
    s = server.start { app = [[
      local moonpool = require "moonpool"
      return function(_, res) res:text(moonpool.run({ "ls", "/proc/self/fd" }).stdout) end
    ]] }
    local n = 0
    for _ in s:get("/").body:gmatch "%d+" do n = n + 1 end
    assert.are.equal(4, n) -- 0, 1, 2, and the folder that ls reads
    assert.are.same({}, proc.zombies(s.pid))
  end)
end)
