-- What a device may lack: a disk that can be written to, /tmp, /proc and /dev, somebody at the other end of stderr, a clock,
-- memory. A bundle serves all the same, and says what it cannot do.
local bare_root = require "spec.support.bare_root"
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"

local plain = bare_root.binary

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "hello" end)
app:post("/form", function(req, res) res:text(tostring(req:form().file.size)) end)
app:post("/save", function(req, res)
  local ok, err, code = req:save "/saved"
  res:text(ok and "saved" or code .. ": " .. err)
end)
app:get("/run", function(_, res)
  local r, err, code = moonpool.run { "/device", "moonpool", "version" }
  res:text(r and tostring(r) .. ": " .. r.stdout or code .. ": " .. err)
end)
app:get("/random", function(_, res) res:text(moonpool.random(8)) end)
app:get("/count", function(_, res) res:text(tostring(moonpool.shared("s"):incr "n")) end)
app:get("/thread", function(_, res) res:text(moonpool.offload(function() return "said" end):wait()) end)
app:get("/cookie", function(_, res) res:cookie("a", "b", { max_age = 3600 }):text "set" end)
app:get("/clock", function(_, res) res:json { time = moonpool.time(), date = os.date("!%Y") } end)
app:get("/nap", function(_, res)
  local before = moonpool.now()
  moonpool.log.info "asleep"
  moonpool.sleep(0.3)
  res:json { slept = moonpool.now() - before }
end)
app:static("/files", "public")
return app
]]

local folder, device

local function shell(format, ...) return os.execute(format:format(...)) end

local function make_root(name) return bare_root.make(folder .. "/" .. name, device, "device") end

-- Starts the bundle in a root, after `prepare` (of a shell; $1 is the root) in a mount namespace of its own.
local function start_in(root, prepare, ending)
  local script = ("set -e; %s\nexec chroot --userspec=65534:65534 \"$1\" /device --listen 127.0.0.1:0 --workers 1 %s")
    :format(prepare or "", ending or "")
  local s = server.launch { binary = "/usr/bin/unshare", argv = { "-m", "sh", "-c", script, "sh", root } }
  return s
end

local function ready(s)
  s:wait_ready()
  return s
end

local function says(s, path, text)
  local r = s:get(path)
  assert.are.equal(200, r.status, path .. ": " .. tostring(r.body) .. s:log())
  if text then assert.are.equal(text, r.body) end
  return r
end

local function upload(s, size)
  local body = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n" .. ("a"):rep(size) .. "\r\n--x--\r\n"
  return s:post("/form", body, { headers = { ["Content-Type"] = "multipart/form-data; boundary=x" } })
end

-- What needs nothing of the machine but its kernel.
local function does_its_work(s)
  says(s, "/", "hello")
  says(s, "/files/a.txt", "aaaa")
  says(s, "/thread", "said")
  says(s, "/count", "1")
  says(s, "/count", "2")
  assert.is_truthy(says(s, "/random").body:find "^%x+$")
  assert.is_truthy(says(s, "/run").body:find "^exit 0: moonpool ")
end

describe("a bundle on a device", function()
  local why = bare_root.pending
  setup(function()
    folder = assert(host.tempdir())
    assert(shell("chmod 755 '%s' && mkdir -p '%s/app/public'", folder, folder))
    server.write_file(folder .. "/app/app.lua", app)
    server.write_file(folder .. "/app/public/a.txt", "aaaa")
    device = folder .. "/device"
    assert(shell("'%s' bundle '%s/app' -o '%s' >/dev/null", plain, folder, device))
  end)
  teardown(function()
    assert(folder:find "moonpool%-spec%-")
    shell("rm -rf '%s'", folder)
  end)
  after_each(function() server.stop_all() end)

  local function on_device(sentence, spec)
    it(sentence, function()
      if why then return pending(why) end
      spec()
    end)
  end

  on_device("serves without /proc, /dev and /tmp, from a root that is read-only", function()
    local s = ready(start_in(make_root "bare", 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"'))
    does_its_work(s)
    assert.are.equal("EROFS: cannot write /saved: read-only file system", s:post("/save", "x").body)
    assert.are.equal(500, upload(s, 10).status)
    s:wait_log "cannot keep an uploaded file in /tmp: no such file or directory"
    s:wait_log "there is no control socket: no folder for it can be written"
    says(s, "/", "hello")
  end)

  on_device("says that there is no space when /tmp is full, and takes what fits", function()
    local root = make_root "full"
    lfs.mkdir(root .. "/tmp")
    local s = ready(start_in(root, 'mount -t tmpfs -o size=64k,mode=1777 tmpfs "$1/tmp"'))
    assert.are.equal("1000", upload(s, 1000).body)
    for _ = 1, 3 do -- each leaves the space that it had
      assert.are.equal(507, upload(s, 300000).status)
      assert.are.equal("50000", upload(s, 50000).body)
    end
    says(s, "/", "hello")
  end)

  on_device("runs with stdin, stdout and stderr closed, where there is no /dev/null either", function()
    local root = make_root "closed"
    lfs.mkdir(root .. "/log")
    assert(shell("chmod 777 '%s/log'", root))
    local s = start_in(root, nil, "--error-log /log/errors <&- >&- 2>&-")
    s.log_file = root .. "/log/errors"
    ready(s)
    does_its_work(s)
    local worker = assert(s:worker())
    for _, pid in ipairs { s.pid, worker } do
      for fd = 0, 2 do
        local target = assert(proc.fds(pid)[fd], "descriptor " .. fd .. " is nothing")
        assert.is_nil(target:find("socket:", 1, true), target)
      end
    end
  end)

  on_device("tells the time it has, and goes on when somebody sets the clock", function()
    local clock = folder .. "/clock"
    local function behind(seconds) server.write_file(clock .. ".new", string.pack("=i8", seconds)) end
    behind(os.time())
    os.rename(clock .. ".new", clock)
    local s = server.start { binary = device, argv = { "--listen", "127.0.0.1:0", "--workers", "1" },
      env = { LD_PRELOAD = os.getenv "SPEC_MODULES" .. "/epoch.so", SPEC_CLOCK = clock } }
    local first = says(s, "/clock")
    assert.is_truthy(first.headers.date:find "^Thu, 01 Jan 1970 00:00:%d%d GMT$", first.headers.date)
    assert.is_truthy(first.body:find('"date":"1970"', 1, true), first.body)
    assert.is_truthy(s:log():find "^1970%-01%-01T00:0")
    assert.are.equal("a=b; Path=/; Max-Age=3600; SameSite=Lax; HttpOnly", says(s, "/cookie").headers["set-cookie"])
    local c = s:connect()
    c:send(client.bytes("GET", "/nap"))
    s:wait_log "asleep"
    local file = assert(io.open(clock, "r+b"))
    file:write(string.pack("=i8", 0))
    file:close()
    local slept = tonumber(c:response("GET").body:match '"slept":([%d.]+)')
    c:close()
    assert.is_true(slept >= 0.3 and slept < 5, tostring(slept))
    local date = says(s, "/clock").headers.date
    assert.is_nil(date:find("1970", 1, true), date)
  end)
end)

-- A cgroup (of either version) with so much memory; or nil and why there is none.
local function cgroup_of(bytes)
  for _, kind in ipairs { { "/sys/fs/cgroup/memory", "memory.limit_in_bytes" }, { "/sys/fs/cgroup", "memory.max" } } do
    local path = ("%s/moonpool-spec-%d"):format(kind[1], host.pid())
    if lfs.mkdir(path) then
      local file = io.open(path .. "/" .. kind[2], "w")
      if file and file:write(bytes) and file:close() then return path end
      lfs.rmdir(path)
    end
  end
  return nil, "no cgroup can be made here that limits memory"
end

describe("32 MiB of memory", function()
  local LIMIT = 32 * 1024 * 1024
  local cgroup, none
  after_each(function()
    server.stop_all()
    if cgroup then lfs.rmdir(cgroup) end
  end)

  local function serves_many(s)
    for _, path in ipairs { "/thread", "/files/a.txt", "/run" } do assert.are.equal(200, s:get(path).status, s:log()) end
    local piece, connections = ("x"):rep(100000), {}
    for i = 1, 100 do
      connections[i] = s:connect()
      if i <= 10 then
        connections[i]:send("POST /form HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=x\r\n"
          .. "Content-Length: 2000000\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n")
      end
    end
    for _ = 1, 10 do
      for i = 1, 10 do connections[i]:send(piece) end
    end
    for i = 11, 100 do assert.are.equal(200, connections[i]:ask("GET", "/").status) end
    for _, c in ipairs(connections) do c:close() end
    for _ = 1, 20 do assert.are.equal(200, s:get("/").status) end
    for _, word in ipairs { "killed by", " error " } do assert.are.equal(0, s:count_log(word), s:log()) end
  end

  it("are enough for the pool in a cgroup, with a hundred connections and ten uploads at once", function()
    cgroup, none = cgroup_of(LIMIT)
    if not cgroup then return pending(none) end
    local s = server.start { binary = plain, app = app, files = { ["public/a.txt"] = "aaaa" }, workers = 2,
      wrapper = { "/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroup } }
    serves_many(s)
  end)

  it("are enough for each process by ulimit -d", function()
    local s = server.start { binary = plain, app = app, files = { ["public/a.txt"] = "aaaa" }, workers = 2,
      wrapper = { "/usr/bin/prlimit", "--data=" .. LIMIT } }
    serves_many(s)
  end)
end)
