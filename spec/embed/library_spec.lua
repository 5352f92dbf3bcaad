-- The library inside a program, built against what is installed: in this process, on its own thread or on a loop of the
-- host's, and with worker processes.
local client = require "spec.support.client"
local embed = require "spec.support.embed"
local host = require "host"
local json = require "cjson"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

if embed.pending then
  describe("the library", function() pending(embed.pending) end)
  return
end

local program
lazy_setup(function() program = embed.compile "host" end)
lazy_teardown(embed.remove)
after_each(embed.abandon_all)

local function start(mode, options)
  options = options or {}
  options.program, options.mode = program, mode
  return embed.start(options)
end

local function ask(h, path) return json.decode(h:get(path).body) end
local function counts(h) return ask(h, "/counts") end

-- What every way to run it must do alike.
local function serves_and_stops(mode)
  local h = start(mode)
  assert.equal("hello 1", h:get("/hello").body)
  assert.same({ "nil", "boolean", "integer", "number", "string", "other", "none" }, ask(h, "/kinds"))
  assert.same({ 3, 3.5 }, ask(h, "/add"))
  assert.same({ 7, "later" }, ask(h, "/later"))
  assert.same({ code = 27, out = "out\n", nope = "ENOENT" }, ask(h, "/run"))
  assert.equal("1275", h:get("/many").body)
  h:say "child"
  assert.equal("1 exit=7 handler=1 pipe_same=1 term_default=1", h:wait "^child (.*)")
  h:say "stop"
  assert.equal("", h:wait "^stopped (.*)")
  h:say "quit"
  assert.equal("0 lua_memory=0", h:wait "^over (.*)")
  h:finish()
end

describe("a server inside a program", function()
  for _, mode in ipairs { "thread", "run", "attach", "step", "workers", "workers-attach" } do
    it("serves, calls the host, and leaves its children and signals alone: " .. mode, function() serves_and_stops(mode) end)
  end

  it("can be linked as an archive", function()
    local before = program
    program = embed.compile("host", true)
    serves_and_stops "thread"
    serves_and_stops "workers"
    program = before
  end)

  it("stops with a request under way: waits for it, or ends it at once", function()
    for _, mode in ipairs { "thread", "attach", "workers" } do
      local h = start(mode)
      local c = h.server:connect()
      c:send "GET /wait?s=0.3 HTTP/1.1\r\nHost: a\r\n\r\n"
      wait.until_true(function() return counts(h).answer == 42 end)
      h:say "stop"
      assert.equal("waited", c:response().body)
      h:wait "^stopped $"
      h:say "quit"
      h:wait "^over 0"
      h:finish()
      h = start(mode)
      c = h.server:connect()
      c:send "GET /wait?s=60 HTTP/1.1\r\nHost: a\r\n\r\n"
      wait.until_true(function() return counts(h).answer == 42 end)
      h:say "halt"
      h:wait "^stopped $"
      h:say "quit"
      h:wait "^over 0"
      h:finish()
    end
  end)

  it("says why it cannot begin", function()
    local late = "local a = require'moonpool'.app()\na:on_start(function() error'late boom' end)\nreturn a\n"
    for _, case in ipairs {
      { { "no-such=1" }, "unknown option %-%-no%-such" },
      { { "max-bodi=1M" }, "did you mean %-%-max%-body%?" },
      { { "max-body=x" }, "error %-%-max%-body: a size is wanted" },
      { { "listen=nonsense" }, "cannot listen on nonsense: not an address" },
      { { "user=nobody" }, "%-%-user: only with worker processes" },
      { { "error-log=/tmp/x" }, "lines of the log go to mp_server_on_log" },
      { { "config=x" }, "%-%-config: not an option of a server inside a program" },
      { { "listen=127.0.0.1:0" }, "boom", "error 'boom'\n" },
      { { "listen=127.0.0.1:0" }, "late boom", late },
    } do
      for _, mode in ipairs { "thread", "run", "workers" } do
        if not (mode == "workers" and case[1][1] == "user=nobody") then
          local h = embed.launch { program = program, mode = mode, settings = case[1], app = case[3] }
          h:say "quit"
          h:wait "^over"
          if mode == "thread" then assert.truthy(h:told():find(case[2]), case[2] .. " in " .. h:told()) end
          h:finish()
        end
      end
    end
  end)

  it("names an address that is taken", function()
    local h = start "thread"
    local second = embed.launch { program = program, settings = { "listen=127.0.0.1:" .. h.port } }
    assert.truthy(second:wait "^error (.*)":find "address already in use")
    second:say "quit"
    second:wait "^over %-98"
    second:finish()
    h:quit()
  end)

  it("finds the app's own files, wherever the host stands", function()
    for _, mode in ipairs { "thread", "workers" } do
      local h = start(mode)
      assert.truthy(h:get("/files/flood.lua").body:find "moonpool.settings")
      h:quit()
    end
  end)

  it("hands settings to the app", function()
    for _, mode in ipairs { "thread", "workers" } do
      local h = start(mode)
      assert.same({}, ask(h, "/setting"))
      h:say [[settings { "title": "a\nb", "n": [1, 2] }]]
      h:say "reload"
      h:wait "^reloaded"
      assert.same({ title = "a\nb", n = { 1, 2 } }, ask(h, "/setting"))
      h:say "settings nonsense"
      h:say "reload"
      h:wait "^failed"
      assert.same({ 1, 2 }, ask(h, "/setting").n)
      h:quit()
    end
  end)

  it("gives the host the log, and stdout nothing", function()
    local h = start "thread"
    h:get "/print"
    wait.until_true(function() return h:log():find "log 1 app line of the app" end)
    h:quit()
  end)
end)

describe("functions of the host", function()
  local h
  before_each(function() h = start "thread" end)
  after_each(function() h:quit() end)

  it("fail as the world does, and raise for their caller", function()
    assert.same({ 3, "no such string", "ENOENT" }, ask(h, "/fail"))
    assert.truthy(h:get("/raise").body:find "app.lua:%d+: add: two numbers are wanted$")
  end)

  it("give tables, bytes and numbers back as they are", function()
    assert.same({ "sensor", 1.5, true, true, true }, ask(h, "/table"))
    assert.same({ 3, true }, ask(h, "/bytes"))
  end)

  it("make the call raise when a result is not whole", function()
    assert.truthy(h:get("/broken").body:find "a table that was not ended")
  end)

  it("hold a call only if they were registered so", function()
    assert.equal("-1", h:get("/quick-hold").body) -- -EPERM
    assert.equal("at once", h:get("/at-once").body)
  end)

  it("are not called where Lua cannot wait", function()
    assert.truthy(h:get("/where").body:find "^false .*cannot wait inside a function that Lua's own C code calls")
  end)

  it("hear once of a client that goes away, and may complete late", function()
    local before = counts(h).cancelled
    local c = h.server:connect()
    c:send "GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
    h:wait "^held never"
    c:close()
    wait.until_true(function() return counts(h).cancelled == before + 1 end)
    assert.truthy(h:get("/timeout").body:find "^false timeout")
    wait.until_true(function() return counts(h).cancelled == before + 2 end)
  end)
end)

describe("two servers in one process", function()
  it("share nothing, and one may stop without the other", function()
    local h = start "thread"
    h:say(("second %s/spec/embed/app.lua listen=127.0.0.1:0"):format(require "lfs".currentdir()))
    local port = tonumber(h:wait "^ready second .-:(%d+)")
    assert.equal("1", h:get("/shared").body)
    assert.equal("2", h:get("/shared").body)
    assert.equal("1", client.request(port, "GET", "/shared").body)
    assert.equal(counts(h).pid, json.decode(client.request(port, "GET", "/counts").body).pid)
    h:say "stop"
    h:wait "^stopped $"
    assert.equal("2", client.request(port, "GET", "/shared").body)
    h:say "quit"
    h:wait "^stopped second"
    h:wait "^over"
    h:finish()
  end)
end)

describe("a reload", function()
  local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text "one" end)
app:get("/shared", function(_, res) res:text(tostring(moonpool.shared("n"):incr("k", 1))) end)
app:get("/wait", function(_, res) moonpool.sleep(0.4) res:text "one waited" end)
return app
]]

  for _, mode in ipairs { "thread", "attach", "workers" } do
    it("takes the new app and its settings, the old one answers what it has begun: " .. mode, function()
      local h = start(mode, { app = app, settings = { "listen=127.0.0.1:0", "max-body=1M" } })
      assert.equal("1", h:get("/shared").body)
      local c = h.server:connect()
      c:send "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
      server.write_file(h.app, (app:gsub('"one"', '"two"')))
      h:say "set max-body=2M"
      h:say "reload"
      assert.equal("127.0.0.1:" .. h.port, h:wait "^reloaded (.*)")
      assert.equal("two", h:get("/").body)
      assert.equal("one waited", c:response().body)
      assert.equal("2", h:get("/shared").body)
      server.write_file(h.app, "error 'new boom'\n")
      h:say "reload"
      h:wait "^failed "
      assert.equal("two", h:get("/").body)
      h:say "set max-body=nonsense"
      h:wait "^error %-%-max%-body"
      h:quit()
    end)
  end

  it("moves to other addresses, and keeps the old one if they cannot be had", function()
    local h = start("thread", { app = app })
    h:say "unset listen"
    h:say "set listen=unix:/no/such/folder/socket"
    h:say "reload"
    assert.truthy(h:wait "^failed (.*)":find "no such file")
    assert.equal("one", h:get("/").body)
    h:say "unset listen"
    h:say("set listen=unix:" .. h.folder .. "/socket")
    h:say "reload"
    assert.equal("unix:" .. h.folder .. "/socket", h:wait "^reloaded (.*)")
    wait.until_true(function() return not pcall(client.connect, h.port) end)
    h:quit()
  end)

  it("comes by itself at --max-requests", function()
    local h = start("thread", { settings = { "listen=127.0.0.1:0", "max-requests=5" } })
    for _ = 1, 6 do h:get "/hello" end
    h:wait "^reloaded"
    assert.equal("hello 2", h:get("/hello").body)
    h:quit()
  end)
end)

describe("what a script has started", function()
  it("ends with the server in the host's process, but for what has left its group", function()
    local h = start "thread"
    local c = h.server:connect()
    c:send "GET /child HTTP/1.1\r\nHost: a\r\n\r\n"
    wait.until_true(function() return #proc.named "sleep 61.3" == 1 end)
    h:quit()
    assert.same({}, proc.named "sleep 61.3")
  end)

  it("ends with the host, however that ends, when workers have it", function()
    local h = start "workers"
    local c = h.server:connect()
    c:send "GET /child HTTP/1.1\r\nHost: a\r\n\r\n"
    wait.until_true(function() return #proc.named "sleep 61.3" == 1 end)
    h:get "/escape"
    h.server:signal "KILL"
    h.server:wait_exit()
    wait.until_true(function() return #proc.named "sleep 61.3" == 0 and #proc.named "sleep 61.7" == 0 end)
    server.nothing_left(5 * wait.slow)
    h:abandon()
  end)

  it("is not touched if the supervisor is killed; its workers end with it, and the host hears of it", function()
    local h = start "workers"
    local supervisor
    for _, pid in ipairs(proc.children(h:pid())) do
      if proc.command(pid):find "^moonpool supervise" then supervisor = pid end
    end
    host.kill(supervisor, "KILL")
    assert.truthy(h:wait "^stopped (.*)":find "killed by signal 9")
    h:say "quit"
    h:wait "^over"
    h:finish(5 * wait.slow)
  end)
end)

describe("Lua that does not come back", function()
  it("is ended where the host allows signals", function()
    local h = start("thread", { env = { HOST_SIGNALS = "1" }, settings = { "listen=127.0.0.1:0", "timeout=0.3" } })
    assert.equal(503, h:get("/spin").status)
    assert.equal("hello 1", h:get("/hello").body)
    assert.truthy(h:get("/offload-spin").body)
    h:quit()
  end)

  it("on a thread of offload is ended without signals too", function()
    local h = start "thread"
    assert.equal("5000050000", h:get("/offload").body)
    assert.truthy(h:get("/offload-spin").body:find "cancelled")
    h:quit()
  end)
end)

describe("calls completed on other threads", function()
  it("come back with their own values, by the hundred thousand, and harm nobody when they come too late", function()
    local flood = embed.compile "flood"
    local text = embed.run(("'%s' spec/embed/flood.lua '{\"calls\":100000}'"):format(flood))
    assert.equal("100200", text:match "completed (%d+)") -- 1000 tasks, and 200 more
  end)
end)

describe("what is installed", function()
  it("shows the names of moonpool.h and no others", function()
    local names = {}
    for name in embed.run "cat include/moonpool.h":gmatch "MP_PUBLIC[^;]-(mp_[%w_]+)%(" do names[#names + 1] = name end
    table.sort(names)
    local libdir = embed.pkg_config_path():gsub("/pkgconfig$", "")
    local shared, archive = {}, {}
    for name in embed.run(("nm -D --defined-only '%s/libmoonpool.so'"):format(libdir)):gmatch " [TDBVWR] ([%w_]+)" do
      shared[#shared + 1] = name
    end
    for name in embed.run(("nm -g --defined-only '%s/libmoonpool.a'"):format(libdir)):gmatch " [TDBVWR] ([%w_]+)" do
      archive[#archive + 1] = name
    end
    table.sort(shared)
    table.sort(archive)
    assert.same(names, shared)
    assert.same(names, archive)
    assert.truthy(embed.run(("readelf -d '%s/libmoonpool.so'"):format(libdir)):find "SONAME.-libmoonpool%.so%.%d+%]")
  end)

  -- What the kernel was found to be able to (exec.c), and where a library lies that was loaded, once (brotli.c, sodium.c).
  local may_stay = { known = true, pretended = true, brotli = true, brotli_found = true, brotli_once = true,
    sodium = true, trouble = true, once = true }

  it("holds no state of its own but what is true of the whole process", function()
    local libdir = embed.pkg_config_path():gsub("/pkgconfig$", "")
    local left = {}
    -- What is const but holds addresses is writable to the linker alone (.data.rel.ro).
    for section, name in embed.run(("objdump -t '%s/libmoonpool.a'"):format(libdir)):gmatch " O (%.%S+)%s+%x+ ([^\n]+)" do
      local writable = section:find "^%.data" and not section:find "^%.data%.rel%.ro" or section:find "^%.t?bss"
      local plain = name:gsub("^%.hidden ", ""):gsub("%.%d+$", "")
      local of_tools = plain:find "^__" or plain:find "^%.L" or plain:find "san_"
      if writable and not of_tools and not may_stay[plain] then left[#left + 1] = name end
    end
    assert.same({}, left)
  end)
end)
