-- Older kernels: each way round of the recipe is gone by the server itself, on a kernel that answers as an old one would.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local thief = require "thief"

local function told(r, err, code)
  if not r then return ("failed: %s|%s"):format(err, code) end
  return tostring(r) .. (r.held and " held" or "") .. (r.stdout and " " .. r.stdout:gsub("\n", "") or "")
end
app:get("/run/:n", function(req, res) res:text(told(moonpool.run { "sh", "-c", "echo out; exit " .. req.params.n })) end)
app:get("/signal", function(_, res) res:text(told(moonpool.run { "sh", "-c", "kill -9 $$" })) end)
app:get("/missing", function(_, res) res:text(told(moonpool.run { "/no/such/program" })) end)
app:get("/timeout", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "sleep 3621 & sleep 3621", timeout = 0.2 }))
end)
app:get("/group", function(_, res)
  res:text(told(moonpool.run { "sh", "-c", "sleep 3622 >/dev/null 2>&1 & exit 4", linger = 0.1 }))
end)
app:get("/fds", function(_, res)
  local leak = assert(io.open "/dev/zero")
  res:text(moonpool.run({ "ls", "-l", "/proc/self/fd" }).stdout)
  leak:close()
end)
app:get("/signals", function(_, res) res:text(moonpool.run({ "cat", "/proc/self/status" }).stdout) end)
app:get("/kill-late", function(_, res)
  local p = moonpool.spawn { "true" }
  p:wait()
  res:text(select(3, p:kill()))
end)
app:get("/all", function(_, res)
  local list = {}
  for n = 0, 99 do list[n + 1] = moonpool.spawn { "sh", "-c", "exit " .. n } end
  local wrong = 0
  for i, r in ipairs(moonpool.wait_all(list)) do wrong = wrong + (r.code == i - 1 and 0 or 1) end
  res:text("wrong " .. wrong)
end)
app:get("/execute", function(_, res)
  local ok, how, n = os.execute "exit 7"
  res:text(("%s %s %s"):format(ok, how, n))
end)
app:get("/stolen", function(_, res)
  thief.reap()
  local lost, wrong = 0, 0
  for n = 1, 40 do
    local r = moonpool.run { "sh", "-c", "exit " .. n }
    if r.reason == "lost" and r.code == nil and not r.ok then lost = lost + 1
    elseif r.code ~= n then wrong = wrong + 1 end
  end
  thief.stop()
  res:text(("%s %d"):format(lost > 0, wrong))
end)
app:get("/long", function() moonpool.run { "sh", "-c", "sleep 3623 & sleep 3623" } end)
app:static("/files", "public")
return app
]]

local lacks = {
  ["without CLONE_PIDFD (before 5.2)"] = { "clone_pidfd" },
  ["without waitid by pidfd (before 5.4)"] = { "waitid_pidfd" },
  ["without any pidfd"] = { "clone_pidfd", "pidfd_open", "pidfd_send_signal", "waitid_pidfd", "pidfd_info" },
  ["without close_range (before 5.9)"] = { "close_range" },
  ["without all of it"] = {
    "clone_pidfd", "pidfd_open", "pidfd_send_signal", "waitid_pidfd", "pidfd_info", "close_range", "openat2",
  },
}

for kernel, names in pairs(lacks) do
  describe("on a kernel " .. kernel .. " a process", function()
    local s
    setup(function() s = server.start { app = app, lacks = names, files = { ["public/a.txt"] = "a" } } end)
    teardown(function() s:stop() end)

    local function says(path, text) assert.are.equal(text, s:get(path).body, path) end
    local function gone(word)
      wait.until_true(function() return #proc.named(word) == 0 end, 2, word .. " to be gone")
    end

    it("tells how it ended", function()
      assert.are.equal("2", proc.field(s:worker(), "Seccomp")) -- the filter is there
      says("/run/27", "exit 27 out")
      says("/signal", "killed by SIGKILL ")
      says("/all", "wrong 0")
      says("/execute", "nil exit 7")
      says("/kill-late", "ESRCH")
      assert.are.same({}, proc.zombies(s:worker()))
    end)

    it("that cannot start says why", function()
      says("/missing", "failed: run: /no/such/program: no such file or directory|ENOENT")
    end)

    it("ends with its group", function()
      says("/timeout", "killed by SIGTERM (timeout 0.2 s) ")
      gone "sleep 3621"
      says("/group", "exit 4 ")
      gone "sleep 3622"
    end)

    it("ends with its request", function()
      local c = s:connect()
      c:send(client.bytes("GET", "/long"))
      wait.until_true(function() return #proc.named "sleep 3623" >= 2 end, 5, "the children")
      c:rst()
      gone "sleep 3623"
    end)

    it("inherits three descriptors and no signal", function()
      local body = s:get("/fds").body
      for fd, target in body:gmatch " (%d+) %-> ([^\n]+)" do
        assert.is_true(tonumber(fd) <= 2 or target:find "^/proc/%d+/fd" ~= nil, body)
      end
      body = s:get("/signals").body
      for _, name in ipairs { "SigBlk", "SigIgn", "SigCgt" } do
        assert.is_truthy(body:find("\n" .. name .. ":%s+0+\n"), body)
      end
    end)

    it("dies with its worker", function()
      local old, c = s:worker(), s:connect()
      c:send(client.bytes("GET", "/long"))
      wait.until_true(function() return #proc.named "sleep 3623" >= 2 end, 5, "the children")
      require("host").kill(old, "KILL")
      gone "sleep 3623"
      wait.until_true(function() return s:worker() and s:worker() ~= old end, 5, "a new worker")
      s:wait_log("worker ready", 10, 2)
      says("/run/3", "exit 3 out")
    end)
  end)
end

describe("on a kernel that does not keep the status of what is reaped (before 6.15)", function()
  it("a stolen status is lost, and never made up", function()
    local s = server.start { app = app, lacks = { "pidfd_info" }, files = { ["public/a.txt"] = "a" } }
    local body = s:get("/stolen").body
    assert.is_truthy(body:find " 0$", body) -- how many the thief gets is his luck
    if body:find "^true" then s:wait_log "the status of process %d+ %(sh%) was taken by something else" end
    s:stop()
  end)
end)

describe("on a kernel without openat2 (before 5.6)", function()
  it("no way leads out of a folder", function()
    local s = server.start { app = app, lacks = { "openat2" }, files = {
      ["public/a.txt"] = "inside", ["public/sub/b.txt"] = "below", ["secret.txt"] = "outside" } }
    assert(os.execute(("ln -s ../secret.txt '%s/public/out'; ln -s a.txt '%s/public/in'; ln -s .. '%s/public/up'")
      :format(s.folder, s.folder, s.folder)))
    assert.are.equal("inside", s:get("/files/a.txt").body)
    assert.are.equal("below", s:get("/files/sub/b.txt").body)
    assert.are.equal("inside", s:get("/files/in").body)
    for _, path in ipairs { "/files/out", "/files/up/secret.txt", "/files/../secret.txt", "/files/%2e%2e/secret.txt" } do
      local r = s:get(path)
      assert.is_true(r.status == 404 or r.status == 400, path .. " " .. r.status)
    end
    s:stop()
  end)
end)
