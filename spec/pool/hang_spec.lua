-- A worker that no hook gets out of what it does: the master names it, ends it and has another.
local client = require "spec.support.client"
local host = require "host"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text(tostring(moonpool.worker.pid)) end)
app:get("/waits", function(_, res) moonpool.sleep(30) res:text "never" end)
local function find_bomb() return (("a"):rep(4000)):find((".-"):rep(20) .. "b") end
app:get("/bomb", function(_, res) res:text(tostring(find_bomb())) end)
app:get("/gc", function()
  setmetatable({}, { __gc = function() while true do end end })
  collectgarbage()
end)
app:get("/handler", function() xpcall(error, function() while true do end end) end)
app:get("/mute", function()
  local file <close> = io.open "/proc/self/cmdline"
  require("gag").mute(tonumber(file:read("a"):match "%-%-control%-fd=(%d+)"))
  find_bomb()
end)
app:get("/piece", function(_, res)
  local until_s = moonpool.now() + 0.25
  while moonpool.now() < until_s do end
  res:text("piece of " .. moonpool.worker.pid)
end)
app:get("/short", function(_, res)
  local until_s = os.clock() + 0.8
  (("a"):rep(64)):gsub("a", function() end)
  while os.clock() < until_s do end
  res:text "short"
end)
return app
]]

describe("a worker that is stuck in C", function()
  local s
  after_each(server.stop_all)

  for path, where in pairs { ["/bomb"] = "find_bomb", ["/gc"] = "app.lua:8", ["/handler"] = "app.lua:11" } do
    it("is replaced in time, with its requests and its place in the log: " .. path, function()
      s = server.start { app = app, args = { "--timeout", 0.3 } }
      local dead = s:worker()
      assert.are.equal(tostring(dead), s:get("/").body)
      local waits, bomb = s:connect(), s:connect()
      waits:send(client.bytes("GET", "/waits"))
      wait.sleep(0.1)
      local begun = wait.now()
      bomb:send(client.bytes("GET", path))
      s:wait_log("worker ready", 10, 2)
      local took = wait.now() - begun
      assert.is_true(took < 0.3 + 1.5 + 0.3 * (wait.slow - 1), "replaced after " .. took)
      s:wait_log('pool error worker 1 %(pid ' .. dead .. '%) is stuck in C request="GET ' .. path .. '" held_ms=')
      assert.is_truthy(s:log():find('in flight for %d+ ms: "GET /waits"'))
      assert.is_truthy(s:log():find(where, 1, true))
      s:wait_log("worker hangs, ending it.*pid=" .. dead)
      assert.are_not.equal(tostring(dead), s:get("/").body)
      waits:close()
      bomb:close()
    end)
  end

  it("does not keep the others from answering", function()
    s = server.start { app = app, workers = 2, args = { "--timeout", 0.3 } }
    local bomb = s:connect()
    bomb:send(client.bytes("GET", "/bomb"))
    wait.sleep(0.1)
    for _ = 1, 5 do assert.are.equal(200, s:get("/").status) end
    s:wait_log("worker ready", 10, 3)
    bomb:close()
  end)

  it("lives without --timeout as long as it likes", function()
    s = server.start { app = app, args = { "--timeout", 0 } }
    assert.are.equal("short", s:get("/short").body)
    assert.are.equal(0, s:count_log "held")
  end)
end)

describe("a worker that gives no sign", function()
  local s
  after_each(server.stop_all)

  -- `unseen`: how long nobody may have looked before it stopped to give signs.
  local function replaced_in_time(dead, timeout, from, unseen)
    s:wait_log("worker ready", 10, s.size + 1)
    local took = wait.now() - from
    assert.is_true(took >= timeout + 1, "replaced after " .. took)
    assert.is_true(took < timeout + 1.5 + unseen + 0.3 * (wait.slow - 1), "replaced after " .. took)
    assert.is_false(proc.alive(dead))
  end

  it("because a signal has stopped it is named, ended and replaced", function()
    s = server.start { app = app, args = { "--timeout", 0.5 } }
    local dead, from = s:worker(), wait.now()
    assert.are.equal(tostring(dead), s:get("/").body)
    host.kill(dead, "STOP")
    replaced_in_time(dead, 0.5, from, 0.5)
    s:wait_log("pool error worker 1 %(pid " .. dead .. "%) is stopped by a signal, ending it silent_ms=%d+ in_flight=%d ")
    assert.are_not.equal(tostring(dead), s:get("/").body)
  end)

  it("for a short time is left alone", function()
    s = server.start { app = app, args = { "--timeout", 0.5 } }
    local pid = s:worker()
    for _ = 1, 3 do
      host.kill(pid, "STOP")
      wait.sleep(0.8)
      host.kill(pid, "CONT")
      assert.are.equal(tostring(pid), s:get("/").body)
      wait.sleep(0.6)
    end
    assert.are.equal(pid, s:worker())
    assert.are.equal(0, s:count_log " error ")
  end)

  it("because it is stuck in C, and its watchdog is not heard, is ended without its word", function()
    s = server.start { app = app, args = { "--timeout", 0.3 } }
    local dead, from, bomb = s:worker(), wait.now(), s:connect()
    bomb:send(client.bytes("GET", "/mute"))
    replaced_in_time(dead, 0.3, from, 0)
    s:wait_log("worker 1 %(pid " .. dead .. "%) gives no sign of life, ending it silent_ms=%d+ in_flight=1")
    assert.are.equal(0, s:count_log "is stuck in C")
    bomb:close()
  end)

  it("while another one serves holds up nobody", function()
    s = server.start { app = app, workers = 2, args = { "--timeout", 0.5 } }
    local dead = s:worker()
    host.kill(dead, "STOP")
    for _ = 1, 10 do assert.are.equal(200, s:get("/").status) end
    s:wait_log("worker ready", 10, 3)
  end)

  it("lives without --timeout as long as it likes", function()
    s = server.start { app = app, args = { "--timeout", 0 } }
    local pid = s:worker()
    host.kill(pid, "STOP")
    wait.never(function() return not proc.alive(pid) end, 2.2, "its end")
    host.kill(pid, "CONT")
    assert.are.equal(tostring(pid), s:get("/").body)
  end)

  it("is not one that works for long in short pieces", function()
    s = server.start { app = app, args = { "--timeout", 0.8 } }
    local pid = s:worker()
    local answers = client.at_once(s.port, 14, function() return "GET", "/piece" end)
    for _, r in ipairs(answers) do assert.are.equal("piece of " .. pid, r.body) end
    assert.are.equal(0, s:count_log " error ")
  end)
end)
