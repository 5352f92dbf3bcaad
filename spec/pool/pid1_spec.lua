-- As process 1 of a container: strangers come to it, and end as they like.
local client = require "spec.support.client"
local host = require "host"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "hi" end)
app:get("/run", function(_, res) res:text(tostring(moonpool.run { "sh", "-c", "exit 27" })) end)
return app
]]

local unshare = { "/usr/bin/env", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child" }
local allowed = os.execute "unshare --pid --fork --mount-proc true 2>/dev/null"
  and os.execute "command -v nsenter >/dev/null"

describe("process 1", function()
  local s, master
  if not allowed then
    pending "new pid namespaces are not allowed here"
    return
  end
  after_each(server.stop_all)

  local function start(script)
    local wrapper = { table.unpack(unshare) }
    for _, word in ipairs { "sh", "-c", script or 'exec "$@"', "sh" } do wrapper[#wrapper + 1] = word end
    s = server.start { app = app, wrapper = wrapper, workers = 2 }
    master = proc.children(s.pid)[1]
    assert.matches("^%S*moonpool serve", proc.command(master))
    assert.matches("%s1$", proc.field(master, "NSpid"))
  end

  local function workers()
    local found = {}
    for _, pid in ipairs(proc.children(master)) do
      if proc.command(pid):find "moonpool worker" then found[#found + 1] = pid end
    end
    return found
  end

  local function stop()
    host.kill(master, "TERM")
    s:finish("exit", 0)
  end

  it("serves, and ends on TERM with 0", function()
    start()
    assert.are.equal("exit 27", s:get("/run").body)
    stop()
  end)

  it("reaps strangers, whatever their status, and goes on", function()
    start()
    local before = workers()
    for code = 0, 5 do
      assert(os.execute(("nsenter -t %d -p sh -c '(sleep 0.1; exit %d) & exit 0'"):format(master, code)))
    end
    server.write_script(s.folder .. "/crash.sh", "sleep 0.1\nkill -SEGV $$\n")
    assert(os.execute(("nsenter -t %d -p sh -c '%s/crash.sh & exit 0'"):format(master, s.folder)))
    wait.until_true(function() return #proc.children(master) == 2 and #proc.zombies(master) == 0 end, 10, "their end")
    wait.sleep(0.2)
    assert.are.same(before, workers())
    assert.are.equal(0, #proc.zombies(master))
    assert.are.equal("exit 27", s:get("/run").body)
    assert.are.equal(0, s:count_log " error ")
    stop()
  end)

  it("reaps a child that it had before, in its own group, and ends it only by its own end", function()
    start 'sleep 0.3 & sleep 3629 & exec "$@"'
    wait.until_true(function() return #proc.children(master) == 3 and #proc.zombies(master) == 0 end, 10, "the first one's end")
    host.kill(workers()[1], "KILL")
    s:wait_log("worker ready", 10, 3)
    wait.sleep(0.3)
    local found = 0
    for _, pid in ipairs(proc.children(master)) do
      if proc.command(pid) == "sleep 3629" then found = found + 1 end
    end
    assert.are.equal(1, found)
    stop()
  end)

  it("ends what a worker has left behind, that escaped its group too", function()
    start()
    local c = s:connect()
    c:send(client.bytes("GET", "/"))
    c:response()
    local worker = workers()[1]
    assert(os.execute(("nsenter -t %d -p sh -c 'setsid sleep 3631 & exit 0'"):format(master)))
    wait.until_true(function() return #proc.children(master) == 3 end, 10, "the stranger")
    host.kill(worker, "KILL")
    wait.until_true(function() return #proc.children(master) == 2 and #workers() == 2 end, 10, "its end")
    c:close()
    stop()
  end)

  it("refuses USR2, and goes on", function()
    start()
    local before = workers()
    host.kill(master, "USR2")
    s:wait_log "pool error no upgrade: process 1 cannot be followed"
    assert.are.same(before, workers())
    assert.are.equal("hi", s:get("/").body)
    stop()
  end)
end)
