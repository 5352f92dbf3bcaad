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
