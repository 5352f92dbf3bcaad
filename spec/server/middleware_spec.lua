-- The middleware that comes with Moonpool, over the wire: each told by the fields of its answers.
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local auth = require "moonpool.auth"
local cors = require "moonpool.cors"
local headers = require "moonpool.security_headers"
local limit = require "moonpool.rate_limit"
local password = require "moonpool.password"
local v = require "moonpool.validate"
local app = moonpool.app()
local function who(req, res) res:text(tostring(req.ctx.user)) end

app:use(require "moonpool.request_id" {})
app:use("/cors/any", cors { origins = "*", headers = "*", max_age = 60 })
app:use("/cors/some", cors { origins = { "https://a.example", "https://b.example" }, credentials = true,
  headers = { "X-One" }, methods = { "GET", "PUT" }, expose = { "X-Total" } })
app:get("/cors/any", who):get("/cors/some", who):put("/cors/some", who)
app:use("/basic", auth.basic { realm = 'a "b"', users = { ann = "s:cret", ["bö"] = "ü" } })
app:get("/basic", who)
app:use("/bearer", require "moonpool.bearer_auth" { check = function(token)
  if token == "good" then return { id = 7 } end
  return nil, token == "small" and "scope"
end })
app:get("/bearer", function(req, res) res:text(tostring(req.ctx.user.id)) end)
app:use("/limited", limit { limit = 3, window = 30, key = function(req) return req.query.k end })
app:get("/limited", who)
app:use("/careful", headers { csp = "default-src 'self'; script-src {nonce}" })
app:get("/careful", function(req, res) res:text(headers.nonce(req)) end)
app:use("/framed", headers { csp = false, frame_ancestors = "'self'", hsts = false })
app:get("/framed", who)

local function mark(text)
  return function(_, res, next) res:add_header("X-Step", text); next() end
end
app:group("/team/:team", mark "outer", function(team)
  team:get("", { name = "team" }, function(req, res) res:text(req.params.team) end)
  team:group("/members", mark "inner", function(members)
    members:get("/:id", { name = "member" }, mark "own", function(req, res)
      res:text(req.params.team .. "/" .. req.params.id)
    end)
  end)
end)
app:get("/urls", function(_, res)
  res:text(app:url("member", { team = "a/b", id = "ü" }, { q = "x y" }))
end)

local person = v.object({
  name = v.string { min = 2, max = 5, trim = true }, age = v.integer { min = 0, max = 150 },
  tags = v.list(v.string { max = 3 }, { optional = true, max = 2 }), news = v.boolean { default = false },
  home = v.object({ city = v.string {} }, { optional = true }),
}, { unknown = "refuse" })
app:post("/person", function(req, res) res:json(req:validate(person)) end)

app:get("/events", function(req, res)
  local events = res:sse { keep_alive = 0.1, retry = 2 }
  events:send("line one\nline two", { id = req.headers["Last-Event-ID"] or "none" })
  moonpool.sleep(60)
end)
app:get("/short", function(_, res) res:sse { keep_alive = 0.1 } end)
app:get("/stats", function(_, res) collectgarbage() collectgarbage() res:json(moonpool.stats()) end)

app:get("/hash", function(req, res)
  local long = ("p\0w"):rep(10000)
  local h = assert(password.hash(long))
  res:json { hash = h, ok = password.verify(long, h), cut = password.verify(long:sub(1, -2), h),
    nul = password.verify("p", h), none = password.verify("x", nil), bad = password.verify("x", "$argon2id$nonsense"),
    stale = password.needs_rehash(h),
    old = password.needs_rehash "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A" }
end)
return app
]]

describe("the middleware", function()
  local s

  setup(function()
    s = server.start { app = app, workers = 2, args = { "--trusted-proxies", "127.0.0.1" } }
  end)
  teardown(function() s:stop() end)

  local function ask(method, path, headers, body)
    return client.request(s.port, method, path, { headers = headers, body = body })
  end

  it("request_id tells the id", function()
    assert.matches("^[%w-]+$", ask("GET", "/none").headers["x-request-id"])
    assert.not_equal(ask("GET", "/none").headers["x-request-id"], ask("GET", "/none").headers["x-request-id"])
  end)

  describe("cors", function()
    local function preflight(path, origin, method, wanted)
      return ask("OPTIONS", path, { Origin = origin, ["Access-Control-Request-Method"] = method,
        ["Access-Control-Request-Headers"] = wanted }).headers, ask("OPTIONS", path, { Origin = origin,
        ["Access-Control-Request-Method"] = method }).status
    end

    it("lets any site read where it may", function()
      local h = ask("GET", "/cors/any", { Origin = "https://x.example" }).headers
      assert.equal("*", h["access-control-allow-origin"])
      assert.is_nil(h["access-control-allow-credentials"])
      assert.is_nil(ask("GET", "/cors/any").headers["access-control-allow-origin"])
      local status
      h, status = preflight("/cors/any", "https://x.example", "DELETE", "authorization, x-two")
      assert.equal(204, status)
      assert.equal("*", h["access-control-allow-origin"])
      assert.equal("authorization, x-two", h["access-control-allow-headers"])
      assert.matches("DELETE", h["access-control-allow-methods"])
      assert.equal("60", h["access-control-max-age"])
      assert.is_nil(preflight("/cors/any", "https://x.example", "PUT", "a;b")["access-control-allow-headers"])
    end)

    it("lets the named ones only, and says on what the answer depends", function()
      for _, origin in ipairs { "https://a.example", "https://b.example" } do
        local h = ask("GET", "/cors/some", { Origin = origin }).headers
        assert.equal(origin, h["access-control-allow-origin"])
        assert.equal("true", h["access-control-allow-credentials"])
        assert.equal("X-Total", h["access-control-expose-headers"])
        assert.matches("Origin", h.vary)
      end
      for _, origin in ipairs { "https://a.example.evil.example", "http://a.example", "https://A.example", "null",
        "https://a.example:8443", "https://a.example/" } do
        local h = ask("GET", "/cors/some", { Origin = origin }).headers
        assert.is_nil(h["access-control-allow-origin"], origin)
        assert.matches("Origin", h.vary)
        h = preflight("/cors/some", origin, "PUT")
        assert.is_nil(h["access-control-allow-origin"], origin)
        assert.is_nil(h["access-control-allow-methods"], origin)
      end
      local h = preflight("/cors/some", "https://b.example", "PUT", "x-one")
      assert.equal("https://b.example", h["access-control-allow-origin"])
      assert.equal("GET, PUT", h["access-control-allow-methods"])
      assert.equal("X-One", h["access-control-allow-headers"])
      assert.matches("Access%-Control%-Request%-Method", h.vary)
    end)

    it("holds for errors too, and leaves a plain OPTIONS alone", function()
      assert.equal("https://a.example",
        ask("GET", "/cors/some/none", { Origin = "https://a.example" }).headers["access-control-allow-origin"])
      assert.matches("PUT", ask("OPTIONS", "/cors/some", { Origin = "https://a.example" }).headers.allow)
    end)
  end)

  describe("basic_auth", function()
    local mime = require "mime"
    local function with(text, scheme)
      return ask("GET", "/basic", { Authorization = (scheme or "Basic") .. " " .. (mime.b64(text) or "") })
    end

    it("lets in who knows the password, and nobody else", function()
      assert.equal("ann", with("ann:s:cret").body)
      assert.equal("ann", with("ann:s:cret", "bAsIc").body)
      assert.equal("bö", with("bö:ü").body)
      for _, text in ipairs { "ann:s:cre", "ann:s:cret2", "ann:", "ann", ":s:cret", "", "bö:s:cret", "Ann:s:cret",
        "ann:s:cret\0", "ann\0:s:cret", "\255:\255" } do
        assert.equal(401, with(text).status, text)
      end
      assert.equal(401, ask("GET", "/basic", { Authorization = "Basic !!!!" }).status)
      assert.equal(401, ask("GET", "/basic", { Authorization = "Bearer good" }).status)
      local twice = { "Authorization: Basic " .. mime.b64 "ann:s:cret", "Authorization: x" }
      assert.equal(401, ask("GET", "/basic", twice).status)
      assert.equal('Basic realm="a \\"b\\"", charset="UTF-8"', ask("GET", "/basic").headers["www-authenticate"])
    end)
  end)

  it("bearer_auth answers as RFC 6750 says", function()
    local function with(token) return ask("GET", "/bearer", { Authorization = token and "Bearer " .. token }) end
    assert.equal("7", with("good").body)
    assert.equal(401, with(nil).status)
    assert.equal('Bearer realm="restricted"', with(nil).headers["www-authenticate"])
    assert.equal(401, with("bad").status)
    assert.matches('error="invalid_token"', with("bad").headers["www-authenticate"])
    assert.equal(403, with("small").status)
    assert.matches('error="insufficient_scope"', with("small").headers["www-authenticate"])
    assert.equal(400, with('go"od').status)
  end)

  it("rate_limit counts for all workers together", function()
    local statuses, last = {}, nil
    for i = 1, 5 do
      last = ask("GET", "/limited?k=one")
      statuses[i] = last.status
      if i == 1 then assert.matches('^"default";r=2;t=%d+$', last.headers.ratelimit) end
    end
    assert.same({ 200, 200, 200, 429, 429 }, statuses)
    assert.equal('"default";q=3;w=30', last.headers["ratelimit-policy"])
    assert.matches('^"default";r=0;t=%d+$', last.headers.ratelimit)
    assert.is_true(tonumber(last.headers["retry-after"]) >= 1 and tonumber(last.headers["retry-after"]) <= 30)
    assert.equal(200, ask("GET", "/limited?k=two").status)
    for _ = 1, 5 do assert.equal(200, ask("GET", "/limited").status) end
    assert.equal(400, ask("GET", "/limited?k=" .. ("k"):rep(600)).status)
  end)

  it("security_headers tells a browser to be careful", function()
    local r = ask("GET", "/careful")
    assert.equal("nosniff", r.headers["x-content-type-options"])
    assert.equal("DENY", r.headers["x-frame-options"])
    assert.equal("strict-origin-when-cross-origin", r.headers["referrer-policy"])
    assert.equal(("default-src 'self'; script-src 'nonce-%s'; frame-ancestors 'none'"):format(r.body),
      r.headers["content-security-policy"])
    assert.not_equal(r.body, ask("GET", "/careful").body)
    assert.is_nil(r.headers["strict-transport-security"])
    r = ask("GET", "/careful", { ["X-Forwarded-For"] = "192.0.2.1", ["X-Forwarded-Proto"] = "https" })
    assert.equal("max-age=31536000", r.headers["strict-transport-security"])
    r = ask("GET", "/framed")
    assert.equal("frame-ancestors 'self'", r.headers["content-security-policy"])
    assert.equal("SAMEORIGIN", r.headers["x-frame-options"])
  end)

  it("a group has its prefix and its steps, in order", function()
    local r = ask("GET", "/team/red/members/7")
    assert.equal("red/7", r.body)
    assert.equal("outer, inner, own", r.headers["x-step"])
    assert.equal("red", ask("GET", "/team/red").body)
    assert.equal(404, ask("GET", "/team/red/none").status)
    assert.equal("/team/a%2Fb/members/%C3%BC?q=x%20y", ask("GET", "/urls").body)
  end)

  describe("req:validate", function()
    local FORM, JSON = "application/x-www-form-urlencoded", "application/json"
    local function post(body, kind, accept)
      return ask("POST", "/person", { ["Content-Type"] = kind, Accept = accept or JSON }, body)
    end

    it("reads a form's text as what is wanted", function()
      local r = post("name=%20Ann%20&age=30&tags=a&tags=b&news=on", FORM)
      assert.equal(200, r.status)
      for _, part in ipairs { '"name":"Ann"', '"age":30', '"tags":%["a","b"%]', '"news":true' } do
        assert.matches(part, r.body)
      end
    end)

    it("takes JSON as it is", function()
      assert.equal(200, post('{"name":"Ann","age":30,"home":{"city":"X"}}', JSON).status)
      assert.equal(422, post('{"name":"Ann","age":"30"}', JSON).status)
      assert.equal(422, post('{"name":7,"age":30}', JSON).status)
      assert.equal(422, post('[]', JSON).status)
      assert.equal(422, post('null', JSON).status)
      assert.equal(400, post('{', JSON).status)
      assert.equal(415, post('x', "text/plain").status)
    end)

    it("lists all that is wrong, in the form that is asked for", function()
      local body = '{"name":"A","age":1.5,"tags":["ok","long"],"home":{},"<x>":1}'
      local r = post(body, JSON)
      assert.equal(422, r.status)
      for _, field in ipairs { "name", "age", "tags%[2%]", "home.city", "<x>" } do
        assert.matches('"field":"' .. field .. '"', r.body)
      end
      r = post(body, JSON, "application/problem+json, application/json;q=0.9")
      assert.equal("application/problem+json", r.headers["content-type"])
      assert.matches('"type":"about:blank"', r.body)
      assert.matches('"status":422', r.body)
      r = post(body, JSON, "text/html")
      assert.matches("<li>home.city is required", r.body)
      assert.matches("&lt;x&gt;", r.body)
    end)

    it("counts characters, and refuses what is no text", function()
      assert.equal(200, post("name=%C3%BC%C3%BC%C3%BC%C3%BC%C3%BC&age=1", FORM).status)
      assert.equal(422, post("name=%FF%FF%FF&age=1", FORM).status)
      assert.equal(422, post("name=Ann&age=99999999999999999999", FORM).status)
      assert.equal(422, post("name=Ann&age=0x10", FORM).status)
      assert.equal(422, post("name=Ann&age=", FORM).status)
    end)
  end)

  it("errors come as the client likes them", function()
    local function kind(accept) return ask("GET", "/none", { Accept = accept }).headers["content-type"] end
    assert.matches("^text/html", kind(nil))
    assert.matches("^text/html", kind "*/*")
    assert.equal("application/json", kind "application/json")
    assert.equal("application/json", kind "application/*")
    assert.equal("application/problem+json", kind "application/problem+json")
    assert.equal("application/problem+json", kind "application/json;q=0.5, application/problem+json")
    assert.equal("application/json", kind "text/html;q=0.1, application/json;q=0.2")
    assert.matches("^text/html", kind "application/json;q=0, text/html;q=0.1")
    assert.matches("Accept", ask("GET", "/none").headers.vary)
  end)

  describe("res:sse", function()
    it("sends comments while nothing else is said, and knows where the client was", function()
      local c = client.connect(s.port)
      c:send(client.bytes("GET", "/events", { headers = { ["Last-Event-ID"] = "41" } }))
      assert.equal(200, c:head().status)
      local text = ""
      repeat text = text .. c:chunk() until select(2, text:gsub(":\n\n", "")) >= 3
      assert.matches("^retry: 2000\n\nid: 41\ndata: line one\ndata: line two\n\n:\n\n:\n\n", text)
      c:close()
    end)

    it("is over for both sides when either has gone", function()
      local connections = {}
      for i = 1, 10 do
        connections[i] = client.connect(s.port)
        connections[i]:send(client.bytes("GET", "/events"))
        assert.equal(200, connections[i]:head().status)
      end
      for _, c in ipairs(connections) do c:close() end
      assert.equal(200, ask("GET", "/short").status)
      wait.until_true(function()
        for _ = 1, 4 do
          if ask("GET", "/stats").body:match '"in_flight":(%d+)' ~= "1" then return false end
        end
        return true
      end, 5, "the end of the streams")
    end)
  end)

  it("password hashes whole passwords, and takes as long for nobody", function()
    local r = ask("GET", "/hash")
    assert.equal(200, r.status, r.body)
    assert.matches('"hash":"%$argon2id%$v=19%$m=65536,t=2,p=1%$', r.body)
    for _, part in ipairs { '"ok":true', '"cut":false', '"nul":false', '"none":false', '"bad":false', '"stale":false',
      '"old":true' } do
      assert.matches(part, r.body)
    end
  end)
end)

describe("a rate limit without room to count", function()
  after_each(server.stop_all)

  it("lets all pass, and says so once", function()
    local s = server.start { args = { "--shared-memory", "256K" }, app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      app:on_start(function()
        local full, n = moonpool.shared "full", 0
        repeat n = n + 1 until not full:set("k" .. n, ("x"):rep(1000))
        repeat n = n + 1 until not full:set("k" .. n, 1)
      end)
      app:use(require "moonpool.rate_limit" { limit = 1, window = 30 })
      app:get("/", function(_, res) res:text "in" end)
      return app]] }
    for _ = 1, 4 do assert.equal(200, s:get("/").status) end
    s:wait_log "rate_limit: cannot count, all may pass"
    assert.equal(1, s:count_log "rate_limit: cannot count")
    s:stop()
  end)
end)
