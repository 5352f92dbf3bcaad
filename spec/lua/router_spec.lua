local fake = require "spec.support.fake_core"

describe("the router", function()
  local router, tree

  before_each(function()
    fake.install()
    router = require "moonpool.router"
    tree = router.new()
  end)

  local function add(method, pattern)
    assert(tree:add { method = method, pattern = pattern })
  end

  -- "pattern name=value …" of what a path leads to, or "405 ALLOW", or "404"
  local function lookup(method, path)
    local found = tree:find(method, router.split_path(path), 1)
    if found.mount then
      return "mount " .. found.mount.prefix .. " from " .. found.at
    elseif not found.route then
      return #found.missed > 0 and "405 " .. router.allow(found.missed) or "404"
    end
    local params = router.params(found.route, found.values) or {}
    local text = found.route.pattern
    for _, name in ipairs(found.route.names) do
      text = text .. " " .. name .. "=" .. params[name]
    end
    return text
  end

  it("splits a path as it was sent, and decodes each segment", function()
    assert.same({ "" }, router.split_path("/"))
    assert.same({ "a", "" }, router.split_path("/a/"))
    assert.same({ "", "a" }, router.split_path("//a"))
    assert.same({ "a/b", "c d" }, router.split_path("/a%2Fb/c%20d"))
    assert.same({ "a+b" }, router.split_path("/a+b"))
  end)

  it("refuses a bad escape and an escaped NUL", function()
    for _, path in ipairs { "/%", "/%4", "/%zz", "/a%00", "/%00", "/ok/%G0" } do
      assert.is_nil(router.split_path(path), path)
    end
  end)

  it("lets a literal beat :name beat *name, whatever their order", function()
    add("GET", "/*rest")
    add("GET", "/:one")
    add("GET", "/about")
    assert.equal("/about", lookup("GET", "/about"))
    assert.equal("/:one one=other", lookup("GET", "/other"))
    assert.equal("/*rest rest=a/b", lookup("GET", "/a/b"))
    assert.equal("/*rest rest=", lookup("GET", "/"))
  end)

  it("goes back when a more exact way leads nowhere", function()
    add("GET", "/users/me/settings")
    add("GET", "/users/:id/posts")
    add("GET", "/*rest")
    assert.equal("/users/:id/posts id=me", lookup("GET", "/users/me/posts"))
    assert.equal("/*rest rest=users/me/other", lookup("GET", "/users/me/other"))
  end)

  it("lets a method decide where paths agree", function()
    add("POST", "/a/b")
    add("GET", "/a/:x")
    assert.equal("/a/:x x=b", lookup("GET", "/a/b"))
    assert.equal("/a/b", lookup("POST", "/a/b"))
    assert.equal("405 GET, HEAD, POST, OPTIONS", lookup("DELETE", "/a/b"))
    assert.equal("405 GET, HEAD, OPTIONS", lookup("DELETE", "/a/c"))
  end)

  it("lets HEAD follow GET, and prefers a HEAD of its own", function()
    add("GET", "/a")
    assert.equal("/a", lookup("HEAD", "/a"))
    add("HEAD", "/a")
    assert.equal("HEAD", tree:find("HEAD", { "a" }, 1).route.method)
  end)

  it("takes any method where app:any stands, and a named one first", function()
    add("*", "/x")
    add("PUT", "/x")
    assert.equal("PUT", tree:find("PUT", { "x" }, 1).route.method)
    assert.equal("*", tree:find("PURGE", { "x" }, 1).route.method)
  end)

  it("keeps /a and /a/ apart", function()
    add("GET", "/a")
    assert.equal("404", lookup("GET", "/a/"))
    add("GET", "/b/")
    assert.equal("404", lookup("GET", "/b"))
    assert.equal("/b/", lookup("GET", "/b/"))
  end)

  it("matches :name to one segment that is not empty", function()
    add("GET", "/hello/:name")
    assert.equal("404", lookup("GET", "/hello/"))
    assert.equal("404", lookup("GET", "/hello"))
    assert.equal("404", lookup("GET", "/hello/a/b"))
    assert.equal("/hello/:name name=a/b", lookup("GET", "/hello/a%2Fb"))
  end)

  it("matches *name to the rest, which may be empty and has no slash in front", function()
    add("GET", "/files/*path")
    assert.equal("/files/*path path=a/b/", lookup("GET", "/files/a/b/"))
    assert.equal("/files/*path path=", lookup("GET", "/files/"))
    assert.equal("404", lookup("GET", "/files"))
  end)

  it("gives each route its own names for the same place", function()
    add("GET", "/:a/x")
    add("GET", "/:b/y")
    assert.equal("/:a/x a=1", lookup("GET", "/1/x"))
    assert.equal("/:b/y b=1", lookup("GET", "/1/y"))
  end)

  it("refuses the same method and place twice, whatever the names", function()
    add("GET", "/:a")
    local ok, why, there = tree:add { method = "GET", pattern = "/:b" }
    assert.is_nil(ok)
    assert.equal("is already defined", why)
    assert.equal("/:a", there.pattern)
  end)

  it("says what is wrong with a pattern", function()
    local function why(pattern)
      return select(2, router.parse(pattern))
    end
    assert.equal('"a" does not start with /', why("a"))
    assert.equal('/::: ":" is not the name of a parameter', why("/::"))
    assert.equal('/:1: "1" is not the name of a parameter', why("/:1"))
    assert.equal('/*: "" is not the name of a parameter', why("/*"))
    assert.equal('/:a/:a: the parameter "a" stands there twice', why("/:a/:a"))
    assert.equal("/*a/b: nothing may follow *a", why("/*a/b"))
    assert.equal("/a?b: a pattern is a path, without query or fragment", why("/a?b"))
  end)

  it("gives a mount what no route takes, at its prefix and below", function()
    tree:add_mount("/admin/", { prefix = "/admin" })
    add("GET", "/admin/health")
    assert.equal("/admin/health", lookup("GET", "/admin/health"))
    assert.equal("mount /admin from 2", lookup("POST", "/admin/health"))
    assert.equal("mount /admin from 2", lookup("GET", "/admin"))
    assert.equal("mount /admin from 2", lookup("GET", "/admin/a/b"))
    assert.equal("404", lookup("GET", "/administrator"))
  end)

  it("visits no more nodes for a thousand routes than for ten", function()
    for i = 1, 1000 do
      add("GET", ("/items/%d/:id"):format(i))
    end
    local lines = 0
    debug.sethook(function() lines = lines + 1 end, "l")
    lookup("GET", "/items/777/42")
    debug.sethook()
    assert.is_true(lines < 200, "lines run: " .. lines)
  end)
end)
