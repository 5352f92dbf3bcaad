-- res:render: templates of an app, of what is mounted in it, and of its error page.
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local app, admin, other = moonpool.app(), moonpool.app(), moonpool.app()
app:templates "views"
admin:templates("admin", { globals = { site = "<admin>" } })
app:get("/", function(_, res) res:status(201):render("home", { name = "<you>" }) end)
app:get("/:name", function(req, res) res:render(req.params.name, { moonpool = moonpool }) end)
admin:get("/", function(_, res) res:render "home" end)
other:get("/", function(_, res) res:render("home", { name = "other" }) end)
app:error_page(function(_, res, e) res:render("error", e) end)
app:mount("/admin", admin)
app:mount("/other", other)
app:mount("/plain", function(_, res) res:render("home", { name = "plain" }) end)
return app
]]

local files = {
  ["views/home.html"] = "<p>hello <%= name %></p>",
  ["views/waits.html"] = "<% for i = 1, 2 do moonpool.sleep(0.01) %><%= i %><% end %>",
  ["views/broken.html"] = "one\n<% for %>",
  ["views/fails.html"] = "one\n\n<%= nothing.at.all %>",
  ["views/error.html"] = "<h1><%= status %></h1>",
  ["admin/home.html"] = "<%= site %>",
}

describe("res:render", function()
  local s

  before_each(function() s = server.start { app = app, files = files } end)
  after_each(function() server.stop_all() end)

  it("answers with a page of the app, or of the app that is mounted", function()
    local answer = s:get "/"
    assert.equal(201, answer.status)
    assert.equal("text/html; charset=utf-8", answer.headers["content-type"])
    assert.equal("<p>hello &lt;you&gt;</p>", answer.body)
    assert.equal("&lt;admin&gt;", s:get("/admin").body)
    assert.equal("<p>hello other</p>", s:get("/other").body)
    assert.equal("<p>hello plain</p>", s:get("/plain").body)
  end)

  it("renders error pages, also where no route is", function()
    local answer = s:get "/a/b/c"
    assert.equal(404, answer.status)
    assert.equal("<h1>404</h1>", answer.body)
    assert.equal("<h1>404</h1>", s:get("/other/none").body)
  end)

  it("may wait", function()
    assert.equal("12", s:get("/waits").body)
  end)

  it("tells file and line of what goes wrong in the log, and not to the client", function()
    local answer = s:get "/broken"
    assert.equal(500, answer.status)
    assert.equal("<h1>500</h1>", answer.body)
    s:wait_log "views/broken.html:2: "
    assert.equal(500, s:get("/fails").status)
    s:wait_log "views/fails.html:3: attempt to index a nil value"
    s:wait_log "views/fails.html:3: in "
    assert.equal(500, s:get("/missing").status)
    s:wait_log "views/missing.html: No such file"
  end)

  it("is refused where no templates are, and a folder that is none at load", function()
    local bare = server.start { app = [[
      local app = require "moonpool".app()
      app:get("/", function(_, res) res:render "home" end)
      return app
    ]] }
    assert.equal(500, bare:get("/").status)
    bare:wait_log "app.lua:2: render: this app has no templates"
    local wrong = server.launch { app = [[return require "moonpool".app():templates "nowhere"]] }
    wrong:wait_log "app:templates: nowhere is no folder"
    wrong:finish("exit", 3)
  end)
end)
