-- moonpool dev: reload on save, and errors shown to the one who made them.
local client = require "spec.support.client"
local dkjson = require "dkjson"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local APP = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:html "<!doctype html><body>version 1</body>" end)
app:get("/piece", function(_, res) res:html "<p>piece</p>" end)
app:get("/text", function(_, res) res:text "</body>" end)
app:get("/fails/:who", function(req)
  local who, password = req.params.who, "hunter2"
  local nested = { api_key = "k-123", shown = "<b>" }
  error("no " .. who .. (nested.shown and password and "" or ""))
end)
app:get("/refuses", function() error { status = 403, message = "not you" } end)
app:get("/command", function() moonpool.run { "sh", "-c", "echo complaint >&2; exit 3", check = true } end)
app:get("/task", function()
  local task = moonpool.spawn(function() error "inner" end)
  moonpool.wait(task)
end)
return app
]]

describe("moonpool dev", function()
  local s
  after_each(server.stop_all)

  local function start(app)
    s = server.start { verb = "dev", app = app, bare = true, args = { "--listen", "127.0.0.1:0" } }
  end

  local function save(text) server.write_file(s.app, text) end
  local function becomes(path, text)
    wait.until_true(function() return s:get(path).body:find(text, 1, true) end, 10, text)
  end

  it("serves what was saved, on the same port", function()
    start(APP)
    assert.matches("version 1", s:get("/").body)
    save((APP:gsub("version 1", "version 2")))
    becomes("/", "version 2")
  end)

  it("sees a module saved in a folder made later", function()
    start('package.path = package.path\nlocal ok, m = pcall(require, "more.text")\nlocal app = require "moonpool".app()\n'
      .. 'app:get("/", function(_, res) res:text(ok and m or "none") end)\nreturn app')
    assert.equal("none", s:get("/").body)
    os.execute(("mkdir '%s/more'"):format(s.folder))
    server.write_file(s.folder .. "/more/text.lua", 'return "there"')
    becomes("/", "there")
    server.write_file(s.folder .. "/more/text.lua", 'return "changed"')
    becomes("/", "changed")
  end)

  it("leaves alone what an app and an editor write beside the sources", function()
    start(APP)
    for _, name in ipairs { ".app.lua.swp", "app.lua~", "#app.lua#", "site.db", "site.db-wal", "out.log" } do
      server.write_file(s.folder .. "/" .. name, "x")
    end
    wait.never(function() return s:count_log "reloading" > 0 end, 0.4, "a reload")
  end)

  it("shows an app that does not load, at every path, and heals when it is saved", function()
    start "local app = = 1\nreturn app"
    local r = s:get "/any/path"
    assert.equal(500, r.status)
    assert.matches("app.lua:1:", r.body, 1, true)
    save(APP)
    becomes("/", "version 1")
    save "error 'in the body'"
    becomes("/", "in the body")
    save(APP)
    becomes("/", "version 1")
  end)

  it("shows an on_start that fails", function()
    start 'local app = require "moonpool".app()\napp:on_start(function() error "cold" end)\nreturn app'
    assert.matches("app.lua:2: cold", s:get("/").body, 1, true)
    save(APP)
    becomes("/", "version 1")
  end)

  it("shows a configuration that cannot be read, also one of an unknown name, and heals when it is saved", function()
    start(APP)
    local conf = s.folder .. "/moonpool.conf.lua"
    server.write_file(conf, "workers = = 2")
    becomes("/any/path", "moonpool.conf.lua:1:")
    assert.equal(500, s:get("/").status)
    server.write_file(conf, "workerz = 2")
    becomes("/", "unknown key workerz")
    server.write_file(conf, "workers = 1")
    becomes("/", "version 1")
    assert.equal(2, s:count_log "reload refused")
  end)

  it("says nothing of its own pages' streams", function()
    start(APP)
    local stream = s:connect()
    stream:send(client.bytes("GET", "/.moonpool/events"))
    assert.equal(200, stream:head().status)
    stream:close()
    s:get "/text"
    s:wait_log "^200 GET /text "
    assert.equal(0, s:count_log "client gone")
  end)

  it("reads a template anew when it was saved, where nothing else is reloaded", function()
    s = server.start { app = [[
local app = require "moonpool".app()
app:templates "views"
app:get("/", function(_, res) res:render "home" end)
return app]], files = { ["views/home.html"] = "first" }, args = { "--dev" } }
    assert.equal("first", s:get("/").body)
    server.write_file(s.folder .. "/views/home.html", "second")
    assert.equal("second", s:get("/").body)
  end)

  it("adds its script to whole pages only", function()
    start(APP)
    assert.matches('<body>version 1<script src="/.moonpool/reload.js" data%-generation="[^"]+"></script></body>',
      s:get("/").body)
    assert.equal("<p>piece</p>", s:get("/piece").body)
    assert.equal("</body>", s:get("/text").body)
    assert.equal("text/javascript; charset=utf-8", s:get("/.moonpool/reload.js").headers["content-type"])
  end)

  it("names line, locals and request of an error, and hides what is secret", function()
    start(APP)
    local r = s:get("/fails/%3Ci%3E?token=t0p&a=b", { headers = { Accept = "text/html", Authorization = "Basic zzz",
                                                                    Cookie = "sid=yyy" } })
    assert.equal(500, r.status)
    assert.matches("<mark>   9    error", r.body, 1, true)
    assert.matches("no &lt;i&gt;", r.body, 1, true)
    assert.matches("GET /fails/%3Ci%3E?token=(hidden)&amp;a=b", r.body, 1, true)
    for _, secret in ipairs { "t0p", "Basic zzz", "yyy", "<i>" } do
      assert.is_nil(r.body:find(secret, 1, true), secret)
    end
    local without_source = r.body:gsub("<pre>.-</pre>", "")
    assert.is_nil(without_source:find("hunter2", 1, true))
    assert.is_nil(without_source:find("k-123", 1, true))
    assert.matches("<td>password<td>(hidden)", r.body, 1, true)
    assert.matches("api_key = (hidden)", r.body, 1, true)
  end)

  it("answers JSON to who asks for it, text to curl, and leaves answers of their own alone", function()
    start(APP)
    local r = s:get("/command", { headers = { Accept = "application/json" } })
    local e = dkjson.decode(r.body)
    assert.equal("sh: exit 3: complaint", e.message)
    assert.equal("complaint\n", e.process.stderr)
    assert.equal(12, e.stacks[1][2].line)
    r = s:get("/task")
    assert.equal("text/plain; charset=utf-8", r.headers["content-type"])
    assert.matches("error of the task spawned at app.lua:14", r.body, 1, true)
    r = s:get "/refuses"
    assert.equal(403, r.status)
    assert.is_nil(r.body:find("traceback", 1, true))
  end)

  it("has browsers ask again for every file, whatever the app says", function()
    s = server.start { verb = "dev", bare = true, args = { "--listen", "127.0.0.1:0" }, app = [[
local app = require "moonpool".app()
app:static("/public", "public", { max_age = 86400 })
app:get("/one", function(_, res) res:file("public/style.css", { max_age = 86400 }) end)
return app]], files = { ["public/style.css"] = "body {}" } }
    assert.equal("max-age=0", s:get("/public/style.css").headers["cache-control"])
    assert.equal("max-age=0", s:get("/one").headers["cache-control"])
  end)

  it("writes a short line for each request", function()
    start(APP)
    s:get "/piece"
    s:wait_log "^200 GET /piece [%d.]+ ms$"
    s:get "/.moonpool/reload.js"
    s:get "/text"
    s:wait_log "^200 GET /text "
    assert.equal(0, s:count_log "reload.js")
  end)

  it("shows nothing of an error without --dev", function()
    s = server.start { app = APP }
    for _, path in ipairs { "/fails/x", "/command", "/task" } do
      local r = s:get(path, { headers = { Accept = "text/html" } })
      assert.equal(500, r.status)
      for _, word in ipairs { "app.lua", "hunter2", "traceback", "complaint", ".moonpool" } do
        assert.is_nil(r.body:find(word, 1, true), word)
      end
    end
    assert.equal(404, s:get("/.moonpool/events").status)
    assert.is_nil(s:get("/").body:find(".moonpool", 1, true))
  end)
end)
