-- HUP: the new proves itself before the old leaves, and nobody notices.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local function version(n)
  return ([[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "version %d" end)
app:get("/slow", function(_, res)
  moonpool.log.info "slow begun"
  local r = moonpool.run { "sh", "-c", "sleep 0.6; exit 27" }
  res:text("version %d ends " .. r.code)
end)
return app
]]):format(n, n)
end

describe("HUP", function()
  local s
  after_each(server.stop_all)

  local function reload(n, generation)
    server.write_file(s.app, version(n))
    s:signal "HUP"
    for slot = 1, s.size do s:wait_log("worker ready.*gen=" .. generation, 10, slot) end
  end

  local function old_gone(old)
    wait.until_true(function()
      for _, pid in ipairs(old) do
        if proc.alive(pid) then return false end
      end
      return true
    end, 10, "the old workers' end")
  end

  it("serves the new app from new workers", function()
    s = server.start { app = version(1), workers = 2 }
    local old = s:workers()
    assert.are.equal("version 1", s:get("/").body)
    reload(2, 2)
    old_gone(old)
    assert.are.equal("version 2", s:get("/").body)
    assert.are.equal(2, #s:workers())
    reload(3, 3)
    wait.until_true(function() return s:get("/").body == "version 3" end, 5, "version 3")
  end)

  it("fails no request under load", function()
    s = server.start { app = version(1), workers = 2 }
    local generation, from = 1, wait.now()
    local done, failures = client.under_load(s.port, { clients = 4 }, function()
      local ready = s:count_log("worker ready.*gen=" .. generation) >= 2
      if ready and generation == 4 then return wait.now() - from > 1 end
      if ready then
        generation = generation + 1
        server.write_file(s.app, version(generation))
        s:signal "HUP"
      end
    end)
    assert.are.same({}, failures)
    assert.is_true(done > 50, done)
    wait.until_true(function() return s:get("/").body == "version 4" end, 5, "version 4")
  end)

  it("lets a request in flight finish in its old worker, with its process", function()
    s = server.start { app = version(1) }
    local c = s:connect()
    c:send(client.bytes("GET", "/slow"))
    s:wait_log "slow begun"
    reload(2, 2)
    local r = c:response()
    assert.are.equal("version 1 ends 27", r.body)
    assert.are.equal("close", r.headers.connection)
    assert.is_true(c:at_eof())
    assert.are.equal("version 2", s:get("/").body)
  end)

  it("answers an idle connection's next request, and then closes it", function()
    s = server.start { app = version(1), args = { "--drain-idle", "5" } }
    local c = s:connect()
    assert.are.equal("version 1", c:ask("GET", "/").body)
    reload(2, 2)
    local r = c:ask("GET", "/")
    assert.are.equal(200, r.status)
    assert.are.equal("close", r.headers.connection)
    assert.is_true(c:at_eof())
  end)

  it("closes a connection that stays idle", function()
    s = server.start { app = version(1), args = { "--drain-idle", "0.3" } }
    local old, c = s:workers(), s:connect()
    assert.are.equal("version 1", c:ask("GET", "/").body)
    reload(2, 2)
    assert.is_true(c:at_eof())
    old_gone(old)
  end)

  it("of a broken app changes nothing but the log", function()
    s = server.start { app = version(1), workers = 2 }
    local old = s:workers()
    server.write_file(s.app, "local x = = 1\n")
    s:signal "HUP"
    s:wait_log "error.*app%.lua:1"
    wait.sleep(0.3)
    assert.are.same(old, s:workers())
    assert.are.equal("version 1", s:get("/").body)
    reload(3, 3)
    old_gone(old)
    assert.are.equal("version 3", s:get("/").body)
  end)

  it("of an app whose start fails changes nothing either", function()
    s = server.start { app = version(1) }
    server.write_file(s.app, [[
      local app = require("moonpool").app()
      app:on_start(function() error "cannot start like this" end)
      return app
    ]])
    s:signal "HUP"
    s:wait_log "cannot start like this"
    assert.are.equal("version 1", s:get("/").body)
  end)

  it("sent many times in a row settles on the last", function()
    s = server.start { app = version(1), workers = 2 }
    for n = 2, 6 do
      server.write_file(s.app, version(n))
      s:signal "HUP"
    end
    wait.until_true(function() return s:get("/").body == "version 6" and #s:workers() == 2 end, 10, "version 6")
    wait.until_true(function()
      for _ = 1, 6 do
        if s:get("/").body ~= "version 6" then return false end
      end
      return #s:workers() == 2
    end, 10, "version 6 everywhere")
  end)
end)
