local moonpool = require "moonpool"
local test = require "moonpool.test"

local function app_of(define)
  local app = moonpool.app()
  define(app)
  return app
end

describe("test.client", function()
  it("serves an app, a plain function, or a file", function()
    assert.equal("a", test.client(app_of(function(app) app:get("/", function(_, res) res:text "a" end) end)):get("/").body)
    assert.equal("/x", test.client(function(req, res) res:text(req.path) end):get("/x").body)
    assert.equal("hello, Ada\n", test.client("examples/hello"):get("/hello/Ada").body)
    assert.equal("hello, Bob\n", test.client("examples/hello/app.lua"):get("/hello/Bob").body)
  end)

  it("has many apps beside each other", function()
    local clients = {}
    for i = 1, 5 do
      clients[i] = test.client(app_of(function(app)
        app:get("/", function(_, res) res:text(tostring(i)) end)
        app:get("/only/:x" .. i, function(req, res) res:text(req.params["x" .. i]) end)
      end))
    end
    for i = 1, 5 do
      assert.equal(tostring(i), clients[i]:get("/").body)
      assert.equal("v", clients[i]:get("/only/v").body)
    end
  end)

  it("runs on_start before the first request and on_stop at the end", function()
    local order = {}
    local app = app_of(function(app)
      app:on_start(function() moonpool.sleep(0.001) table.insert(order, "start") end)
      app:on_stop(function() moonpool.sleep(0.001) table.insert(order, "stop") end)
      app:get("/", function(_, res) table.insert(order, "get") res:text "" end)
    end)
    do
      local client <close> = test.client(app)
      client:get "/"
    end
    assert.same({ "start", "get", "stop" }, order)
  end)

  it("raises what on_start or the app file raises", function()
    assert.has_error(function()
      test.client(app_of(function(app) app:on_start(function() error("no database", 0) end) end))
    end, "no database")
    assert.has_error(function() test.client "spec/test/none.lua" end)
    assert.equal(200, test.client("examples/hello"):get("/").status) -- the folder is the old one again
  end)

  it("gives headers in any case, cookies, and repeated fields as a list", function()
    local answer = test.client(function(_, res)
      res:add_header("X-Many", "1"):add_header("X-Many", "2"):cookie("id", "a b", { max_age = 5 }):text "x"
    end):get "/"
    assert.equal("1, 2", answer.headers["x-MANY"])
    assert.same({ "1", "2" }, answer:header_list "x-many")
    assert.equal("a b", answer.cookies.id.value)
    assert.is_true(answer.cookies.id.http_only)
  end)

  it("keeps cookies as a browser does", function()
    local client = test.client(app_of(function(app)
      app:get("/set", function(_, res)
        res:cookie("everywhere", "1"):cookie("below", "2", { path = "/admin" }):cookie("safe", "3", { secure = true })
          :cookie("short", "4", { max_age = 10 }):cookie("foreign", "5", { domain = "example.org" }):text ""
      end)
      app:any("/*rest", function(req, res) res:text(req.headers.cookie or "") end)
    end))
    local clock = test.clock()
    client:get "/set"
    assert.equal("everywhere=1; short=4", client:get("/").body)
    assert.equal("below=2; everywhere=1; short=4", client:get("/admin/x").body)
    assert.equal("everywhere=1; short=4", client:get("/administrator").body)
    clock:advance(11)
    assert.equal("everywhere=1", client:get("/").body)
    assert.same({ everywhere = "1", below = "2", safe = "3" }, client:cookies())
  end)

  it("follows redirects when asked to, and knows when there is no end", function()
    local client = test.client(app_of(function(app)
      app:post("/a", function(_, res) res:redirect("/b?x=1", 303) end)
      app:get("/b", function(req, res) res:text(req.method .. req.query.x) end)
      app:get("/round", function(_, res) res:redirect "/round" end)
      app:get("/out", function(_, res) res:redirect "http://elsewhere.example/" end)
    end))
    assert.equal(303, client:post("/a", { body = "x" }).status)
    local answer = client:post("/a", { body = "x", follow = true })
    assert.same({ "GET1", 1 }, { answer.body, answer.redirects })
    assert.equal(302, client:get("/out", { follow = true }).status)
    assert.has_error(function() client:get("/round", { follow = true }) end, "the redirects have no end: /round")
  end)

  it("cancels a request when it hangs up", function()
    local ended
    local client = test.client(app_of(function(app)
      app:get("/", function(_, res)
        local _ <close> = setmetatable({}, { __close = function(_, err) ended = err end })
        res:write "begun"
        moonpool.run { "sleep", "4321.125" }
      end)
    end))
    local answer = client:get("/", { stream = true })
    assert.equal("begun", answer:read())
    client:disconnect()
    while not ended do moonpool.sleep(0.005) end
    assert.equal(moonpool.cancelled, ended)
    local request = client:send("GET", "/")
    assert.equal("begun", request:response():read())
    request:disconnect()
  end)

  it("remembers errors, and fails the test by those that no answer tells of", function()
    local client = test.client(app_of(function(app)
      app:get("/bug", function() error "a bug" end)
      app:get("/task", function(_, res) moonpool.spawn(function() error { message = "of a task" } end) res:text "" end)
    end), { strict = false })
    assert.equal(500, client:get("/bug").status)
    client:get "/task"
    test.settle()
    assert.equal(2, #client.errors)
    assert.same({ "handler", "GET /bug" }, { client.errors[1].kind, client.errors[1].request })
    assert.is_truthy(client.errors[1].error:find "client_spec.lua:%d+: a bug")
    assert.is_truthy(client.errors[1].traceback:find "client_spec.lua")
    assert.same({ "task", "of a task" }, { client.errors[2].kind, client.errors[2].error.message })
  end)

  it("tells the app's own on_error too", function()
    local heard
    local client = test.client(app_of(function(app)
      app:get("/", function() error("x", 0) end)
      app:on_error(function(err, _, what) heard = err .. what.kind end)
    end))
    client:get "/"
    assert.equal("xhandler", heard)
  end)

  it("ends timers and background tasks of the app with it", function()
    local ticks = 0
    do
      local client = test.client(app_of(function(app)
        app:on_start(function() moonpool.every(0.001, function() ticks = ticks + 1 end) end)
        app:get("/", function(_, res) moonpool.background(function() moonpool.sleep(1000) end) res:text "" end)
      end))
      client:get "/"
      while ticks == 0 do moonpool.sleep(0.001) end
      client:close()
    end
    local before = ticks
    moonpool.sleep(0.02)
    assert.equal(before, ticks)
  end)

  it("has the limits it is given", function()
    local client = test.client(function(req, res) res:text(req:body()) end, { max_body = 3, remote = "192.0.2.7" })
    assert.equal(413, client:post("/", { body = "1234" }).status)
    assert.equal("192.0.2.7", test.client(function(req, res) res:text(req.ip) end, { remote = "192.0.2.7" }):get("/").body)
  end)

  it("compresses for who asks for it", function()
    local client = test.client(function(_, res) res:text(("x"):rep(10000)) end)
    assert.equal("gzip", client:get("/", { headers = { ["Accept-Encoding"] = "gzip" } }).headers["content-encoding"])
  end)

  it("names a wrong argument", function()
    local client = test.client(function(_, res) res:text "" end)
    assert.has_error(function() client:get(1) end, "get: the path must be a string, got number")
    assert.has_error(function() client:get "x" end, 'get: the path must begin with a slash, got "x"')
    assert.has_error(function() client:post("/", { boddy = "" }) end)
    assert.has_error(function() client:post("/", { body = "", form = {} }) end, "post: body and form exclude each other")
    assert.has_error(function() client:get("/", { headers = { X = "a\r\nb" } }) end)
    assert.has_error(function() test.client(7) end, "client: the app must be a path, an app or a function(req, res), got number")
    assert.has_error(function() test.client(client, { folow = true }) end)
    assert.has_error(function() test.client "https://example.org" end)
  end)
end)

describe("a client that was opened for several tests", function()
  local client
  setup(function() client = test.client "examples/hello" end)
  it("serves the first", function() assert.equal(200, client:get("/").status) end)
  it("serves the second", function() assert.equal(200, client:get("/").status) end)
end)

describe("test.server", function()
  it("is the real one, with its log, and ends with the test", function()
    local server <close> = test.server { app = "examples/hello", workers = 2, args = { "--access-log", "-" } }
    assert.equal("http://127.0.0.1:" .. server.port, server.url)
    assert.equal("hello, Ada\n", server:client():get("/hello/Ada").body)
    assert.equal("hello, Ada\n", test.client(server.url):get("/hello/Ada").body)
    server:stop()
    assert.is_truthy(server:log():find "GET /hello/Ada", server:log())
  end)

  it("says why it does not start", function()
    local ok, message = pcall(test.server, { app = "spec/test/none" })
    assert.is_false(ok)
    assert.is_truthy(message:find("server: it does not start; its log:", 1, true), message)
  end)
end)
