-- As one who begins: a new project, moonpool dev, a browser beside the editor.
local browser = require "spec.support.browser"
local server = require "spec.support.server"

describe("moonpool dev in a browser", function()
  local why = browser.missing()
  if why then
    pending(why)
    return
  end
  local s, page
  after_each(server.stop_all)
  teardown(browser.stop_all)

  local function edit(name, from, to)
    local path = s.folder .. "/" .. name
    local text = server.read_file(path)
    local first, last = text:find(from, 1, true)
    assert(first, from .. " is not in " .. name)
    server.write_file(path, text:sub(1, first - 1) .. to .. text:sub(last + 1))
  end

  local function begin(app)
    s = server.start { verb = "dev", app = app, bare = true, args = { "--listen", "127.0.0.1:0" } }
    page = browser.open()
    page:go(("http://127.0.0.1:%d/"):format(s.port))
  end

  it("shows what was saved without a reload by hand, shows the error of a broken one, and heals", function()
    begin [[
local app = require("moonpool").app()
app:get("/", function(_, res)
  local line = "first words"
  res:html("<!doctype html><body><h1>" .. line .. "</h1></body>")
end)
return app
]]
    page:wait_text("h1", "first words")
    edit("app.lua", "first words", "second words")
    page:wait_text("h1", "second words", 10)
    edit("app.lua", 'local line = "second words"', "local line = nothing.at_all")
    page:wait_text("h1", "app.lua:3: attempt to index a nil value", 10)
    assert.equal("   3    local line = nothing.at_all", page:eval "return document.querySelector('mark').textContent")
    edit("app.lua", "return app", "return app, = 1")
    page:wait_text("body", "The app does not load", 10)
    page:wait_text("h1", "app.lua:6:", 10)
    edit("app.lua", "return app, = 1", "return app")
    page:wait_text("h1", "app.lua:3:", 10)
    edit("app.lua", "nothing.at_all", '"third words"')
    page:wait_text("h1", "third words", 10)
    s:signal "INT"
    s:finish("exit", 0)
  end)
end)
