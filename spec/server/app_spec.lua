local client = require "spec.support.client"
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local json = moonpool.json
local app = moonpool.app()

app:use(function(req, res, next)
  req.ctx.trail = { "all" }
  next()
  if not res.sent then res:header("X-After", "all") end
end)
app:use("/admin", function(req, res, next)
  if req.headers.authorization ~= "sesame" then return res:status(401):text "no" end
  next()
end)
app:use("/forgot", function() end)

app:get("/facts/:name", function(req, res)
  res:json {
    method = req.method, target = req.target, path = req.path, name = req.params.name, version = req.version,
    remote = req.remote, ip = req.ip, scheme = req.scheme, host = req.host, base = req.base, id = req.id,
    a = req.query.a or json.null, b = req.query.b or json.null, list = json.array(req:query_list "a"),
    accept = req.headers.ACCEPT or json.null, missing = req.headers["X-Missing"] == nil,
    many = json.array(req:header_list "x-many"), joined = req.headers["x-many"] or json.null,
    cookie = req:cookie "c" or json.null, trail = json.array(req.ctx.trail),
  }
end)
app:get("/names", function(req, res)
  local names = {}
  for name in pairs(req.headers) do names[#names + 1] = name:lower() end
  table.sort(names)
  res:json(json.array(names))
end)
app:get("/files/*rest", function(req, res) res:text("rest=" .. req.params.rest) end)
app:get("/files/:one", function(req, res) res:text("one=" .. req.params.one) end)
app:get("/files/exact", function(_, res) res:text "exact" end)
app:post("/files/:one", function(_, res) res:text "posted" end)
app:get("/admin/page", function(_, res) res:text "welcome" end)
app:get("/forgot/page", function(_, res) res:text "never" end)
app:get("/two", function(req, _, next) req.ctx.n = 1 next() end, function(req, res) res:text("n=" .. req.ctx.n) end)
app:get("/status", function(_, res) res:status(418):header("X-A", "1"):add_header("X-A", "2"):text "tea" end)
app:get("/header", function(_, res)
  res:header("X-B", "1"):header("X-B", "2"):header("X-C", { "x", "y" }):header("X-D", "1"):header("X-D", nil)
  res:header("X-N", { 1, 2.5 }):header("X-O", "1"):header("X-O", {})
  res:text(res:header "X-B" .. res:status())
end)
app:get("/cookie", function(_, res) res:cookie("c", "v"):cookie("d", "w", { http_only = false, max_age = 5 }):text "" end)
app:get("/redirect", function(_, res) res:redirect "/elsewhere" end)
app:get("/html", function(_, res) res:html "<p>é</p>" end)
app:get("/json", function(_, res)
  res:json { int = 9007199254740993, float = 0.1, list = json.array {}, object = {}, null = json.null, text = "a\n\"ü" }
end)
app:post("/json", function(req, res) res:json(req:json()) end)
app:post("/twice", function(req, res) res:text(req:body() .. req:body()) end)
app:post("/mixed", function(req, res)
  req:read()
  res:text(tostring(pcall(req.body, req)))
end)
app:get("/raise", function() error "secret of the house" end)
app:get("/raise-table", function() error { some = "table" } end)
app:get("/raise-status", function() error { status = 403, message = "not for you", headers = { ["X-Why"] = "law" } } end)
app:get("/split", function(_, res) res:header("X-E", "a\r\nX-F: b"):text "no" end)
app:get("/half-a-list", function(_, res)
  res:header("X-L", { "was", "there" })
  local function try(value) return tostring(pcall(res.header, res, "X-L", value)) end
  local lazy = setmetatable({}, { __len = function() return 2 end, __index = function(_, i) return i == 1 and "new" or {} end })
  res:text(try { "new", "a\nb" } .. try { "new", {} } .. try { "new", false, "x" } .. try(lazy))
end)
app:get("/split-name", function(_, res) res:header("X-E\r\nX-F", "b"):text "no" end)
app:get("/split-redirect", function(_, res) res:redirect "/a\r\nX-F: b" end)
app:get("/ended-twice", function(_, res)
  res:text "once"
  res:text "twice"
end)
app:get("/late-header", function(_, res)
  res:write "begun"
  res:write(tostring(pcall(res.header, res, "X-G", "late")))
end)
app:get("/assign", function(req, res)
  res:text(tostring(pcall(function() req.method = "PUT" end)) .. tostring(pcall(function() req.other = 1 end)))
end)
local kept_req, kept_res
app:get("/keep-objects", function(req, res)
  kept_req, kept_res = req, res
  res:text "kept"
end)
app:get("/use-objects", function(_, res)
  local a = pcall(function() return kept_req.path end)
  local b = pcall(function() return kept_res:text "again" end)
  res:text(tostring(a) .. tostring(b))
end)
app:get("/on-head", function(_, res)
  res:on_head(function() res:header("X-Order", (res:header "X-Order" or "") .. "1") end)
  res:on_head(function() res:header("X-Order", (res:header "X-Order" or "") .. "2") end)
  res:text "x"
end)
app:get("/print", function(_, res)
  print("printed", 1)
  io.write("written ", 2, "\n")
  res:text "ok"
end)
app:get("/exit", function() os.exit(7) end)
app:get("/upvalue", function(_, res) res:text(tostring(package.loaded.moonpool == moonpool)) end)
return app
]]

describe("an app", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  -- Enough of JSON for what these answers hold.
  local function has(r, text)
    assert.are.equal(200, r.status, r.body)
    if not r.body:find(text, 1, true) then error(("%q is not in %s"):format(text, r.body), 2) end
  end

  describe("'s request", function()
    it("tells the facts of its head", function()
      local r = s:get("/facts/Ann%2FB?a=1&b=x+y%21&a=2&c", { headers = { Accept = "text/x" } })
      has(r, '"method":"GET"')
      has(r, '"target":"/facts/Ann%2FB?a=1&b=x+y%21&a=2&c"')
      has(r, '"name":"Ann/B"')
      has(r, '"version":"1.1"')
      has(r, '"ip":"127.0.0.1"')
      has(r, '"remote":"127.0.0.1:')
      has(r, '"scheme":"http"')
      has(r, '"host":"localhost"')
      has(r, '"a":"1"')
      has(r, '"b":"x y!"')
      has(r, '"list":["1","2"]')
      has(r, '"accept":"text/x"')
      has(r, '"missing":true')
      has(r, '"trail":["all"]')
    end)

    it("joins repeated fields", function()
      local r = s:get("/facts/x", { headers = { "X-Many: a", "X-Many: b", "Cookie: b=1", "Cookie: c=2" } })
      has(r, '"many":["a","b"]')
      has(r, '"joined":"a, b"')
      has(r, '"cookie":"2"')
    end)

    it("walks its fields", function()
      has(s:get("/names", { headers = { ["X-B"] = "1" } }), '["host","x-b"]')
    end)

    it("gives its body as often as it is asked, but not after a read", function()
      assert.are.equal("abab", s:post("/twice", "ab").body)
      assert.are.equal("false", s:post("/mixed", "ab").body:match "^%a+")
    end)

    it("reads JSON, and answers 400 to what is none", function()
      assert.are.equal('{"a":[1,2.5,null,true]}', s:post("/json", ' {"a": [1, 2.5, null, true]} ').body)
      assert.are.equal("[]", s:post("/json", "[]").body)
      assert.are.equal("{}", s:post("/json", "{}").body)
      assert.are.equal("9223372036854775807", s:post("/json", "9223372036854775807").body)
      assert.are.equal(400, s:post("/json", "{").status)
      assert.are.equal(400, s:post("/json", "").status)
    end)

    it("refuses to be written to", function() assert.are.equal("falsefalse", s:get("/assign").body) end)

    it("is of no use after its end", function()
      assert.are.equal("kept", s:get("/keep-objects").body)
      assert.are.equal("falsefalse", s:get("/use-objects").body)
    end)
  end)

  describe("'s routes", function()
    it("prefer what is literal, then a segment, then the rest", function()
      assert.are.equal("exact", s:get("/files/exact").body)
      assert.are.equal("one=other", s:get("/files/other").body)
      assert.are.equal("rest=a/b/c", s:get("/files/a/b/c").body)
      assert.are.equal("rest=", s:get("/files/").body)
    end)

    it("answer 404 to what they do not know, and to a trailing slash", function()
      assert.are.equal(404, s:get("/nowhere").status)
      assert.are.equal(404, s:get("/status/").status)
    end)

    it("answer 405 with Allow", function()
      local r = client.request(s.port, "DELETE", "/files/exact")
      assert.are.equal(405, r.status)
      assert.is_truthy(r.headers.allow:find "GET")
      assert.is_truthy(r.headers.allow:find "HEAD")
    end)

    it("answer OPTIONS", function()
      local r = client.request(s.port, "OPTIONS", "/status")
      assert.is_true(r.status == 204 or r.status == 200)
      assert.is_truthy(r.headers.allow:find "GET")
    end)

    it("answer 400 to a bad escape", function()
      assert.are.equal(400, s:get("/facts/%zz").status)
      assert.are.equal(400, s:get("/facts/%00").status)
    end)

    it("take several handlers", function() assert.are.equal("n=1", s:get("/two").body) end)
  end)

  describe("'s middleware", function()
    it("may answer early", function()
      assert.are.equal(401, s:get("/admin/page").status)
      assert.are.equal("welcome", s:get("/admin/page", { headers = { Authorization = "sesame" } }).body)
    end)

    it("runs for what becomes 404, too", function() assert.are.equal(401, s:get("/admin/nowhere").status) end)

    it("that neither answers nor goes on is a 500 that names its line", function()
      assert.are.equal(500, s:get("/forgot/page").status)
      s:wait_log "app%.lua:%d+"
    end)
  end)

  describe("'s response", function()
    it("sets status and fields", function()
      local r = s:get "/status"
      assert.are.equal(418, r.status)
      assert.are.equal("1, 2", r.headers["x-a"])
      r = s:get "/header"
      assert.are.equal("2200", r.body)
      assert.are.equal("2", r.headers["x-b"])
      assert.are.equal("x, y", r.headers["x-c"])
      assert.is_nil(r.headers["x-d"])
      assert.are.equal("1, 2.5", r.headers["x-n"])
      assert.is_nil(r.headers["x-o"])
    end)

    it("sets all values of a list, or none", function()
      local r = s:get "/half-a-list"
      assert.are.equal("was, there", r.headers["x-l"])
      assert.are.equal("falsefalsefalsefalse", r.body)
    end)

    it("sets cookies", function()
      local cookies = {}
      for _, line in ipairs(s:get("/cookie").lines) do
        local cookie = line:match "^[Ss]et%-[Cc]ookie: (.*)$"
        cookies[#cookies + 1] = cookie
      end
      assert.are.equal(2, #cookies)
      assert.is_truthy(cookies[1]:find "^c=v")
      assert.is_truthy(cookies[1]:find "HttpOnly")
      assert.is_truthy(cookies[1]:find "SameSite=Lax")
      assert.is_truthy(cookies[1]:find "Path=/")
      assert.is_truthy(cookies[2]:find "Max%-Age=5")
      assert.is_nil(cookies[2]:find "HttpOnly")
    end)

    it("redirects", function()
      local r = s:get "/redirect"
      assert.are.equal(302, r.status)
      assert.are.equal("/elsewhere", r.headers.location)
    end)

    it("writes HTML and JSON", function()
      assert.is_truthy(s:get("/html").headers["content-type"]:find "^text/html; charset=utf%-8")
      local r = s:get "/json"
      assert.is_truthy(r.headers["content-type"]:find "^application/json")
      has(r, '"int":9007199254740993')
      has(r, '"float":0.1')
      has(r, '"list":[]')
      has(r, '"object":{}')
      has(r, '"null":null')
    end)

    it("lets no line end through", function()
      for _, path in ipairs { "/split", "/split-name", "/split-redirect" } do
        local r = s:get(path)
        assert.are.equal(500, r.status, path)
        assert.is_nil(r.headers["x-f"], path)
      end
    end)

    it("cannot be ended twice", function()
      local r = s:get "/ended-twice"
      assert.are.equal("once", r.body)
      s:wait_log "GET /ended%-twice"
    end)

    it("has no fields to set once its head is out", function()
      assert.are.equal("begunfalse", s:get("/late-header").body:match "^begunfalse")
    end)

    it("asks on_head, latest first", function() assert.are.equal("21", s:get("/on-head").headers["x-order"]) end)
  end)

  describe("'s error", function()
    it("is a 500 without its text, and a traceback in the log; the next request is served", function()
      local r = s:get "/raise"
      assert.are.equal(500, r.status)
      assert.is_nil(r.body:find("secret", 1, true))
      assert.is_nil(r.body:find("app.lua", 1, true))
      s:wait_log "app%.lua:%d+: secret of the house"
      s:wait_log "stack traceback"
      s:wait_log "GET /raise"
      assert.are.equal(418, s:get("/status").status)
    end)

    it("may be any value", function() assert.are.equal(500, s:get("/raise-table").status) end)

    it("with a status is an answer", function()
      local r = s:get "/raise-status"
      assert.are.equal(403, r.status)
      assert.are.equal("law", r.headers["x-why"])
      assert.is_truthy(r.body:find "not for you")
      assert.are.equal(0, s:count_log "error.*not for you")
    end)

    it("is told as JSON to who prefers it", function()
      local r = s:get("/nowhere", { headers = { Accept = "application/json" } })
      assert.is_truthy(r.headers["content-type"]:find "^application/json")
    end)

    it("does not come from os.exit alone: it raises", function()
      assert.are.equal(500, s:get("/exit").status)
      assert.are.equal(418, s:get("/status").status)
    end)
  end)

  it("prints to the log", function()
    assert.are.equal("ok", s:get("/print").body)
    s:wait_log "info.*printed.*1"
    s:wait_log "info.*written 2"
  end)
end)

describe("an app that sets its own error page and on_error", function()
  it("is told of bugs once, and writes every error answer", function()
    local s = server.start { app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      local told = {}
      app:on_error(function(err, traceback, what)
        told[#told + 1] = ("%s|%s|%s|%s"):format(what.kind, tostring(what), err, traceback:find "stack traceback" and "tb")
      end)
      app:error_page(function(_, res, e) res:status(e.status):text("page " .. e.status .. " " .. tostring(e.message)) end)
      app:get("/bug", function() error("bug!", 0) end)
      app:get("/told", function(_, res) res:text(table.concat(told, "\n")) end)
      return app
    ]] }
    assert.is_truthy(s:get("/nowhere").body:find "^page 404")
    assert.is_truthy(s:post("/told", "x").body:find "^page 405")
    local r = s:get "/bug"
    assert.are.equal(500, r.status)
    assert.is_truthy(r.body:find "^page 500")
    assert.is_nil(r.body:find "bug!")
    assert.are.equal("handler|handler|bug!|tb", s:get("/told").body)
    s:stop()
  end)
end)

describe("an app that is a plain function", function()
  it("serves", function()
    local s = server.start { app = "return function(req, res) res:text('plain ' .. req.path) end\n" }
    assert.are.equal("plain /any/where", s:get("/any/where").body)
    s:stop()
  end)
end)

describe("a folder with app.lua", function()
  it("is an app, and its files can be required and read", function()
    local s = server.start {
      files = {
        ["site/app.lua"] = [[
          local moonpool = require "moonpool"
          local app, mine = moonpool.app(), require "mine"
          app:get("/", function(_, res) res:text(mine.word .. io.open("word.txt"):read "a") end)
          return app]],
        ["site/mine.lua"] = "return { word = 'own ' }",
        ["site/word.txt"] = "file",
      },
      app = "site",
    }
    assert.are.equal("own file", s:get("/").body)
    s:stop()
  end)
end)
