local fake = require "spec.support.fake_core"

describe("an app", function()
  local core, moonpool, dispatch, app

  before_each(function()
    core = fake.install()
    moonpool = require "moonpool"
    dispatch = require "moonpool.dispatch"
    require "moonpool.messages"
    app = moonpool.app()
  end)

  local function site(target)
    local handle, fail, hooks = dispatch.build(target or app)
    return { handle = handle, fail = fail, hooks = hooks }
  end

  -- The answer to one request: "status content"
  local function ask(method, path, options)
    local res = fake.request(site(), method, path, options)
    return res:status() .. " " .. res.content, res
  end

  local function text(s)
    return function(_, res) res:text(s) end
  end

  describe("with routes", function()
    it("answers by method and path, and gives the parameters", function()
      app:get("/hello/:name", function(req, res) res:text("hi " .. req.params.name) end)
      app:post("/hello/:name", function(req, res) res:text("posted " .. req.params.name) end)
      assert.equal("200 hi you", (ask("GET", "/hello/you")))
      assert.equal("200 hi a/b", (ask("GET", "/hello/a%2Fb")))
      assert.equal("200 posted you", (ask("POST", "/hello/you")))
    end)

    it("has a method for each, which can be chained", function()
      for _, word in ipairs { "get", "post", "put", "patch", "delete", "head", "options" } do
        assert.equal(app, app[word](app, "/" .. word, text(word)))
        assert.equal("200 " .. word, (ask(word:upper(), "/" .. word)))
      end
      app:any("/any", text "any")
      assert.equal("200 any", (ask("PURGE", "/any")))
    end)

    it("finds a literal path that was sent with escapes", function()
      app:get("/admin", text "in")
      assert.equal("200 in", (ask("GET", "/%61dmin")))
    end)

    it("runs nothing but the handler for a path without parameters", function()
      app:get("/plain", text "plain")
      local handle = site().handle
      fake.run(handle, fake.new_request("GET", "/plain"), fake.new_response(), "GET", "/plain")
      local run = require("moonpool.core").routes["GET /plain"]
      local calls = {}
      local req, res = fake.new_request("GET", "/plain"), fake.new_response()
      debug.sethook(function()
        local info = debug.getinfo(2, "S")
        if info.source:find("lua/moonpool", 1, true) then
          calls[#calls + 1] = info.short_src .. ":" .. info.linedefined
        end
      end, "c")
      run(req, res)
      debug.sethook()
      assert.equal(0, #calls, table.concat(calls, ", "))
      assert.equal("plain", res.content)
    end)

    it("runs earlier handlers as middleware of that route", function()
      local function mark(letter)
        return function(req, _, next)
          req.ctx.trail = (req.ctx.trail or "") .. letter
          next()
          req.ctx.trail = req.ctx.trail .. letter
        end
      end
      app:get("/a", mark "x", mark "y", function(req, res) res:text(req.ctx.trail) end)
      local answer, res = ask("GET", "/a")
      assert.equal("200 xy", answer)
      assert.equal("xyyx", res.req.ctx.trail)
    end)

    it("hands options on, and keeps a request that asks for it", function()
      local given
      core.set_limits = function(_, options) given = options end
      app:post("/up", { max_body = 10, timeout = 2, keep = true }, text "up")
      local answer, res = ask("POST", "/up")
      assert.equal("200 up", answer)
      assert.equal(10, given.max_body)
      assert.equal(2, given.timeout)
      assert.is_true(res.req.kept)
    end)

    it("hears of routes that come after the first request", function()
      local live = site()
      assert.equal(404, fake.request(live, "GET", "/late").code)
      app:get("/late", text "late")
      assert.equal("late", fake.request(live, "GET", "/late").content)
    end)
  end)

  describe("that is asked for something else", function()
    before_each(function()
      app:get("/a", text "a")
      app:post("/b/:x", text "b")
    end)

    it("answers 404 where nothing is", function()
      assert.equal(404, fake.request(site(), "GET", "/nothing").code)
    end)

    it("answers 405 and names what is allowed", function()
      local _, res = ask("DELETE", "/a")
      assert.equal(405, res.code)
      assert.equal("GET, HEAD, OPTIONS", res:header("Allow"))
      _, res = ask("GET", "/b/1")
      assert.equal(405, res.code)
      assert.equal("POST, OPTIONS", res:header("Allow"))
    end)

    it("answers OPTIONS itself", function()
      local answer, res = ask("OPTIONS", "/a")
      assert.equal("204 ", answer)
      assert.equal("GET, HEAD, OPTIONS", res:header("Allow"))
      assert.equal(404, fake.request(site(), "OPTIONS", "/nothing").code)
      assert.equal("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", select(2, ask("OPTIONS", "*")):header("Allow"))
    end)

    it("lets HEAD follow GET, with its own method", function()
      app:get("/m", function(req, res) res:text(req.method) end)
      assert.equal("200 HEAD", (ask("HEAD", "/m")))
    end)

    it("answers 400 to a bad escape", function()
      for _, path in ipairs { "/%", "/a%00", "/b/%zz" } do
        assert.equal(400, fake.request(site(), "GET", path).code, path)
      end
    end)
  end)

  describe("with middleware", function()
    local trail

    local function mark(letter)
      return function(_, _, next)
        trail = trail .. letter
        next()
        trail = trail .. letter:lower()
      end
    end

    before_each(function() trail = "" end)

    it("runs it around every route, in order, wherever it stands", function()
      app:get("/a", function(_, res) trail = trail .. "!"; res:text("a") end)
      app:use(mark "A")
      app:use(mark "B")
      ask("GET", "/a")
      assert.equal("AB!ba", trail)
    end)

    it("runs it for what becomes 404, 405 or OPTIONS", function()
      app:get("/a", text "a")
      app:use(mark "A")
      assert.equal(404, select(2, ask("GET", "/x")).code)
      assert.equal(405, select(2, ask("PUT", "/a")).code)
      assert.equal(204, select(2, ask("OPTIONS", "/a")).code)
      assert.equal("AaAaAa", trail)
    end)

    it("runs it below its prefix only, by whole segments of the decoded path", function()
      app:use("/admin", mark "A")
      app:any("/*rest", text "ok")
      for _, path in ipairs { "/admin", "/admin/", "/admin/x", "/%61dmin/x" } do
        trail = ""
        ask("GET", path)
        assert.equal("Aa", trail, path)
      end
      for _, path in ipairs { "/administrator", "/x/admin", "/", "/Admin" } do
        trail = ""
        ask("GET", path)
        assert.equal("", trail, path)
      end
    end)

    it("takes its answer when it does not call next", function()
      app:use(function(_, res) res:status(401):text("who?") end)
      app:get("/a", function() error("not to be reached") end)
      assert.equal("401 who?", (ask("GET", "/a")))
    end)

    it("is a 500 that names it when it neither answers nor calls next", function()
      local line = debug.getinfo(1, "l").currentline + 1
      app:use(function() end)
      app:get("/a", text "a")
      local _, res = ask("GET", "/a")
      assert.equal(500, res.code)
      assert.equal(("the middleware at spec/lua/app_spec.lua:%d neither answered nor called next()"):format(line),
        res.raised)
    end)

    it("sees what those below it raised, as it was raised", function()
      local raised = { status = 418 }
      local seen
      app:use(function(_, _, next)
        local ok, err = pcall(next)
        seen = not ok and err
        error(err, 0)
      end)
      app:get("/a", function() error(raised) end)
      local _, res = ask("GET", "/a")
      assert.equal(raised, seen)
      assert.equal(418, res.code)
    end)

    it("raises when next is called twice", function()
      app:use(function(_, _, next) next() next() end)
      app:get("/a", function() end)
      local _, res = ask("GET", "/a")
      assert.matches("next%(%) was called before", res.raised)
    end)

    it("may wait, and may call next from within pcall", function()
      app:use(function(_, _, next)
        core.sleep(1)
        pcall(next)
      end)
      app:get("/a", function(_, res)
        core.sleep(1)
        res:text("slow")
      end)
      assert.equal("200 slow", (ask("GET", "/a")))
    end)

    it("has the route's parameters", function()
      app:use(function(req, _, next) trail = req.params.id; next() end)
      app:get("/u/:id", text "u")
      ask("GET", "/u/7")
      assert.equal("7", trail)
    end)
  end)

  describe("with something mounted", function()
    local inner

    before_each(function()
      inner = moonpool.app()
      inner:get("/", function(req, res) res:text("root " .. req.base .. " " .. req.path) end)
      inner:get("/x", function(req, res) res:text("x " .. req.base .. " " .. req.path) end)
      inner:get("/u/:id", function(req, res) res:text("u " .. req.params.id) end)
      app:mount("/in", inner)
    end)

    it("leaves the path whole and tells the prefix", function()
      assert.equal("200 x /in /in/x", (ask("GET", "/in/x")))
      assert.equal("200 u 5", (ask("GET", "/in/u/5")))
      assert.equal("200 root /in /in/", (ask("GET", "/in/")))
      assert.equal("200 root /in /in", (ask("GET", "/in")))
    end)

    it("answers 404 and 405 below it without asking the outer routes", function()
      app:any("/*rest", text "outer")
      assert.equal(404, select(2, ask("GET", "/in/none")).code)
      assert.equal(405, select(2, ask("PUT", "/in/x")).code)
      assert.equal("200 outer", (ask("GET", "/inner")))
    end)

    it("lets an outer route beat it, also where both paths are literal", function()
      app:get("/in/:any", text "outer")
      assert.equal("200 outer", (ask("GET", "/in/x")))
      assert.equal("200 u 1", (ask("GET", "/in/u/1")))
    end)

    it("runs outer middleware, then its own, and resets the base for the outer", function()
      local trail = {}
      local function mark(name)
        return function(req, _, next)
          trail[#trail + 1] = name .. "(" .. req.base .. ")"
          next()
          trail[#trail + 1] = name .. "(" .. req.base .. ")"
        end
      end
      inner:use(mark "inner")
      app:use(mark "outer")
      ask("GET", "/in/x")
      assert.equal("outer() inner(/in) inner(/in) outer()", table.concat(trail, " "))
      trail = {}
      app:get("/top", text "top")
      ask("GET", "/top")
      assert.equal("outer() outer()", table.concat(trail, " "))
    end)

    it("uses its own error page below it, and the outer one where it has none", function()
      app:error_page(function(_, res, e) res:text("outer " .. e.status) end)
      inner:get("/bad", function() error { status = 409 } end)
      assert.equal("409 outer 409", (ask("GET", "/in/bad")))
      assert.equal("404 outer 404", (ask("GET", "/in/none")))
      inner:error_page(function(_, res, e) res:text("inner " .. e.status) end)
      assert.equal("409 inner 409", (ask("GET", "/in/bad")))
      assert.equal("404 inner 404", (ask("GET", "/in/none")))
      assert.equal("404 outer 404", (ask("GET", "/none")))
    end)

    it("goes any depth", function()
      local deep = moonpool.app()
      deep:get("/end/:n", function(req, res) res:text(req.base .. " " .. req.params.n) end)
      inner:mount("/deep", deep)
      assert.equal("200 /in/deep 3", (ask("GET", "/in/deep/end/3")))
    end)

    it("may be the same app in two places", function()
      app:mount("/again", inner)
      assert.equal("200 x /in /in/x", (ask("GET", "/in/x")))
      assert.equal("200 x /again /again/x", (ask("GET", "/again/x")))
    end)

    it("may be a function, which is given everything there", function()
      app:mount("/fn", function(req, res) res:text(req.method .. " " .. req.path) end)
      assert.equal("200 PURGE /fn/a/b", (ask("PURGE", "/fn/a/b")))
      local around, after = moonpool.app(), nil
      around:use(function(req, _, next) next() after = req.base end)
      around:mount("/deep", function(req, res) res:text(req.base) end)
      app:mount("/around", around)
      assert.equal("200 /around/deep", (ask("GET", "/around/deep/x")))
      assert.equal("/around", after)
    end)

    it("cannot be the app itself, nor one that holds it", function()
      assert.has_error(function() app:mount("/self", app) end)
      assert.has_error(function() inner:mount("/out", app) end)
      assert.has_error(function() app:mount("/in", moonpool.app()) end)
    end)

    it("runs each app's on_start once, outer first, and on_stop in reverse", function()
      local trail = {}
      local function note(word)
        return function() trail[#trail + 1] = word end
      end
      app:mount("/again", inner)
      app:on_start(note "outer"):on_stop(note "outer stops")
      inner:on_start(note "inner"):on_stop(note "inner stops")
      local hooks = site().hooks
      hooks.on_start()
      hooks.on_stop()
      assert.same({ "outer", "inner", "inner stops", "outer stops" }, trail)
    end)
  end)

  describe("that builds urls", function()
    it("fills in and encodes the parameters", function()
      app:get("/users/:id/files/*path", { name = "file" }, text "f")
      assert.equal("/users/a%2Fb/files/x/y%20z", app:url("file", { id = "a/b", path = "x/y z" }))
      assert.equal("/users/7/files/?page=2&q=a%26b", app:url("file", { id = 7, path = "", q = "a&b", page = 2 }))
    end)

    it("knows where it is mounted", function()
      local inner = moonpool.app()
      inner:get("/x", { name = "x" }, text "x")
      app:mount("/in", inner)
      assert.equal("/in/x", inner:url("x"))
      assert.equal("/in/x", app:url("x"))
    end)

    it("raises for a name or a parameter that is missing", function()
      app:get("/u/:id", { name = "u" }, text "u")
      assert.error_matches(function() app:url("v") end, 'app:url%("v"%): no route has that name')
      assert.error_matches(function() app:url("u") end, "id must be a string or a number, got nil")
      assert.error_matches(function() app:url("u", { id = "" }) end, "id may not be empty")
    end)
  end)

  describe("checks its arguments at the door and names the line", function()
    local cases = {
      { "the pattern must be a string, got nil", function(a) a:get(nil, print) end },
      { '"x" does not start with /', function(a) a:get("x", print) end },
      { "a handler is missing", function(a) a:get("/x") end },
      { "handler 1 must be a function, got nil", function(a) a:get("/x", nil) end },
      { "handler 2 must be a function, got string", function(a) a:get("/x", print, "y") end },
      { 'unknown option "nmae"', function(a) a:get("/x", { nmae = "y" }, print) end },
      { "max_body must be a number of bytes, got 8M", function(a) a:get("/x", { max_body = "8M" }, print) end },
      { "the middleware must be a function, got string", function(a) a:use("/x", "y") end },
      { "a prefix holds no :name", function(a) a:use("/:x", print) end },
      { "wants an app or a function", function(a) a:mount("/x", {}) end },
      { "the page must be a function, got number", function(a) a:error_page(1) end },
      { "its argument must be a function, got nil", function(a) a:on_start() end },
      { "call it with a colon", function(a) a.get("/x", print) end },
      { "call it with a colon", function(a) a.on_stop(print) end },
      { "is already defined, at spec/lua/app_spec.lua:%d+", function(a) a:get("/x", print) a:get("/x", print) end },
      { 'the name "n" is taken by /x', function(a)
        a:get("/x", { name = "n" }, print)
        a:get("/y", { name = "n" }, print)
      end },
    }
    for _, case in ipairs(cases) do
      it("(" .. case[1] .. ")", function()
        local ok, err = pcall(case[2], app)
        assert.is_false(ok)
        assert.matches("^spec/lua/app_spec.lua:%d+: ", err)
        assert.matches(case[1], err)
      end)
    end
  end)

  describe("that is told of errors", function()
    it("tells every on_error once, also those of mounted apps", function()
      local told, inner = {}, moonpool.app()
      app:mount("/in", inner)
      app:on_error(function(err, traceback, what) told[#told + 1] = { err, traceback, tostring(what), what.worker } end)
      inner:on_error(function(err) told[#told + 1] = { err } end)
      site().hooks.on_error("boom", "stack", { kind = "task", worker = 1 })
      assert.same({ { "boom", "stack", "task", 1 }, { "boom" } }, told)
    end)

    it("logs an on_error that fails, and goes on", function()
      local told
      app:on_error(function() error("oops") end)
      app:on_error(function(err) told = err end)
      site().hooks.on_error("boom", "stack", "handler")
      assert.equal("boom", told)
      assert.matches("on_error failed: .*oops", core.logged[1].message)
    end)

    it("raises the first error of on_stop once all have run", function()
      local ran = {}
      app:on_stop(function() ran[#ran + 1] = "first" end)
      app:on_stop(function() error("second", 0) end)
      app:on_stop(function() ran[#ran + 1] = "third"; error("third", 0) end)
      assert.has_error(site().hooks.on_stop, "third")
      assert.same({ "third", "first" }, ran)
      assert.matches("second", core.logged[1].message)
    end)
  end)

  it("may be a plain function", function()
    local plain = site(function(req, res) res:text(req.method .. req.path) end)
    assert.equal("PUT/a", fake.request(plain, "PUT", "/a").content)
    assert.equal(400, fake.request(plain, "GET", "/%").code)
    local broken = site(function() error("no") end)
    assert.equal(500, fake.request(broken, "GET", "/").code)
  end)
end)
