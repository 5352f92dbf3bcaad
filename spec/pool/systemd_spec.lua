-- A service of systemd: what it is told, the sockets it gives, and what of that a worker sees: nothing.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local server = require "spec.support.server"
local socket = require "socket"
local systemd = require "spec.support.systemd"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:on_start(function()
  local file = io.open "slow"
  if file then moonpool.log.info "slow start" moonpool.sleep(tonumber(file:read "a")) end
end)
app:get("/", function(_, res) res:text "hi" end)
app:get("/busy", function(_, res)
  moonpool.log.info "busy begun"
  local till = moonpool.now() + 1.5
  while moonpool.now() < till do end
  res:text "done"
end)
app:get("/env", function(_, res)
  local own = io.open("/proc/self/environ"):read("a"):gsub("%z", "\n")
  res:text(own .. "\n--\n" .. moonpool.run({ "env" }).stdout)
end)
return app
]]

describe("a service", function()
  local s, manager, folder

  before_each(function() folder = assert(host.tempdir()) end)
  after_each(function()
    server.stop_all()
    if manager then manager:close() end
    manager = nil
    os.remove(folder .. "/notify")
    lfs.rmdir(folder)
  end)

  local function start(options)
    options = options or {}
    manager = systemd.open(options.address or folder .. "/notify")
    options.app = options.app or app
    options.env = options.env or {}
    options.env.NOTIFY_SOCKET = manager.address
    s = server.start(options)
    return s
  end

  for _, address in ipairs { "/notify", "@moonpool-spec-" .. host.pid() } do
    it("says READY=1 once all its workers serve, to " .. (address:find "^@" and "an abstract name" or "a path"), function()
      start { workers = 2, address = address:find "^/" and folder .. address or address }
      local _, message = manager:wait "READY=1"
      assert.are.equal(s.pid, message.pid)
      assert.matches("STATUS=2 of 2 workers, generation 1", message.text)
      s:stop()
      assert.are.equal(1, manager:count "READY=1")
      assert.are.equal(1, manager:count "STOPPING=1")
      assert.are.equal(0, manager:count "RELOADING=1")
    end)
  end

  it("is not ready before", function()
    manager = systemd.open(folder .. "/notify")
    s = server.launch { app = app, files = { slow = "0.5" }, args = { "--listen", "127.0.0.1:0" }, bare = true,
                        env = { NOTIFY_SOCKET = manager.address } }
    s:wait_log "slow start"
    assert.are.equal(0, manager:count "READY=1")
    manager:wait "READY=1"
    assert.are.equal(1, manager:count "READY=1")
    s:stop()
  end)

  it("that cannot start says no READY", function()
    manager = systemd.open(folder .. "/notify")
    s = server.launch { app = "error 'no'", env = { NOTIFY_SOCKET = manager.address } }
    s:finish("exit", 3)
    assert.are.equal(0, manager:count "READY=1")
  end)

  it("says RELOADING=1 with the time of it, and READY=1 when every worker is new", function()
    start { workers = 2 }
    manager:wait "READY=1"
    s:signal "HUP"
    local _, message = manager:wait "RELOADING=1"
    local usec = tonumber(message.text:match "MONOTONIC_USEC=(%d+)")
    assert.is_true(math.abs(usec / 1e6 - wait.now()) < 5)
    local _, ready = manager:wait("READY=1", 2)
    assert.matches("STATUS=2 of 2 workers, generation 2", ready.text)
    assert.are.equal(1, s:count_log "reloaded gen=2")
    s:stop()
  end)

  it("says READY=1 again after a reload that was refused, or failed", function()
    start { files = { ["moonpool.conf.lua"] = "keep_alive = 7\n" } }
    manager:wait "READY=1"
    server.write_file(s.folder .. "/moonpool.conf.lua", "keep_alive = = 7\n")
    s:signal "HUP"
    manager:wait("READY=1", 2)
    server.write_file(s.folder .. "/moonpool.conf.lua", "")
    server.write_file(s.app, "error 'no'")
    s:signal "HUP"
    manager:wait("READY=1", 3)
    assert.are.equal(2, manager:count "RELOADING=1")
    s:stop()
  end)

  it("tells how many workers serve", function()
    start { workers = 2 }
    manager:wait "STATUS=2 of 2 workers, generation 1"
    s:signal "TTIN"
    manager:wait "STATUS=3 of 3 workers, generation 1"
    server.write_file(s.folder .. "/slow", "0.3")
    host.kill(s:worker(), "KILL")
    manager:wait "STATUS=2 of 3 workers, generation 1"
    s:stop()
    manager:wait "STATUS=.*, stopping"
  end)

  it("goes on when nobody hears it", function()
    start()
    manager:wait "READY=1"
    manager:close()
    manager = nil
    os.remove(folder .. "/notify")
    s:signal "HUP"
    s:wait_log "the service manager cannot be told"
    s:wait_log "reloaded gen=2"
    assert.are.equal("hi", s:get("/").body)
    s:stop()
  end)

  describe("with a watchdog", function()
    local function beats(env, options)
      options = options or {}
      options.env = env
      return start(options)
    end

    it("gives a sign of life twice in its time", function()
      beats { WATCHDOG_USEC = "300000" }
      manager:wait "READY=1"
      local before, from = manager:count "WATCHDOG=1", wait.now()
      manager:wait("WATCHDOG=1", before + 6)
      local took = wait.now() - from
      assert.is_true(took > 0.6 and took < 1.5 * wait.slow, took)
      s:stop()
    end)

    it("gives none while every worker is busy for longer than that, and again when one is not", function()
      beats { WATCHDOG_USEC = "300000" }
      manager:wait "READY=1"
      local c = s:connect()
      c:send(client.bytes("GET", "/busy"))
      s:wait_log "busy begun"
      wait.sleep(0.5)
      local before = manager:count "WATCHDOG=1"
      wait.sleep(0.5)
      assert.are.equal(before, manager:count "WATCHDOG=1")
      assert.are.equal("done", c:response().body)
      manager:wait("WATCHDOG=1", before + 2)
      s:stop()
    end)

    it("goes on while another worker is well", function()
      beats({ WATCHDOG_USEC = "300000" }, { workers = 2 })
      manager:wait "READY=1"
      local c = s:connect()
      c:send(client.bytes("GET", "/busy"))
      s:wait_log "busy begun"
      wait.sleep(0.5)
      local before = manager:count "WATCHDOG=1"
      manager:wait("WATCHDOG=1", before + 3)
      assert.are.equal("done", c:response().body)
      s:stop()
    end)

    it("of another process gives no sign", function()
      beats { WATCHDOG_USEC = "100000", WATCHDOG_PID = "1" }
      manager:wait "READY=1"
      wait.sleep(0.3)
      assert.are.equal(0, manager:count "WATCHDOG=1")
      s:stop()
    end)

    it("of no time at all is exit 2", function()
      s = server.launch { app = app, env = { WATCHDOG_USEC = "soon" } }
      s:wait_log "WATCHDOG_USEC"
      s:finish("exit", 2)
    end)
  end)

  it("tells of its new main process at an upgrade, which then speaks itself", function()
    start { workers = 2, env = { WATCHDOG_USEC = "300000" } }
    manager:wait "READY=1"
    local old = s.pid
    s:signal "USR2"
    manager:wait "RELOADING=1"
    local main, message = manager:wait "MAINPID=(%d+)"
    assert.are.equal(old, message.pid)
    assert.matches("READY=1", message.text)
    s:follow()
    assert.are.equal(tonumber(main), s.pid)
    manager:wait "STATUS=2 of 2 workers, generation 1"
    local count = manager:count "WATCHDOG=1"
    manager:wait("WATCHDOG=1", count + 3)
    local last = manager:all()[#manager:all()]
    assert.are.equal(s.pid, last.pid)
    assert.are.equal(0, manager:count "STOPPING=1")
    s:stop()
    local _, stopping = manager:wait "STOPPING=1"
    assert.are.equal(tonumber(main), stopping.pid)
  end)

  it("is READY=1 again after an upgrade that failed", function()
    start()
    manager:wait "READY=1"
    server.write_file(s.app, "error 'no'")
    s:signal "USR2"
    manager:wait "RELOADING=1"
    local _, message = manager:wait("READY=1", 2)
    assert.are.equal(s.pid, message.pid)
    assert.are.equal(0, manager:count "MAINPID=.*")
    s:stop()
  end)
end)

describe("the sockets of systemd", function()
  local s, sockets
  local wrapper = { "/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh" }

  before_each(function()
    sockets = {}
    for i = 1, 2 do
      local listening = assert(socket.bind("127.0.0.1", 0))
      local _, port = listening:getsockname()
      sockets[i] = { socket = listening, port = tonumber(port), fd = listening:getfd() }
    end
  end)
  after_each(function()
    server.stop_all()
    for _, one in ipairs(sockets) do one.socket:close() end
  end)

  local function launch(args, env, change)
    env = env or {}
    env.LISTEN_FDS = env.LISTEN_FDS or "2"
    local options = { app = app, bare = true, args = args, env = env, wrapper = wrapper,
                      fds = { sockets[1].fd, sockets[2].fd } }
    for key, value in pairs(change or {}) do options[key] = value end
    return server.launch(options)
  end

  local function start(args, env)
    s = launch(args, env)
    s:wait_log "worker ready"
    return s
  end

  local function hi(i) return client.request(sockets[i].port, "GET", "/").body == "hi" end

  it("are what is listened on when nobody says where", function()
    start { "--workers", "1" }
    assert.is_true(hi(1) and hi(2))
    assert.are.equal(2, s:count_log "listening on")
    s:stop()
  end)

  it("are used by number or by name, when somebody says where", function()
    start({ "--listen", "fd:4", "--workers", "1" })
    assert.is_true(hi(2))
    assert.are.equal(1, s:count_log "listening on")
    s:stop()
    start({ "--listen", "fd:web", "--workers", "1" }, { LISTEN_FDNAMES = "admin:web" })
    assert.is_true(hi(2))
    assert.are.equal(1, s:count_log "listening on")
    s:stop()
    start({ "--listen", "fd:web", "--workers", "1" }, { LISTEN_FDNAMES = "web:web" })
    assert.is_true(hi(1) and hi(2))
    s:stop()
  end)

  it("of an unknown name are exit 2", function()
    s = launch({ "--listen", "fd:web" }, { LISTEN_FDNAMES = "admin:metrics" })
    s:wait_log "no socket of the name web"
    s:finish("exit", 2)
  end)

  it("meant for another process are not ours", function()
    s = launch({ "--listen", "127.0.0.1:0", "--workers", "1" }, { LISTEN_PID = "1" }, { wrapper = false })
    s:wait_log "worker ready"
    assert.are.equal(1, s:count_log "listening on")
    s:stop()
  end)

  it("that are none are exit 2 or 4, with the descriptor named", function()
    s = launch(nil, { LISTEN_FDS = "40" })
    local _, code = s:wait_exit()
    assert.matches("LISTEN_FDS", s:log())
    s:finish("exit", code)
    assert.are.equal(2, code)
    local file = assert(io.open "/dev/null")
    s = launch(nil, nil, { fds = { sockets[1].fd, require "manager".open("@moonpool-no-stream-" .. host.pid()) } })
    s:wait_log "fd:4"
    s:finish("exit", 4)
    file:close()
  end)

  it("stay through a reload and an upgrade", function()
    start({ "--workers", "1" }, { LISTEN_FDNAMES = "web:admin" })
    s:signal "HUP"
    s:wait_log "reloaded gen=2"
    assert.is_true(hi(1) and hi(2))
    s:signal "USR2"
    s:follow()
    assert.is_true(hi(1) and hi(2))
    s:signal "HUP"
    s:wait_log("reloaded gen=2", 10, 2)
    s:signal "USR2"
    s:follow()
    assert.is_true(hi(1) and hi(2))
    assert.are.equal(0, s:count_log " error ")
    s:stop()
  end)

  it("and all else that systemd says reach neither a worker nor a child", function()
    local manager = systemd.open("@moonpool-spec-env-" .. host.pid())
    start({ "--workers", "1" }, {
      LISTEN_FDNAMES = "web:admin", NOTIFY_SOCKET = manager.address, WATCHDOG_USEC = "60000000", LISTEN_PORT = "of the app",
    })
    local own, child = client.request(sockets[1].port, "GET", "/env").body:match "^(.*)\n%-%-\n(.*)$"
    assert.is_truthy(own:find("PATH=", 1, true) and child:find("PATH=", 1, true))
    for _, name in ipairs { "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC" } do
      assert.is_nil(own:find(name, 1, true), name)
      assert.is_nil(child:find(name, 1, true), name)
    end
    assert.is_truthy(own:find("LISTEN_PORT=of the app", 1, true))
    assert.is_nil(child:find("LISTEN_PORT", 1, true))
    s:stop()
    manager:close()
  end)
end)

describe("the unit files", function()
  it("are sound, as systemd-analyze sees them", function()
    local pipe = assert(io.popen "command -v systemd-analyze")
    local found = pipe:read "l"
    pipe:close()
    if not found then return pending "systemd-analyze is not installed" end
    local folder = assert(host.tempdir())
    for _, name in ipairs { "moonpool.service", "moonpool.socket" } do
      local text = server.read_file("packaging/systemd/" .. name):gsub("/usr/bin/moonpool", server.binary)
      assert(#text > 0, name)
      server.write_file(folder .. "/" .. name, text)
    end
    local check = assert(io.popen(("systemd-analyze verify --man=no '%s/moonpool.service' '%s/moonpool.socket' 2>&1")
      :format(folder, folder)))
    local output = check:read "a"
    local ok = check:close()
    os.remove(folder .. "/moonpool.service")
    os.remove(folder .. "/moonpool.socket")
    lfs.rmdir(folder)
    assert.is_true(ok, output)
    for line in output:gmatch "[^\n]+" do assert.is_nil(line:find("moonpool", 1, true), line) end
  end)
end)
