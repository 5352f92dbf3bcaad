-- --user, --group, --umask, --no-new-privs: as whom the app runs, while the master keeps what it needs.
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "hi" end)
app:get("/child", function(_, res) res:text(moonpool.run({ "cat", "/proc/self/status" }).stdout) end)
app:get("/touch", function(_, res)
  assert(moonpool.write_file("/tmp/moonpool-spec-" .. moonpool.worker.pid, "x"))
  res:text("/tmp/moonpool-spec-" .. moonpool.worker.pid)
end)
app:get("/stay", function()
  moonpool.log.info "child begun"
  moonpool.run { "sleep", "3623" }
end)
app:get("/say", function(_, res)
  print "said by the app"
  res:text "ok"
end)
return app
]]

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a"):gsub("%s+$", "")
  pipe:close()
  return text
end

local root = output_of "id -u" == "0"

describe("a server started by root", function()
  local s
  after_each(server.stop_all)

  if not root then
    pending "as another user: the specs do not run as root"
    return
  end

  local function start(...)
    s = server.start { app = app, args = { ... }, open = true }
    return s
  end

  -- Of a worker, or of a child of it, from the text of its status file.
  local function facts(text)
    local function field(name) return (text:match("\n" .. name .. ":%s*([^\n]*)"):gsub("%s+", " "):gsub(" $", "")) end
    return { uid = field "Uid", gid = field "Gid", groups = field "Groups", privs = field "NoNewPrivs", umask = field "Umask" }
  end

  local function worker_facts() return facts(server.read_file(("/proc/%d/status"):format(s:worker()))) end
  local function child_facts() return facts(s:get("/child").body) end
  local function four(id) return ("%s %s %s %s"):format(id, id, id, id) end

  it("without --user says so, once", function()
    start("--workers", "2")
    assert.are.equal(1, s:count_log "warn workers run as root")
    assert.are.equal(four "0", worker_facts().uid)
    s:stop()
  end)

  it("runs workers and their children as --user, with all its groups and no way up", function()
    local name = "nobody"
    start("--user", name, "--umask", "027")
    local expected = {
      uid = four(output_of("id -u " .. name)), gid = four(output_of("id -g " .. name)),
      groups = output_of("id -G " .. name), privs = "1", umask = "0027",
    }
    assert.are.same(expected, worker_facts())
    assert.are.same(expected, child_facts())
    assert.are.equal(four "0", facts(server.read_file(("/proc/%d/status"):format(s.pid))).uid)
    assert.are.equal(0, s:count_log "run as root")
    s:stop()
  end)

  it("takes a group of its own, numbers, and a user that nobody has written down", function()
    start("--user", "nobody", "--group", "daemon")
    local gid = output_of "getent group daemon | cut -d: -f3"
    assert.are.equal(four(gid), worker_facts().gid)
    assert.is_truthy((" " .. worker_facts().groups .. " "):find(" " .. gid .. " ", 1, true))
    s:stop()
    start("--user", "54321", "--group", "54322")
    assert.are.same({ uid = four "54321", gid = four "54322", groups = "54322", privs = "1",
                      umask = proc.field(s.pid, "Umask") }, worker_facts())
    s:stop()
    start("--group", "54322")
    assert.are.equal(four "0", worker_facts().uid)
    assert.are.equal(four "54322", child_facts().gid)
    assert.are.equal("54322", child_facts().groups)
    s:stop()
  end)

  it("leaves set-uid programs their right with --no-new-privs off, and takes it with it on", function()
    start("--user", "nobody", "--no-new-privs", "off")
    assert.are.equal("0", child_facts().privs)
    s:stop()
    start "--no-new-privs"
    assert.are.equal("1", child_facts().privs)
    s:stop()
  end)

  it("gives files the mode that --umask leaves", function()
    start("--umask", "077")
    local file = s:get("/touch").body
    assert.are.equal("rw-------", lfs.attributes(file, "permissions"))
    os.remove(file)
    s:stop()
  end)

  local wrong = {
    { { "--user", "no-such-user" }, "user: there is no user no%-such%-user" },
    { { "--group", "no-such-group" }, "group: there is no group no%-such%-group" },
    { { "--user", "54321" }, "54321 .*group" },
    { { "--user", "nobody", "--group", "-1" }, "group %-1" },
    { { "--umask", "999" }, "umask: .*999" },
    { { "--umask", "1777" }, "umask: .*1777" },
  }
  for _, case in ipairs(wrong) do
    it("with " .. table.concat(case[1], " ") .. " is exit 2, and names it", function()
      s = server.launch { app = app, args = case[1] }
      s:wait_exit()
      assert.matches(case[2], s:log())
      s:finish("exit", 2)
    end)
  end

  it("and then by somebody else cannot become a user", function()
    local wrapper = { "/usr/bin/env", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" }
    s = server.launch { app = app, args = { "--user", "daemon" }, open = true, wrapper = wrapper }
    s:wait_exit()
    assert.matches("user: only root can become daemon", s:log())
    s:finish("exit", 2)
    s = server.start { app = app, args = { "--user", "nobody" }, open = true, wrapper = wrapper } -- as it is already
    assert.are.equal("hi", s:get("/").body)
    s:stop()
  end)

  it("listens on ports of root's own, at the start and at a reload", function()
    local function free_port(from)
      for port = from, 1023 do
        local probe = require("socket").bind("127.0.0.1", port)
        if probe then
          probe:close()
          return port
        end
      end
    end
    local first = free_port(700)
    local second = free_port(first + 1)
    local conf = "user = 'nobody'\nworkers = 1\nlisten = { %s }\n"
    s = server.start { app = app, bare = true, open = true,
                       files = { ["moonpool.conf.lua"] = conf:format(("'127.0.0.1:%d'"):format(first)) } }
    assert.are.equal("hi", s:get("/").body)
    server.write_file(s.folder .. "/moonpool.conf.lua",
      conf:format(("'127.0.0.1:%d', '127.0.0.1:%d'"):format(first, second)))
    s:signal "HUP"
    s:wait_log "reloaded gen=2"
    assert.are.equal("hi", require("spec.support.client").request(second, "GET", "/").body)
    s:signal "USR2"
    s:follow()
    assert.are.equal("hi", s:get("/").body)
    assert.are.equal(four(output_of "id -u nobody"), worker_facts().uid)
    s:stop()
  end)

  it("takes another user over at a reload, and refuses one that there is not", function()
    s = server.start { app = app, bare = true, open = true, args = { "--listen", "127.0.0.1:0" },
                       files = { ["moonpool.conf.lua"] = "workers = 1\nuser = 'nobody'\numask = '027'\n" } }
    local conf = s.folder .. "/moonpool.conf.lua"
    server.write_file(conf, "workers = 1\nuser = 'nobody-at-all'\n")
    s:signal "HUP"
    s:wait_log "error reload refused, .*there is no user nobody%-at%-all"
    server.write_file(conf, "workers = 1\nuser = 'daemon'\n")
    s:signal "HUP"
    s:wait_log "reloaded gen=2"
    wait.until_true(function() return #s:workers() == 1 end, 10, "the old worker's end")
    assert.are.equal(four(output_of "id -u daemon"), worker_facts().uid)
    assert.are_not.equal("0027", worker_facts().umask)
    s:stop()
  end)

  it("hands no umask on at an upgrade but the one it was started with", function()
    local conf = { ["moonpool.conf.lua"] = "workers = 1\numask = '031'\n" }
    s = server.start { app = app, bare = true, args = { "--listen", "127.0.0.1:0" }, files = conf }
    assert.are.same({ "0031", "0031" }, { proc.field(s.pid, "Umask"), worker_facts().umask })
    server.write_file(s.folder .. "/moonpool.conf.lua", "workers = 1\n")
    s:signal "USR2"
    s:follow()
    local own = proc.field(host.pid(), "Umask")
    assert.are.same({ own, own }, { proc.field(s.pid, "Umask"), worker_facts().umask })
    s:stop()
  end)

  it("opens its logs with the rights of the user, at the start and at USR1", function()
    local folder = assert(host.tempdir())
    local log = folder .. "/error.log"
    s = server.launch { app = app, args = { "--user", "nobody", "--error-log", log }, open = true }
    s:wait_exit()
    assert.matches("error%-log .*/error%.log: Permission denied %(as %-%-user%)", s:log())
    s:finish("exit", 2)
    assert(os.execute(("chown nobody '%s'"):format(folder)))
    s = server.launch { app = app, args = { "--user", "nobody", "--error-log", log, "--access-log", folder .. "/access.log" },
                        open = true }
    local function said(text, file) -- which line is in the log; nothing else speaks of the port here
      wait.until_true(function() return server.read_file(file or log):find(text) end, 10, text)
      return server.read_file(file or log)
    end
    s.port = tonumber(said("worker ready"):match "listening on http://[^\n]*:(%d+)")
    assert.are.equal(output_of "id -u nobody", tostring(lfs.attributes(log, "uid")))
    assert(os.rename(log, folder .. "/old.log"))
    s:signal "USR1"
    wait.until_true(function() return lfs.attributes(log) end, 10, "the new log")
    wait.until_true(function()
      s:get "/say"
      return server.read_file(log):find "said by the app"
    end, 10, "the worker's words in it")
    assert.is_nil(server.read_file(log):find "cannot be reopened")
    s:stop()
    assert.matches("stopped code=0", server.read_file(log))
    for name in lfs.dir(folder) do os.remove(folder .. "/" .. name) end
    lfs.rmdir(folder)
  end)

  it("ends worker and child together, whoever dies", function()
    start("--user", "nobody")
    local function with_child()
      local c = s:connect()
      c:send(require("spec.support.client").bytes("GET", "/stay"))
      wait.until_true(function() return #proc.named "sleep 3623" == 1 end, 10, "the child")
      return c
    end
    local c = with_child()
    host.kill(s:worker(), "KILL")
    wait.until_true(function() return #proc.named "sleep 3623" == 0 end, 2, "the child's end")
    c:close()
    s:wait_log("worker ready", 10, 2)
    c = with_child()
    local worker = s:worker()
    s:signal "KILL"
    s:wait_exit()
    wait.until_true(function() return #proc.named "sleep 3623" == 0 and not proc.alive(worker) end, 2, "their end")
    c:close()
    s:finish("signal", 9, 0.1)
  end)

  it("refuses an app that the user may not read, as one that does not load", function()
    s = server.launch { app = app, args = { "--user", "nobody", "--listen", "127.0.0.1:0" } }
    s:wait_exit()
    assert.matches("app%.lua", s:log())
    local _, code = s:wait_exit()
    assert.is_true(code == 3 or code == 5, s:log())
    s:finish("exit", code)
  end)
end)
