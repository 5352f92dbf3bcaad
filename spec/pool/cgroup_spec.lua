-- A cgroup for each worker, where a cgroup v2 was delegated: what a worker has started ends with it in one stroke.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "ok" end)
app:get("/long", function() moonpool.run { "sh", "-c", "setsid sh -c 'sleep 3661 & sleep 3661' & sleep 3661" } end)
return app
]]

-- A cgroup of the spec's own, delegated; or nil and why there can be none here.
local function make_cgroup(delegate)
  local mount
  for line in io.lines "/proc/self/mounts" do
    local path, kind = line:match "^%S+ (%S+) (%S+)"
    if kind == "cgroup2" then mount = mount or path end
  end
  if not mount then return nil, "there is no cgroup v2 here" end
  local own = server.read_file("/proc/self/cgroup"):match "0::(/[^\n]*)"
  local folder = ("%s%s/moonpool-spec-%d"):format(mount, own == "/" and "" or own, host.pid())
  if not lfs.mkdir(folder) then return nil, "no cgroup can be made at " .. folder end
  local ok = lfs.attributes(folder .. "/cgroup.kill", "mode") and (not delegate or host.setxattr(folder, "user.delegate", "1"))
  if ok then return folder end
  lfs.rmdir(folder)
  return nil, "the kernel has no cgroup.kill, or no attributes of cgroups"
end

local function groups(folder)
  local found = {}
  for name in lfs.dir(folder) do
    if name:find "^moonpool%-" then found[#found + 1] = folder .. "/" .. name end
  end
  return found
end
local function members(group)
  local pids = {}
  for pid in server.read_file(group .. "/cgroup.procs"):gmatch "%d+" do pids[tonumber(pid)] = true end
  return pids
end

local folder, why = make_cgroup(true)
if folder then lfs.rmdir(folder) end

describe("a worker's cgroup", function()
  if not folder then
    pending("is not there: " .. why)
    return
  end
  local cg
  local function start(delegate, options)
    cg = assert(make_cgroup(delegate))
    options = options or {}
    options.app = app
    options.wrapper = { "/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cg }
    return server.start(options)
  end
  after_each(function()
    server.stop_all()
    wait.until_true(function() return lfs.rmdir(cg) end, 3, "its folder to be removed")
  end)

  it("holds it and all that it starts, and goes with it", function()
    local s = start(true, { workers = 2 })
    assert.are.equal(2, #groups(cg))
    local c = s:connect()
    c:send(client.bytes("GET", "/long"))
    wait.until_true(function() return #proc.named "sleep 3661" >= 4 end, 5, "the children")
    for _, pid in ipairs(proc.named "sleep 3661") do
      local there = false
      for _, group in ipairs(groups(cg)) do there = there or members(group)[pid] ~= nil end
      assert.is_true(there, proc.command(pid))
    end
    for _, pid in ipairs(s:workers()) do host.kill(pid, "KILL") end
    wait.until_true(function() return #proc.named "sleep 3661" == 0 end, 1, "its children to be gone")
    s:wait_log("worker ready", 10, 4)
    wait.until_true(function() return #groups(cg) == 2 end, 3, "the old ones to be removed")
    s:stop()
    assert.are.same({}, groups(cg))
  end)

  it("is new after a reload, and what masters before have left is taken away", function()
    cg = nil
    local s = start(true)
    assert.is_true(lfs.mkdir(cg .. "/moonpool-999999999-7"))
    local before = groups(cg)
    s:signal "HUP"
    s:wait_log("worker ready", 10, 2)
    wait.until_true(function() return #groups(cg) == 2 end, 5, "the old one to be removed")
    assert.are_not.same(before, groups(cg))
    s:stop()
    local again = server.start { app = app, wrapper = { "/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cg } }
    assert.are.equal(1, #groups(cg))
    again:stop()
  end)

  it("is none where nothing was delegated", function()
    if proc.field(host.pid(), "Uid"):match "^%d+" ~= "0" then return pending "what is ours is delegated to us" end
    local s = start(false)
    assert.are.same({}, groups(cg))
    assert.are.equal("ok", s:get("/").body)
    s:stop()
  end)
end)
