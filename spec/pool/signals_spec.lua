-- TERM, INT and QUIT to the master, and what becomes of work under way.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "hi" end)
app:get("/slow", function(_, res)
  moonpool.log.info "slow begun"
  moonpool.sleep(0.5)
  res:text "ended well"
end)
app:get("/child", function(_, res)
  moonpool.log.info "child begun"
  res:text(tostring(moonpool.run({ "sh", "-c", "sleep 0.5; exit 27" }).code))
end)
app:get("/stuck", function(_, res)
  moonpool.log.info "stuck begun"
  moonpool.run { "sh", "-c", "trap '' TERM; sleep 3610 & while :; do sleep 0.05; done", grace = 0.2 }
  res:text "never"
end)
app:get("/task", function(_, res)
  moonpool.spawn(function()
    moonpool.sleep(0.4)
    moonpool.log.info "the task came to its end"
  end)
  res:text "ok"
end)
app:on_stop(function()
  moonpool.sleep(0.01)
  moonpool.log.info "on_stop ran"
end)
return app
]]

describe("TERM", function()
  local s
  after_each(server.stop_all)

  local function asked(path)
    local c = s:connect()
    assert(c:send(client.bytes("GET", path)))
    return c
  end

  it("ends an idle server at once, with 0", function()
    s = server.start { app = app, workers = 2 }
    local workers = s:workers()
    assert.are.equal(2, #workers)
    local took = wait.took(s.stop, s)
    assert.is_true(took < 1.5 * wait.slow, took)
    for _, pid in ipairs(workers) do assert.is_false(proc.alive(pid)) end
  end)

  it("lets requests in flight finish", function()
    s = server.start { app = app, workers = 2 }
    local slow, child = asked "/slow", asked "/child"
    s:wait_log "slow begun"
    s:wait_log "child begun"
    s:signal "TERM"
    assert.are.equal("ended well", slow:response().body)
    assert.are.equal("27", child:response().body)
    s:wait_log "on_stop ran"
    s:finish("exit", 0)
  end)

  it("closes the port and idle connections at once", function()
    s = server.start { app = app }
    local idle = s:connect()
    assert.are.equal("hi", idle:ask("GET", "/").body)
    local slow = asked "/slow"
    s:wait_log "slow begun"
    s:signal "TERM"
    assert.is_true(idle:at_eof())
    assert.is_false((pcall(client.connect, s.port)))
    local r = slow:response()
    assert.are.equal("ended well", r.body)
    assert.are.equal("close", r.headers.connection)
    s:finish("exit", 0)
  end)

  it("waits for tasks that outlived their request", function()
    s = server.start { app = app }
    assert.are.equal("ok", s:get("/task").body)
    s:signal "TERM"
    s:wait_exit()
    assert.are.equal(1, s:count_log "the task came to its end")
    s:finish("exit", 0)
  end)

  it("ends what is not over in time: processes that ignore TERM too", function()
    s = server.start { app = app, args = { "--graceful-timeout", "0.5" } }
    local stuck = asked "/stuck"
    s:wait_log "stuck begun"
    wait.until_true(function() return #proc.named "sleep 3610" > 0 end, 3, "the child")
    s:signal "TERM"
    local took = wait.took(s.wait_exit, s)
    assert.is_true(took < 1.5 * wait.slow + 1, took)
    s:finish("exit", 0)
    assert.are.equal(0, #proc.named "sleep 3610")
    stuck:close()
  end)

  it("sent twice ends at once", function()
    s = server.start { app = app }
    local stuck = asked "/stuck"
    s:wait_log "stuck begun"
    s:signal "TERM"
    wait.sleep(0.1)
    s:signal "TERM"
    local took = wait.took(s.wait_exit, s)
    assert.is_true(took < 2 * wait.slow, took)
    s:finish("exit", 0)
    stuck:close()
  end)

  for _, name in ipairs { "INT", "QUIT" } do
    it("may be " .. name .. ", which ends at once", function()
      s = server.start { app = app, workers = 2 }
      local stuck = asked "/stuck"
      s:wait_log "stuck begun"
      s:signal(name)
      local took = wait.took(s.wait_exit, s)
      assert.is_true(took < 2 * wait.slow, took)
      s:finish("exit", 0)
      stuck:close()
    end)
  end
end)

describe("the workers", function()
  it("have groups of their own, so that ^C reaches the master alone", function()
    local s = server.start { app = app, workers = 2 }
    for _, pid in ipairs(s:workers()) do assert.are_not.equal(proc.stat(s.pid).group, proc.stat(pid).group) end
    s:stop()
  end)

  it("are as many as asked for, and take turns", function()
    local s = server.start { workers = 3, app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      app:get("/", function(_, res)
        moonpool.sleep(0.02)
        res:text(moonpool.worker.id .. " " .. moonpool.worker.pid .. " " .. moonpool.worker.generation)
      end)
      return app
    ]] }
    local pids = s:workers()
    assert.are.equal(3, #pids)
    local seen = {}
    for _, r in ipairs(client.at_once(s.port, 90, function() return "GET", "/" end)) do
      local id, pid, generation = r.body:match "^(%d+) (%d+) (%d+)$"
      assert.is_truthy(id and tonumber(id) >= 1 and tonumber(id) <= 3, r.body)
      assert.are.equal("1", generation)
      seen[tonumber(pid)] = true
    end
    for pid in pairs(seen) do assert.is_true(pid == pids[1] or pid == pids[2] or pid == pids[3]) end
    s:stop()
  end)

  it("hold no descriptor of the master's but sockets, pipe and shared page", function()
    local s = server.start { app = app }
    for fd, target in pairs(proc.fds(s:worker())) do
      assert.is_nil(target:find "^/proc" or target:find "%.lua", ("%d is %s"):format(fd, target))
    end
    s:stop()
  end)
end)
