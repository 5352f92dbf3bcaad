-- The guide's first page, step by step, as one follows it who knows nothing else; the browser is a phone's.
local browser = require "spec.support.browser"
local host = require "host"
local lfs = require "lfs"
local server = require "spec.support.server"

local function said_by(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  local _, _, code = pipe:close()
  return text, code
end

describe("a first project, with a browser beside the editor", function()
  local why = browser.missing()
  if why then
    pending(why)
    return
  end
  local s, page, folder
  before_each(function() folder = assert(host.tempdir()) end)
  after_each(function()
    server.stop_all()
    os.execute(("rm -rf '%s'"):format(folder))
  end)
  teardown(browser.stop_all)

  local function site(name) return folder .. "/site/" .. name end

  local function edit(name, from, to)
    local text = server.read_file(site(name))
    local first, last = text:find(from, 1, true)
    assert(first, from .. " is not in " .. name)
    server.write_file(site(name), text:sub(1, first - 1) .. to .. text:sub(last + 1))
  end

  local function address(path) return ("http://127.0.0.1:%d%s"):format(s.port, path) end

  local function begin()
    local said, code = said_by(("cd '%s' && '%s' new site"):format(folder, server.binary))
    assert.equal(0, code, said)
    lfs.touch(site "public/style.css", os.time() - 30 * 86400) -- what is old a browser likes to keep
    s = server.start { verb = "dev", app = folder .. "/site", bare = true, args = { "--listen", "127.0.0.1:0" } }
    page = page or browser.open { phone = true }
    page:go(address "/")
  end

  it("is made, changed, broken, mended and tested, and no page is loaded by hand", function()
    begin()
    page:wait_text("h1", "Hello")
    edit("app.lua", 'page("Hello", [=[', 'page("Good morning", [=[')
    page:wait_text("h1", "Good morning")

    page:type("input[name=who]", "Ada")
    page:click "button"
    page:wait_text("#greeting", "Hello, Ada!")
    edit("app.lua", 'req.query.who or "world"', "req.query.whom.name")
    page:wait_text("h1", "app.lua:12: attempt to index a nil value (field 'whom')")
    assert.equal("  12    local who = req.query.whom.name", page:eval "return document.querySelector('mark').textContent")
    assert.is_true(page:eval "return document.documentElement.scrollWidth <= window.innerWidth")
    edit("app.lua", "req.query.whom.name", 'req.query.who or "world"')
    page:wait_text("#greeting", "Hello, Ada!")

    edit("public/style.css", "max-width: 40rem", "background: rgb(1, 2, 3); max-width: 40rem")
    page:wait "return getComputedStyle(document.body).backgroundColor === 'rgb(1, 2, 3)'"

    local said, code = said_by(("cd '%s/site' && '%s' test"):format(folder, server.binary))
    assert.equal(0, code, said)
    assert.matches("3 successes / 0 failures / 0 errors", said, 1, true)
    s:signal "INT"
    s:finish("exit", 0)
  end)

  it("shows settings that cannot be read, and then the app again", function()
    begin()
    page:wait_text("h1", "Hello")
    edit("moonpool.conf.lua", "listen =", "listen = =")
    page:wait_text("body", "The configuration cannot be read")
    page:wait_text("h1", "moonpool.conf.lua:2: unexpected symbol near '='")
    assert.equal('   2  listen = = "127.0.0.1:8080"', page:eval "return document.querySelector('mark').textContent")
    edit("moonpool.conf.lua", "listen = =", "worker =")
    page:wait_text("h1", "worker")
    edit("moonpool.conf.lua", "worker =", "listen =")
    page:wait_text("h1", "Hello")
  end)
end)
