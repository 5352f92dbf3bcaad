-- One file: the program and an app behind it.
local host = require "host"
local lfs = require "lfs"
local server = require "spec.support.server"

local slow = tonumber(os.getenv "SPEC_SLOW" or 1)

local app = [[
local moonpool = require "moonpool"
local util = require "util"
local app = moonpool.app()
app:get("/", function(_, res) res:text(util.hello) end)
app:get("/read", function(_, res) res:text(moonpool.read_file "./data//note.txt") end)
app:get("/file", function(_, res) res:file "public/a.txt" end)
app:get("/missing", function(_, res) res:text(tostring(select(3, moonpool.read_file "data/none.txt"))) end)
app:get("/out", function(_, res) res:text(tostring(moonpool.read_file "data/../../secret")) end)
app:get("/thread", function(_, res) res:text(moonpool.offload("util.say"):wait()) end)
app:get("/settings", function(_, res) res:text(moonpool.settings.colour) end)
app:get("/child", function(_, res) res:text(moonpool.run { "pwd" }.stdout) end)
app:get("/page", function(_, res) res:render("page", { who = "me" }) end)
app:templates("views")
app:static("/files", "public")
return app
]]

local big = {}
for i = 1, 40000 do big[i] = ("%07d\n"):format(i) end
big = table.concat(big)

local files = {
  ["app.lua"] = app,
  ["lua/util.lua"] = 'return { hello = "hello from the bundle", say = function() return "said" end }',
  ["data/note.txt"] = "a note",
  ["public/a.txt"] = "aaaa",
  ["public/a.txt.gz"] = "packed beforehand",
  ["public/big.bin"] = big,
  ["public/sub/index.html"] = "index",
  ["views/page.html"] = "<p><%= who %></p>",
  [".hidden"] = "no",
  ["moonpool.conf.lua"] = 'workers = 1\napp = { colour = "blue" }\nbundle = { name = "device-ui", version = "1.2" }',
}

local folder

local function shell(format, ...)
  return os.execute(format:format(...))
end

local function write(where, name, text)
  for slash in name:gmatch "()/" do lfs.mkdir(where .. "/" .. name:sub(1, slash - 1)) end
  server.write_file(where .. "/" .. name, text)
end

-- A folder below ours with the app in it; `changes`: name -> text, or false for none.
local function lay_out(name, changes)
  local where = folder .. "/" .. name
  lfs.mkdir(where)
  for file, text in pairs(files) do
    if not changes or changes[file] == nil then write(where, file, text) end
  end
  for file, text in pairs(changes or {}) do
    if text then write(where, file, text) end
  end
  return where
end

-- Runs it to its end: exit code, stdout, stderr.
local function run(...)
  local binary, words = ..., { select(2, ...) }
  local s = server.launch { argv = words, binary = binary }
  local how, number = s:wait_exit(60)
  local out, log = s:out(), s:log()
  s:no_faults()
  s:abandon()
  assert.are.equal("exit", how, log)
  return number, out, log
end

-- The bundler; raises unless it ends with 0.
local function bundle(where, out, ...)
  local code, said, log = run(server.binary, "bundle", where, "-o", out, ...)
  assert.are.equal(0, code, said .. log)
  return out
end

local function start(binary, options)
  options = options or {}
  local argv = { "--listen", "127.0.0.1:0" }
  for _, word in ipairs(options.args or {}) do argv[#argv + 1] = word end
  return server.start { binary = binary, argv = argv, cwd = options.cwd, env = options.env }
end

local function says(s, path, text, options)
  local r = s:get(path, options)
  assert.are.equal(200, r.status, path .. ": " .. tostring(r.body) .. s:log())
  assert.are.equal(text, r.body)
  return r
end

describe("a bundle", function()
  local where, made
  setup(function()
    folder = assert(host.tempdir())
    where = lay_out "app"
    made = bundle(where, folder .. "/device-ui")
  end)
  teardown(function()
    assert(folder:find "moonpool%-spec%-")
    shell("rm -rf '%s'", folder)
  end)
  after_each(function() server.stop_all() end)

  it("serves its app from wherever it lies, by whatever name, twice at once", function()
    local elsewhere = folder .. "/elsewhere"
    lfs.mkdir(elsewhere)
    assert(shell("cp '%s' '%s/renamed'", made, elsewhere))
    local one, two = start(made, { cwd = elsewhere }), start(elsewhere .. "/renamed", { cwd = "/" })
    for _, s in ipairs { one, two } do
      says(s, "/", "hello from the bundle")
      says(s, "/read", "a note")
      says(s, "/file", "aaaa")
      says(s, "/missing", "ENOENT")
      says(s, "/out", "nil")
      says(s, "/thread", "said")
      says(s, "/settings", "blue")
      says(s, "/page", "<p>me</p>")
      says(s, "/files/big.bin", big)
      says(s, "/files/sub/", "index")
      assert.are.equal(301, s:get("/files/sub").status)
      assert.are.equal(404, s:get("/files/none").status)
      assert.are.equal(404, s:get("/files/%2e%2e/app.lua").status)
    end
    says(one, "/child", elsewhere .. "\n")
    says(two, "/child", "/\n")
  end)

  it("tells what it sends by its content, and gives no date that it does not know", function()
    local s = start(made)
    local r = says(s, "/files/a.txt", "aaaa")
    assert.is_nil(r.headers["last-modified"])
    local etag = assert(r.headers.etag)
    assert.are.equal(304, s:get("/files/a.txt", { headers = { ["If-None-Match"] = etag } }).status)
    local since = { headers = { ["If-Modified-Since"] = "Tue, 01 Jan 2030 00:00:00 GMT" } }
    assert.are.equal(200, s:get("/files/a.txt", since).status)
    local part = s:get("/files/big.bin", { headers = { Range = "bytes=16-23" } })
    assert.are.equal(206, part.status)
    assert.are.equal("0000003\n", part.body)
    local packed = s:get("/files/a.txt", { headers = { ["Accept-Encoding"] = "gzip" } })
    assert.are.equal("gzip", packed.headers["content-encoding"])
    assert.are.equal("packed beforehand", packed.body)
    assert.are_not.equal(etag, packed.headers.etag)
    s:stop()
    local other = lay_out("other", { ["public/a.txt"] = "bbbb" })
    local changed = start(bundle(other, folder .. "/changed"))
    assert.are_not.equal(etag, says(changed, "/files/a.txt", "bbbb").headers.etag)
  end)

  it("is the same byte for byte when the same is made again", function()
    local again = lay_out "again"
    assert(lfs.touch(again .. "/app.lua", 1000000000))
    assert(shell("chmod 700 '%s/public/a.txt'", again))
    bundle(again, folder .. "/twin")
    assert.is_true(server.read_file(made) == server.read_file(folder .. "/twin"))
    assert.is_nil(server.read_file(made):sub(-20000):find(folder, 1, true))
  end)

  it("says its own name, version and help", function()
    local code, out = run(made, "--version")
    assert.are.equal(0, code)
    assert.is_truthy(out:find("^device%-ui 1%.2, moonpool "), out)
    code, out = run(made, "--help")
    assert.are.equal(0, code)
    assert.is_truthy(out:find("usage: device-ui [options]", 1, true), out)
    code, out = run(made, "moonpool", "version")
    assert.are.equal(0, code)
    assert.is_truthy(out:find "^moonpool ", out)
    code, out = run(made, "moonpool", "check")
    assert.are.equal(0, code, out)
    local log
    code, out, log = run(made, "other.lua")
    assert.are.equal(2, code, out)
    assert.is_truthy(log:find("a bundle serves its own app", 1, true), log)
  end)

  it("lists what is in it, without dotfiles unless they are asked for, and without what is excluded", function()
    local code, out = run(server.binary, "bundle", "--list", made)
    assert.are.equal(0, code)
    assert.is_truthy(out:find("public/a.txt.gz", 1, true))
    assert.is_nil(out:find(".hidden", 1, true))
    write(where, ".moonpoolignore", "# none of these\n*.bin\n")
    local less = bundle(where, folder .. "/less", "--dotfiles", "--exclude", "data")
    os.remove(where .. "/.moonpoolignore")
    out = select(2, run(server.binary, "bundle", "--list", less))
    assert.is_truthy(out:find(".hidden", 1, true))
    assert.is_nil(out:find("big.bin", 1, true))
    assert.is_nil(out:find("note.txt", 1, true))
  end)

  it("lets the files of a folder win while one works on them", function()
    local over = folder .. "/over"
    lfs.mkdir(over)
    write(over, "public/a.txt", "mine")
    write(over, "public/new.txt", "new")
    write(over, "lua/util.lua", 'return { hello = "hello from the folder" }')
    local s = start(made, { args = { "--override", over } })
    says(s, "/", "hello from the folder")
    says(s, "/files/a.txt", "mine")
    says(s, "/files/new.txt", "new")
    says(s, "/read", "a note")
    write(over, "data/note.txt", "another")
    says(s, "/read", "another")
    write(over, "views/page.html", "<b><%= who %></b>")
    says(s, "/page", "<b>me</b>")
    os.remove(over .. "/public/a.txt")
    says(s, "/files/a.txt", "aaaa")
  end)

  it("reloads and is upgraded like any other server", function()
    local s = start(made)
    s:signal "HUP"
    s:wait_log("worker ready slot=0 gen=2", 30)
    says(s, "/", "hello from the bundle")
    s:signal "USR2"
    s:follow(60)
    says(s, "/", "hello from the bundle")
  end)

  it("is not made of what can be none", function()
    local function refused(said, ...)
      local code, out, log = run(...)
      assert.are.equal(3, code, out .. log)
      assert.is_truthy(log:find(said, 1, true), log)
    end
    local out = folder .. "/none"
    refused("no app.lua", server.binary, "bundle", lay_out("no_app", { ["app.lua"] = false }), "-o", out)
    refused("a bundle already", made, "moonpool", "bundle", where, "-o", out)
    refused("a bundle already", server.binary, "bundle", where, "-o", out, "--program", made)
    local links = lay_out "links"
    assert(lfs.link("/etc/passwd", links .. "/passwd", true))
    refused("leads out of the app's folder", server.binary, "bundle", links, "-o", out)
    os.remove(links .. "/passwd")
    assert(shell("mkfifo '%s/fifo'", links))
    refused("neither a file nor a folder", server.binary, "bundle", links, "-o", out)
    refused("a program without an app", server.binary, "bundle", "--verify", server.binary)
    assert.is_nil(lfs.attributes(out))
    assert.are.equal(2, (run(server.binary, "bundle", where)))
  end)

  it("takes a link within the app's folder as the file that it leads to", function()
    local links = lay_out "inner"
    assert(lfs.link("a.txt", links .. "/public/link.txt", true))
    says(start(bundle(links, folder .. "/linked")), "/files/link.txt", "aaaa")
  end)

  it("that was cut short is refused with 3, wherever it was cut", function()
    local bytes = server.read_file(made)
    local zip = assert(bytes:find("PK\3\4", -20000 - #big, true) or bytes:find("PK\3\4", 1, true))
    for _, length in ipairs { #bytes - 1, #bytes - 623, #bytes - 1000, zip + 10, zip } do
      local cut = folder .. "/cut"
      server.write_file(cut, bytes:sub(1, length), "755")
      local code, _, log = run(cut, "--listen", "127.0.0.1:0")
      assert.are.equal(3, code, length .. ": " .. log)
      assert.is_truthy(log:find("damaged", 1, true), log)
      assert.are.equal(3, (run(server.binary, "bundle", "--verify", cut)))
    end
  end)

  it("is signed by a key, and starts only for whoever names that one", function()
    local key = folder .. "/key"
    server.write_file(key, ("0f"):rep(32) .. "\n")
    local signed = folder .. "/signed"
    local code, out, log = run(server.binary, "bundle", where, "-o", signed, "--sign", key)
    if code == 1 and log:find("libsodium", 1, true) then return pending "libsodium is not on this machine" end
    assert.are.equal(0, code, log)
    local mine = assert(out:match "public key: (%x+)")
    assert.are.equal(0, (run(server.binary, "bundle", "--verify", signed, "--public-key", mine)))
    local other = ("ab"):rep(32)
    assert.are.equal(3, (run(server.binary, "bundle", "--verify", signed, "--public-key", other)))
    assert.are.equal(3, (run(server.binary, "bundle", "--verify", made, "--public-key", mine)))
    assert.are.equal(3, (run(signed, "--public-key", other, "--listen", "127.0.0.1:0")))
    assert.are.equal(3, (run(made, "--public-key", mine, "--listen", "127.0.0.1:0")))
    says(start(signed, { args = { "--public-key", mine } }), "/", "hello from the bundle")
  end)

  it("of which any byte was flipped is known by --verify", function()
    local bytes = server.read_file(made)
    local flipped = folder .. "/flipped"
    server.write_file(flipped, bytes, "755")
    local program = assert(bytes:find("moonpool-bundle 1\nprogram ", -624, true)) and
      tonumber(bytes:sub(-624):match "program (%d+)")
    local file = assert(io.open(flipped, "r+b"))
    local function flip(at)
      file:seek("set", at)
      file:write(string.char(bytes:byte(at + 1) ~ 1))
      file:flush()
      local code, _, log = run(server.binary, "bundle", "--verify", flipped)
      assert.are.equal(3, code, ("byte %d of %d: %s"):format(at, #bytes, log))
      file:seek("set", at)
      file:write(bytes:sub(at + 1, at + 1))
      file:flush()
    end
    local step = slow > 1 and 97 or 13
    for at = #bytes - 624, #bytes - 1, step do flip(at) end
    for at = program, #bytes - 1, (#bytes - program) // 12 do flip(at) end
    for at = 64, program - 1, program // 6 do flip(at) end
    file:close()
    assert.are.equal(0, (run(server.binary, "bundle", "--verify", flipped)))
  end)

  it("needs nothing of the disk but itself", function()
    if not shell "chroot / true 2>/dev/null" then return pending "needs root" end
    local root = folder .. "/root"
    lfs.mkdir(root)
    local libraries = io.popen(("ldd '%s'"):format(made)):read "a"
    for path in libraries:gmatch "(/[^%s]+)" do
      assert(shell("mkdir -p '%s%s' && cp -L '%s' '%s%s'", root, path:match "^(.*)/", path, root, path))
    end
    assert(shell("cp '%s' '%s/device-ui' && mkdir '%s/proc' '%s/dev'", made, root, root, root))
    if not shell("unshare -m true 2>/dev/null") then return pending "needs mount namespaces" end
    local inside = ("mount -t proc proc '%s/proc' && mount --bind /dev '%s/dev'"
      .. " && exec chroot '%s' /device-ui --listen 127.0.0.1:0")
      :format(root, root, root)
    local s = server.start { binary = "/usr/bin/unshare", argv = { "-m", "sh", "-c", inside } }
    says(s, "/", "hello from the bundle")
    says(s, "/files/big.bin", big)
  end)
end)
