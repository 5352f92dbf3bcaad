-- A worker that dies: replaced, its children gone, the others not touched.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text(tostring(moonpool.worker.pid)) end)
app:get("/child", function(_, res)
  moonpool.log.info("child begun in " .. moonpool.worker.pid)
  local r = moonpool.run { "sh", "-c", "sleep 3611 & sh -c 'sleep 3611; :'; exit 1" }
  res:text(tostring(r))
end)
app:get("/escaped", function(_, res)
  moonpool.log.info("escape begun in " .. moonpool.worker.pid)
  moonpool.run { "sh", "-c", "setsid sleep 3612 & sleep 3612" }
  res:text "never"
end)
app:get("/waits/:n", function(_, res) moonpool.sleep(30) res:text "never" end)
app:get("/spin", function() while true do end end)
app:get("/right", function(_, res)
  res:text(tostring(moonpool.run({ "sh", "-c", "sleep 0.8; exit 27" }).code))
end)
return app
]]

describe("a worker that dies", function()
  local s
  after_each(server.stop_all)

  local function replaced(dead, count)
    wait.until_true(function()
      local now = s:workers()
      for _, pid in ipairs(now) do
        if pid == dead then return false end
      end
      return #now == count and s:count_log "worker ready" > count
    end, 5, "a new worker")
  end

  it("is replaced, and named in the log", function()
    s = server.start { app = app }
    local dead = s:worker()
    assert.are.equal(tostring(dead), s:get("/").body)
    require("host").kill(dead, "KILL")
    replaced(dead, 1)
    s:wait_log(("%d.*SIGKILL"):format(dead))
    assert.are.equal(tostring(s:worker()), s:get("/").body)
    assert.are.same({}, proc.zombies(s.pid))
  end)

  it("of a crash in C is replaced, too", function()
    s = server.start { app = app }
    local dead = s:worker()
    s:get "/"
    require("host").kill(dead, "ABRT")
    replaced(dead, 1)
    s:wait_log(("%d.*SIGABRT"):format(dead))
    assert.are.equal(tostring(s:worker()), s:get("/").body)
  end)

  local function park(paths)
    local conns = {}
    for i, path in ipairs(paths) do
      conns[i] = s:connect()
      conns[i]:send(client.bytes("GET", path))
    end
    return conns
  end

  local function close(conns)
    for _, c in ipairs(conns) do c:close() end
  end

  it("leaves its age, its memory and each request that was in flight in one entry of the log", function()
    s = server.start { app = app, workers = 2 }
    local dead
    local conns = park { "/waits/1" }
    wait.sleep(0.15)
    for _, c in ipairs(park { "/waits/2?x=%22", "/waits/3" }) do conns[#conns + 1] = c end
    s:get "/"
    wait.sleep(0.1)
    for _, pid in ipairs(s:workers()) do require("host").kill(pid, "ABRT") end
    s:wait_log("worker ready", 10, 4)
    local in_flight, log = 0, s:log()
    for pid, n in log:gmatch "pool error worker %d %(pid (%d+)%) killed by SIGABRT[^\n]- after %d+ s, (%d+) requests? in flight" do
      dead, in_flight = pid, in_flight + n
    end
    assert.is_truthy(dead)
    assert.are.equal(3, in_flight)
    assert.is_truthy(log:find "in flight slot=%d gen=1 pid=%d+ requests=%d+ rss_kb=[1-9]%d%d%d+")
    local age = tonumber(log:match '\n\tin flight for (%d+) ms: "GET /waits/1" id="%x+"\n')
    assert.is_true(age >= 200, "age " .. tostring(age))
    assert.is_truthy(log:find('in flight for %d+ ms: "GET /waits/2%?x=%%22" id="%x+"\n'))
    assert.is_truthy(log:find('in flight for %d+ ms: "GET /waits/3" id="%x+"\n'))
    close(conns)
  end)

  it("while Lua runs names the request for which it ran", function()
    s = server.start { app = app }
    local conns = park { "/waits/1", "/spin" }
    wait.until_true(function() return proc.cpu(s:worker()) > 0.3 end, 5, "the loop")
    require("host").kill(s:worker(), "KILL")
    s:wait_log "killed by SIGKILL after %d+ s, 2 requests in flight"
    s:wait_log 'in flight for %d+ ms: "GET /spin" id="%x+" %(running%)'
    assert.is_nil(s:log():find '"GET /waits/1" id="%x+" %(running%)')
    close(conns)
  end)

  it("with more requests than are listed says how many more there are", function()
    s = server.start { app = app }
    local paths = {}
    for i = 1, 100 do paths[i] = "/waits/" .. i end
    local conns = park(paths)
    wait.until_true(function() return s:get("/").status == 200 end)
    wait.sleep(0.3)
    require("host").kill(s:worker(), "KILL")
    s:wait_log "killed by SIGKILL after %d+ s, 100 requests in flight"
    s:wait_log "\tand 84 more"
    assert.are.equal(16, s:count_log "^\tin flight for")
    close(conns)
  end)

  it("with no request in flight says so", function()
    s = server.start { app = app }
    for _ = 1, 3 do s:get "/" end
    -- What it has answered it tells when its loop goes to sleep.
    wait.until_true(function() return proc.stat(s:worker()).state == "S" end, 5, "its sleep")
    require("host").kill(s:worker(), "KILL")
    s:wait_log "killed by SIGKILL after %d+ s, 0 requests in flight slot=0 gen=1 pid=%d+ requests=3 rss_kb="
    assert.are.equal(0, s:count_log "^\tin flight")
  end)

  for path, word in pairs { ["/child"] = "sleep 3611", ["/escaped"] = "sleep 3612" } do
    it("takes its children along, and theirs: " .. path, function()
      s = server.start { app = app, workers = 2 }
      local c = s:connect()
      c:send(client.bytes("GET", path))
      local dead = tonumber(s:wait_log "begun in (%d+)")
      wait.until_true(function() return #proc.named(word) >= 2 end, 3, "the children")
      require("host").kill(dead, "KILL")
      wait.until_true(function() return #proc.named(word) == 0 end, 1, "the children's end")
      replaced(dead, 2)
      c:close()
    end)
  end

  it("spoils no answer of another worker", function()
    s = server.start { app = app, workers = 2 }
    s:get "/"
    local victim = s:workers()[1]
    local answers = client.together(16, function()
      local c = client.shared(s.port)
      local pid = tonumber(c:ask("GET", "/").body)
      local ok, r = pcall(c.ask, c, "GET", "/right")
      return { pid = pid, body = ok and r.body }
    end)
    for _, a in ipairs(answers) do assert.are.equal("27", a.value.body) end

    local killed = false
    local seen = {}
    client.beside(16, function(n)
      local c = client.shared(s.port)
      local pid = tonumber(c:ask("GET", "/").body)
      local ok, r = pcall(c.ask, c, "GET", "/right")
      seen[n] = { pid = pid, body = ok and r.body }
    end, function()
      if not killed then
        killed = true
        wait.sleep(0.3)
        require("host").kill(victim, "KILL")
      end
      return true
    end)
    for _, a in ipairs(seen) do
      if a.pid ~= victim then assert.are.equal("27", a.body) end
    end
    replaced(victim, 2)
  end)

  it("again and again is replaced again and again", function()
    s = server.start { app = app }
    for _ = 1, 5 do
      local dead = wait.until_true(function() return s:worker() end, 5, "a worker")
      wait.until_true(function() return s:count_log("worker ready.*pid=" .. dead) > 0 end, 5, "it to be ready")
      s:get "/"
      require("host").kill(dead, "KILL")
      wait.until_true(function() return s:worker() and s:worker() ~= dead end, 5, "its successor")
    end
    wait.until_true(function() return pcall(s.get, s, "/") end, 5, "an answer")
  end)
end)
