-- HUP with other settings of the pool itself: addresses, the number of workers, and what only a restart can change.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local server = require "spec.support.server"
local socket = require "socket"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text("generation " .. moonpool.worker.generation) end)
app:get("/slow", function(_, res)
  moonpool.log.info "slow begun"
  moonpool.sleep(0.8)
  res:text("generation " .. moonpool.worker.generation)
end)
return app
]]

local function free_port()
  local taken = assert(socket.bind("127.0.0.1", 0))
  local _, port = taken:getsockname()
  taken:close()
  return tonumber(port)
end

describe("HUP", function()
  local s
  after_each(server.stop_all)

  local function configure(text) server.write_file(s.folder .. "/moonpool.conf.lua", text) end

  -- Addresses and workers are the file's, not flags'.
  local function begin(text, workers)
    s = server.start { app = app, files = { ["moonpool.conf.lua"] = text }, bare = true, workers = workers }
  end

  local function hup(generation)
    s:signal "HUP"
    s:wait_log("reloaded gen=" .. generation, 10)
  end

  local function body(port) return client.request(port, "GET", "/").body end

  local function refused(port)
    local ok, c = pcall(client.connect, port)
    if ok then c:close() end
    return not ok
  end

  local function is_closed(port)
    wait.until_true(function() return refused(port) end, 5, "an address to be closed")
  end

  it("opens new addresses, keeps those that stay, and closes the others once the new workers serve", function()
    local one, two, three = free_port(), free_port(), free_port()
    begin(("listen = { '127.0.0.1:%d', '127.0.0.1:%d' }\nworkers = 2\n"):format(one, two), 2)
    assert.are.equal("generation 1", body(one))
    configure(("listen = { '127.0.0.1:%d', '127.0.0.1:%d' }\nworkers = 2\n"):format(two, three))
    hup(2)
    assert.are.equal("generation 2", body(two))
    assert.are.equal("generation 2", body(three))
    is_closed(one)
    s:wait_log("info listening on http://127.0.0.1:" .. three)
    s:wait_log("info no longer listening on 127.0.0.1:" .. one)
    configure(("listen = { '127.0.0.1:%d' }\nworkers = 2\n"):format(one))
    hup(3)
    assert.are.equal("generation 3", body(one))
    is_closed(two)
    is_closed(three)
  end)

  it("fails no request on an address that stays", function()
    local stays, goes, comes = free_port(), free_port(), free_port()
    local text = "listen = { '127.0.0.1:%d', '127.0.0.1:%d' }\nworkers = 2\n"
    begin(text:format(stays, goes), 2)
    local generation = 1
    local done, failures = client.under_load(stays, { clients = 4 }, function()
      if s:count_log("reloaded gen=" .. generation) == 0 and generation > 1 then return false end
      if generation == 5 then return true end
      generation = generation + 1
      configure(text:format(stays, generation % 2 == 0 and comes or goes))
      s:signal "HUP"
    end)
    assert.are.same({}, failures)
    assert.is_true(done > 20, done)
  end)

  it("lets a request that came by a closed address finish", function()
    local one, two = free_port(), free_port()
    begin(("listen = '127.0.0.1:%d'\nworkers = 1\n"):format(one))
    local c = client.connect(one)
    c:send(client.bytes("GET", "/slow"))
    s:wait_log "slow begun"
    configure(("listen = '127.0.0.1:%d'\nworkers = 1\n"):format(two))
    hup(2)
    is_closed(one)
    assert.are.equal("generation 1", c:response().body)
    c:close()
  end)

  it("with an address that cannot be had changes nothing but the log", function()
    local one = free_port()
    local taken = assert(socket.bind("127.0.0.1", 0))
    local _, port = taken:getsockname()
    begin(("listen = '127.0.0.1:%d'\nworkers = 1\n"):format(one))
    local old = s:worker()
    for _, address in ipairs { "127.0.0.1:" .. port, "nonsense", "fd:7", "127.0.0.1:" .. one .. "', '127.0.0.1:" .. one } do
      configure(("listen = { '127.0.0.1:%d', '%s' }\nworkers = 1\n"):format(address:find "'" and free_port() or one, address))
      local before = s:count_log "error reload refused"
      s:signal "HUP"
      s:wait_log("error reload refused, the old configuration goes on: ", 5, before + 1)
      assert.are.equal("generation 1", body(one))
    end
    assert.are.equal(old, s:worker())
    taken:close()
    assert.is_truthy(s:log():find("127.0.0.1:" .. port, 1, true))
  end)

  it("of a broken app closes what it had opened", function()
    local one, two = free_port(), free_port()
    begin(("listen = '127.0.0.1:%d'\nworkers = 1\n"):format(one))
    server.write_file(s.folder .. "/app.lua", "local x = = 1\n")
    configure(("listen = '127.0.0.1:%d'\nworkers = 1\n"):format(two))
    s:signal "HUP"
    s:wait_log "reload failed, the old workers go on"
    assert.are.equal("generation 1", body(one))
    is_closed(two)
  end)

  it("takes a unix socket's name away with it", function()
    local one, path = free_port(), "/tmp/moonpool-spec-hup-" .. host.pid() .. ".sock"
    begin(("listen = { '127.0.0.1:%d', 'unix:%s' }\nworkers = 1\n"):format(one, path))
    assert.are.equal("socket", lfs.attributes(path, "mode"))
    configure(("listen = '127.0.0.1:%d'\nworkers = 1\n"):format(one))
    hup(2)
    wait.until_true(function() return not lfs.attributes(path, "mode") end, 5, "the name to go")
  end)

  it("takes over another number of workers", function()
    local one = free_port()
    local text = "listen = '127.0.0.1:%d'\nworkers = %d\n"
    begin(text:format(one, 1))
    configure(text:format(one, 3))
    hup(2)
    assert.are.equal(3, #s:workers())
    configure(text:format(one, 2))
    hup(3)
    wait.until_true(function() return #s:workers() == 2 end, 5, "two workers")
    assert.are.equal("generation 3", body(one))
  end)

  it("names what only a restart can change", function()
    local one = free_port()
    local text = "listen = '127.0.0.1:%d'\nworkers = 1\nkeep_alive = %d\n%s"
    begin(text:format(one, 5, ""))
    configure(text:format(one, 6, "pid = '/tmp/moonpool-spec-" .. host.pid() .. ".other'\n"))
    hup(2)
    s:wait_log "warn changed options take a restart options=pid$"
    configure(text:format(one, 7, ""))
    hup(3)
    assert.are.equal(1, s:count_log "take a restart")
  end)
end)
