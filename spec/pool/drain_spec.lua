-- What a worker that leaves waits for: what its requests have begun, within --graceful-timeout; not what it does by itself.
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

app:on_start(function()
  moonpool.background(function()
    while true do moonpool.sleep(60) end
  end)
  moonpool.spawn { "sleep", "3671", detach = true }
end)
app:get("/background", function(_, res)
  moonpool.background(function()
    moonpool.log.info "background begun"
    moonpool.sleep(0.4)
    moonpool.background(function()
      moonpool.sleep(0.2)
      moonpool.log.info("background done draining=" .. tostring(moonpool.worker.draining))
    end)
  end)
  res:text "answered"
end)
app:get("/detached", function(_, res)
  assert(moonpool.spawn { "sh", "-c", "sleep 0.7; echo finished > detached.txt", detach = true })
  res:text "answered"
end)
app:get("/timer", function(_, res)
  moonpool.every(0.05, function(timer)
    timer:cancel()
    moonpool.log.info "firing begun"
    moonpool.sleep(0.4)
    moonpool.log.info "firing done"
  end)
  res:text "answered"
end)
app:get("/endless", function(_, res)
  moonpool.background(function()
    local ok, err = pcall(moonpool.sleep, 3600)
    moonpool.log.info("endless cancelled=" .. tostring(not ok and err == moonpool.cancelled))
    error(err)
  end)
  moonpool.spawn { "sleep", "3673", detach = true }
  res:text "answered"
end)
return app
]]

describe("a worker that leaves", function()
  after_each(server.stop_all)

  it("does not wait for what it does by itself", function()
    local s = server.start { app = app, args = { "--graceful-timeout", 30 } }
    local took = wait.took(s.stop, s, 8)
    assert.is_true(took < 5 * wait.slow, took)
    assert.are.same({}, proc.named "sleep 3671")
  end)

  for path, word in pairs { ["/background"] = "background begun", ["/timer"] = "firing begun" } do
    it("lets what a request has begun finish: " .. path, function()
      local s = server.start { app = app }
      assert.are.equal("answered", s:get(path).body)
      s:wait_log(word)
      s:signal "TERM"
      assert.are.same({ "exit", 0 }, { s:wait_exit() })
      assert.are.equal(1, s:count_log(path == "/timer" and "firing done" or "background done draining=true"))
      assert.are.equal(0, s:count_log "not drained in time")
      s:finish("exit", 0)
    end)
  end

  it("lets a request's detached process finish", function()
    local s = server.start { app = app }
    assert.are.equal("answered", s:get("/detached").body)
    s:signal "TERM"
    s:wait_exit()
    assert.are.equal("finished\n", server.read_file(s.folder .. "/detached.txt"))
    s:finish("exit", 0)
  end)

  it("waits no longer than --graceful-timeout", function()
    local s = server.start { app = app, args = { "--graceful-timeout", 1 } }
    assert.are.equal("answered", s:get("/endless").body)
    wait.until_true(function() return #proc.named "sleep 3673" == 1 end, 2, "the detached process")
    s:signal "TERM"
    local took = wait.took(s.wait_exit, s)
    assert.is_true(took < 3 * wait.slow, took)
    assert.are.equal(1, s:count_log "not drained in time.*background=2")
    assert.are.equal(1, s:count_log "endless cancelled=true")
    assert.are.same({}, proc.named "sleep 3673")
    s:finish("exit", 0)
  end)

  it("finishes beside its successor, which answers meanwhile", function()
    local s = server.start { app = app }
    local old = s:worker()
    assert.are.equal("answered", s:get("/background").body)
    s:wait_log "background begun"
    s:signal "HUP"
    s:wait_log("worker ready", 10, 2)
    assert.are.equal("answered", s:get("/background").body)
    s:wait_log "background done draining=true"
    wait.until_true(function() return not proc.alive(old) end, 5, "the old worker's end")
    s:stop()
  end)
end)
