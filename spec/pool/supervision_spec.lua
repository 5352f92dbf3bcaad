-- When a worker is started again, how soon, and when the pool gives up.
local client = require "spec.support.client"
local host = require "host"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

describe("a worker", function()
  local s
  after_each(server.stop_all)

  local function pauses()
    local list = {}
    for ms in s:log():gmatch "after a pause slot=0 deaths=%d+ pause_ms=(%d+)" do list[#list + 1] = tonumber(ms) end
    return list
  end

  it("that dies before it has answered anything is started again after a pause that grows", function()
    s = server.start { app = [[
      local host, moonpool = require "host", require "moonpool"
      local app = moonpool.app()
      app:on_start(function() moonpool.after(0.01, function() host.kill(host.pid(), "KILL") end) end)
      return app
    ]] }
    s:wait_log("starting it again", 10, 4)
    assert.are.same({ 100, 200, 400, 800 }, { table.unpack(pauses(), 1, 4) })
    assert.is_true(s:poll()) -- one was ready: the pool does not give up
    s:signal "TERM"
    s:finish("exit", 0)
  end)

  it("that had answered is replaced without a pause, however often", function()
    s = server.start { app = "return function(_, res) res:text 'hi' end\n" }
    for n = 1, 4 do
      local dead = wait.until_true(function() return s:worker() end, 5, "a worker")
      s:wait_log("worker ready", 5, n)
      assert.are.equal("hi", s:get("/").body)
      wait.sleep(0.05) -- its count is told when its loop sleeps
      host.kill(dead, "KILL")
      s:wait_log("killed by SIGKILL", 5, n)
    end
    s:wait_log("worker ready", 5, 5)
    assert.are.same({}, pauses())
  end)

  it("that is not ready in time is ended, and five of them in a row end the start", function()
    s = server.launch { args = { "--boot-timeout", "0.2" }, workers = 2, app = [[
      local app = require("moonpool").app()
      app:on_start(function() require("moonpool").sleep(3600) end)
      return app
    ]] }
    s:wait_exit(20)
    assert.are.equal(5, s:count_log "error worker not ready in time, ending it slot=0")
    assert.are.same({ 100, 200, 400, 800 }, pauses())
    assert.are.equal(1, s:count_log "workers keep dying at boot deaths=5")
    s:finish("exit", 5)
  end)

  it("that is stuck in C while it boots is ended by the time of the boot, not by --timeout", function()
    s = server.launch { args = { "--boot-timeout", "0.9", "--timeout", "0.1" }, app = [[
      local found = (("a"):rep(4000)):find((".-"):rep(20) .. "b")
      return function() return found end
    ]] }
    s:wait_log("error worker not ready in time, ending it slot=0 gen=1 pid=%d+ waited_ms=9%d%d", 10)
    s:signal "TERM"
    s:finish("exit", 0)
  end)

  it("may boot for longer than --timeout", function()
    s = server.start { args = { "--timeout", "0.2" }, app = [[
      local moonpool = require "moonpool"
      local until_s = os.clock() + 0.7
      while os.clock() < until_s do end
      local app = moonpool.app()
      app:on_start(function() moonpool.sleep(1.5) end)
      app:get("/", function(_, res) res:text "hi" end)
      return app
    ]] }
    assert.are.equal("hi", s:get("/").body)
    assert.are.equal(1, s:count_log "worker ready")
    assert.are.equal(0, s:count_log " error ")
  end)
end)

describe("a reload", function()
  local s
  after_each(server.stop_all)

  it("whose first worker never gets ready is dropped when its time is over", function()
    s = server.start { app = "return function(_, res) res:text 'old' end\n", args = { "--boot-timeout", "1" } }
    local old = s:worker()
    server.write_file(s.app, [[
      local app = require("moonpool").app()
      app:on_start(function() require("moonpool").sleep(3600) end)
      return app
    ]])
    s:signal "HUP"
    s:wait_log "error worker not ready in time.*gen=2"
    s:wait_log "error reload failed, the old workers go on failed_gen=2 gen=1"
    assert.are.equal(old, s:worker())
    assert.are.equal("old", s:get("/").body)
    wait.never(function() return #s:workers() > 1 end, 0.5, "another try")
  end)

  it("that fails in one slot only keeps its old worker, says so once, and tries again", function()
    local app = [[
      local moonpool = require "moonpool"
      local w = moonpool.worker
      local file = w.generation > 1 and w.id == 2 and io.open "not-here"
      if file then error "not in this slot" end
      return function(_, res) res:text(w.id .. " of generation " .. w.generation) end
    ]]
    s = server.start { app = app, workers = 3, files = { ["not-here"] = "" } }
    s:signal "HUP"
    s:wait_log("error the pool is mixed: generation 2 runs, but not in every slot; an old worker stays slot=1")
    s:wait_log("worker ready slot=2 gen=2", 10)
    s:wait_log("starting it again after a pause slot=1 deaths=2 pause_ms=200", 10)
    local seen = {}
    for _, r in ipairs(client.at_once(s.port, 60, function() return "GET", "/" end)) do seen[r.body] = true end
    assert.is_nil(seen["2 of generation 2"])
    assert.is_nil(seen["1 of generation 1"])
    assert.are.equal(1, s:count_log "the pool is mixed")
    os.remove(s.folder .. "/not-here")
    s:wait_log("reloaded gen=2", 10)
    wait.until_true(function() return #s:workers() == 3 end, 5, "the old worker's end")
    for _, r in ipairs(client.at_once(s.port, 20, function() return "GET", "/" end)) do
      assert.is_truthy(r.body:find "generation 2")
    end
  end)
end)
