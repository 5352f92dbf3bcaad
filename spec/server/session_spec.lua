-- Signed and sealed cookies, sessions, flash messages, forms with tokens: over the wire.
local server = require "spec.support.server"

local SECRET, OLD = ("0123456789abcdef"):rep(4), ("fedcba9876543210"):rep(4)

local app = [[
local moonpool = require "moonpool"
local session = require "moonpool.session"
local csrf = require "moonpool.csrf"
local app = moonpool.app()

local function routes(to)
  to:get("/get", function(req, res) res:text(tostring(session.get(req).data.user)) end)
  to:get("/set", function(req, res) req.ctx.session.data.user = req.query.v; res:text "set" end)
  to:get("/login", function(req, res) req.ctx.session:regenerate().data.user = "ann"; res:text "in" end)
  to:get("/out", function(req, res) req.ctx.session:destroy(); res:text "out" end)
  to:get("/untouched", function(_, res) res:text "nothing" end)
  to:get("/big", function(req, res) req.ctx.session.data.big = ("x"):rep(5000); res:text "never" end)
  to:get("/flash", function(req, res) req.ctx.session:flash("info", "saved <b>"); res:redirect "/flashes" end)
  to:get("/flashes", function(req, res)
    local out = {}
    for i, f in ipairs(req.ctx.session:flashes()) do out[i] = f.kind .. "=" .. f.message end
    res:text(table.concat(out, ","))
  end)
  to:get("/slow", function(req, res)
    req.ctx.session.data.late = true
    moonpool.sleep(tonumber(req.query.s))
    res:text "late"
  end)
  to:get("/token", function(req, res) res:text(csrf.token(req)) end)
  to:post("/change", function(req, res) res:text "changed" end)
  to:post("/hook", function(req, res) res:text "hooked" end)
end

local sealed, stored, short, loose = moonpool.app(), moonpool.app(), moonpool.app(), moonpool.app()
sealed:use(session {}):use(csrf { exempt = { "/sealed/hook" } })
stored:use(session { store = session.shared() }):use(csrf {})
short:use(session { idle = 0.3 }):use(csrf {})
loose:use(csrf { trusted = { "https://friend.example" } })
routes(sealed) routes(stored) routes(short) routes(loose)
app:mount("/sealed", sealed):mount("/stored", stored):mount("/short", short):mount("/loose", loose)

app:get("/sign", function(req, res)
  res:signed_cookie("a", req.query.v, { max_age = tonumber(req.query.age) }):finish "signed"
end)
app:get("/verify", function(req, res) res:text(tostring(req:signed_cookie(req.query.as or "a"))) end)
app:get("/seal", function(req, res) res:encrypted_cookie("b", req.query.v):finish "sealed" end)
app:get("/open", function(req, res) res:text(tostring(req:encrypted_cookie(req.query.as or "b"))) end)
return app
]]

local function conf(text) return { ["moonpool.conf.lua"] = text } end

-- A browser of one site: keeps cookies by name.
local function browser(s, jar)
  local b = { jar = jar or {} }
  function b.ask(method, path, options)
    options = options or {}
    local pairs_of, headers = {}, options.headers or {}
    for name, value in pairs(b.jar) do pairs_of[#pairs_of + 1] = name .. "=" .. value end
    if #pairs_of > 0 then headers.Cookie = table.concat(pairs_of, "; ") end
    local r = require("spec.support.client").request(s.port, method, path,
      { headers = headers, body = options.body, host = options.host })
    r.set = {}
    for _, line in ipairs(r.lines) do
      local name, value, attributes = line:match "^[Ss]et%-[Cc]ookie: ([^=]+)=([^;]*)(.*)$"
      if name then
        r.set[name] = value .. attributes
        b.jar[name] = not attributes:find "Max%-Age=0" and value or nil
      end
    end
    return r
  end
  function b.get(path, options) return b.ask("GET", path, options) end
  return b
end

describe("a server with a secret", function()
  local s

  setup(function()
    s = server.start { app = app, workers = 2, args = { "--log-level", "debug", "--trusted-proxies", "127.0.0.1" },
      files = conf(("app = { secret = { %q, %q } }"):format(SECRET, OLD)) }
  end)
  teardown(function() s:stop() end)

  describe("signs cookies, and", function()
    local function signed(v, age)
      local b = browser(s)
      b.get("/sign?v=" .. v .. (age and "&age=" .. age or ""))
      return b
    end

    it("knows them again in every worker", function()
      local b = signed "hello%20%F0%9F%8C%99"
      for _ = 1, 6 do assert.equal("hello 🌙", b.get("/verify").body) end
    end)

    it("takes one of which any byte was changed for none", function()
      local b = signed "user7"
      local text = b.jar.a
      for i = 1, #text do
        local c = text:sub(i, i)
        local other = browser(s, { a = text:sub(1, i - 1) .. (c == "A" and "B" or "A") .. text:sub(i + 1) })
        assert.equal("nil", other.get("/verify").body, "byte " .. i)
      end
      assert.equal("nil", browser(s, { a = text .. "A" }).get("/verify").body)
      assert.equal("nil", browser(s, { a = text .. "=" }).get("/verify").body)
      s:wait_log "debug .*the cookie a is none"
    end)

    it("takes it for none under another name", function()
      assert.equal("nil", browser(s, { c = signed("user7").jar.a }).get("/verify?as=c").body)
    end)

    it("takes it for none once it has expired", function()
      local b = signed("user7", 1)
      assert.matches("Max%-Age=1", b.get("/sign?v=x&age=1").set.a)
      local text = b.jar.a
      require("spec.support.wait").until_true(function()
        return browser(s, { a = text }).get("/verify").body == "nil"
      end, 5, "the end of the cookie")
    end)

    it("finds its own behind one that a neighbour has planted", function()
      local own = signed("user7").jar.a
      local r = s:get("/verify", { headers = { Cookie = "a=evil; a=" .. own } })
      assert.equal("user7", r.body)
    end)

    it("bears whatever a client makes up", function()
      for _, text in ipairs { "", ".", "..", "a.b.c", ".0.", ("."):rep(500), "AAAA.99999999999999999999999999.AAAA",
        "%00.0.%00", "AAAA.-1.AAAA", ("A"):rep(3000) .. ".0.AA" } do
        assert.equal("nil", s:get("/verify", { headers = { Cookie = "a=" .. text } }).body, text)
        assert.equal("nil", s:get("/open", { headers = { Cookie = "b=" .. text } }).body, text)
      end
    end)
  end)

  it("seals cookies: the client cannot read, change or rename them", function()
    local b = browser(s)
    b.get "/seal?v=hidden"
    assert.equal("hidden", b.get("/open").body)
    assert.is_nil(b.jar.b:find "hidden")
    local again = browser(s)
    again.get "/seal?v=hidden"
    assert.not_equal(b.jar.b, again.jar.b)
    assert.equal("nil", browser(s, { c = b.jar.b }).get("/open?as=c").body)
    for i = 1, #b.jar.b, 7 do
      local c = b.jar.b:sub(i, i)
      local text = b.jar.b:sub(1, i - 1) .. (c == "A" and "B" or "A") .. b.jar.b:sub(i + 1)
      assert.equal("nil", browser(s, { b = text }).get("/open").body, "byte " .. i)
    end
  end)

  for _, at in ipairs { "/sealed", "/stored" } do
    describe("with a session at " .. at, function()
      it("remembers what it was given, in every worker", function()
        local b = browser(s)
        assert.equal("nil", b.get(at .. "/get").body)
        assert.is_nil(b.jar.session)
        local r = b.get(at .. "/set?v=ann")
        assert.matches("; Path=/; SameSite=Lax; HttpOnly$", r.set.session)
        assert.is_nil(r.set.session:find "Secure")
        assert.equal("private, no-cache", r.headers["cache-control"])
        assert.matches("Cookie", r.headers.vary)
        for _ = 1, 6 do assert.equal("ann", b.get(at .. "/get").body) end
        assert.equal("nil", browser(s).get(at .. "/get").body)
      end)

      it("sets no cookie where nothing was touched or nothing changed", function()
        local b = browser(s)
        b.get(at .. "/set?v=ann")
        local r = b.get(at .. "/untouched")
        assert.is_nil(r.headers["set-cookie"])
        assert.is_nil(r.headers.vary)
        assert.is_nil(b.get(at .. "/get").headers["set-cookie"])
      end)

      it("has a new id after a login, and the old one is no session any more where there is a store", function()
        local b = browser(s)
        b.get(at .. "/set?v=guest")
        local before = b.jar.session
        b.get(at .. "/login")
        assert.not_equal(before, b.jar.session)
        assert.equal("ann", b.get(at .. "/get").body)
        if at == "/stored" then assert.equal("nil", browser(s, { session = before }).get(at .. "/get").body) end
      end)

      it("takes over no id that it has not given", function()
        local planted = ("ab"):rep(32)
        local b = browser(s, { session = planted })
        b.get(at .. "/set?v=ann")
        assert.not_equal(planted, b.jar.session)
        assert.equal("nil", browser(s, { session = planted }).get(at .. "/get").body)
      end)

      it("ends", function()
        local b = browser(s)
        b.get(at .. "/set?v=ann")
        local before = b.jar.session
        assert.matches("Max%-Age=0", b.get(at .. "/out").set.session)
        assert.is_nil(b.jar.session)
        if at == "/stored" then assert.equal("nil", browser(s, { session = before }).get(at .. "/get").body) end
      end)

      it("shows a message once", function()
        local b = browser(s)
        assert.equal(302, b.get(at .. "/flash").status)
        assert.equal("info=saved <b>", b.get(at .. "/flashes").body)
        assert.equal("", b.get(at .. "/flashes").body)
      end)
    end)
  end

  it("does not bring a session back that was ended while it was used", function()
    local b, client = browser(s), require "spec.support.client"
    b.get "/stored/set?v=ann"
    local c = client.connect(s.port)
    c:send(client.bytes("GET", "/stored/slow?s=0.6", { headers = { Cookie = "session=" .. b.jar.session } }))
    local before = b.jar.session
    require("spec.support.wait").sleep(0.2)
    b.get "/stored/out"
    local r = c:response "GET"
    c:close()
    assert.matches("Max%-Age=0", r.headers["set-cookie"])
    assert.equal("nil", browser(s, { session = before }).get("/stored/get").body)
  end)

  it("refuses a session that no browser would keep, and says so in the log", function()
    assert.equal(500, s:get("/sealed/big").status)
    s:wait_log "session: its cookie would have %d+ bytes, and browsers keep 4096"
    assert.equal(200, s:get("/stored/big").status)
  end)

  it("lets a session end when it is idle", function()
    local b = browser(s)
    b.get "/short/set?v=ann"
    local kept = b.jar.session
    require("spec.support.wait").until_true(function()
      return browser(s, { session = kept }).get("/short/get").body == "nil"
    end, 5, "the end of the session")
  end)

  it("has a cookie over https that no neighbour can set", function()
    local function over_https(path, jar)
      return s:get(path, { headers = { Cookie = jar, ["X-Forwarded-For"] = "192.0.2.1", ["X-Forwarded-Proto"] = "https" } })
    end
    for _, at in ipairs { "/sealed", "/stored" } do
      local field = over_https(at .. "/set?v=ann").headers["set-cookie"]
      local text = field:match "^__Host%-session=([^;]+); Path=/; SameSite=Lax; Secure; HttpOnly$"
      assert.is_truthy(text, field)
      assert.equal("ann", over_https(at .. "/get", "__Host-session=" .. text).body)
      assert.equal("nil", over_https(at .. "/get", "session=" .. text).body)
    end
    assert.matches("^__Host%-csrf=[^;]+; Path=/; SameSite=Lax; Secure", over_https("/loose/token").headers["set-cookie"])
  end)

  it("finds its own session behind one that a neighbour has planted", function()
    for _, at in ipairs { "/sealed", "/stored" } do
      local b = browser(s)
      b.get(at .. "/set?v=ann")
      local jar = ("session=evil; session=%s; session=%s"):format(("ab"):rep(32), b.jar.session)
      assert.equal("ann", s:get(at .. "/get", { headers = { Cookie = jar } }).body)
    end
  end)

  it("has no secret where children or the settings could show it", function()
    local other = server.start { app = [[
      local moonpool = require "moonpool"
      return function(_, res) res:text(moonpool.run({ "env" }).stdout) end]], env = { MOONPOOL_SECRET = SECRET } }
    local text = other:get("/").body
    other:stop()
    assert.is_truthy(text:find("PATH=", 1, true))
    assert.is_nil(text:find(SECRET, 1, true))
  end)

  describe("takes a form", function()
    local FORM = "application/x-www-form-urlencoded"

    local function with(b, at, token, headers, field)
      headers = headers or {}
      headers["Content-Type"] = FORM
      if field == false then headers["X-CSRF-Token"] = token end
      return b.ask("POST", at .. "/change", { headers = headers,
        body = field == false and "" or token and "csrf_token=" .. token or "x=1" })
    end

    for _, at in ipairs { "/sealed", "/stored", "/loose" } do
      it("with a token of this browser, in a field or a header, at " .. at, function()
        local b = browser(s)
        local token = b.get(at .. "/token").body
        assert.equal(86, #token)
        assert.not_equal(token, b.get(at .. "/token").body)
        assert.equal(200, with(b, at, token).status)
        assert.equal(200, with(b, at, token, nil, false).status)
        assert.equal(403, with(b, at, nil).status)
        assert.equal(403, with(b, at, "").status)
        assert.equal(403, with(b, at, token:sub(1, 85)).status)
        assert.equal(403, with(b, at, (token:sub(1, 1) == "A" and "B" or "A") .. token:sub(2)).status)
        assert.equal(403, with(b, at, ("A"):rep(86)).status)
        assert.equal(403, with(browser(s), at, token).status)
        local other = browser(s)
        other.get(at .. "/token")
        assert.equal(403, with(other, at, token).status)
      end)

      it("only from its own pages at " .. at, function()
        local b = browser(s)
        local token = b.get(at .. "/token").body
        local function sent(headers) return with(b, at, token, headers).status end
        assert.equal(200, sent { Origin = "http://localhost" })
        assert.equal(200, sent { Origin = "http://localhost", ["Sec-Fetch-Site"] = "same-origin" })
        assert.equal(200, sent { ["Sec-Fetch-Site"] = "none" })
        assert.equal(403, sent { Origin = "http://localhost.evil.example" })
        assert.equal(403, sent { Origin = "https://localhost" })
        assert.equal(403, sent { Origin = "null" })
        assert.equal(403, sent { ["Sec-Fetch-Site"] = "cross-site" })
        assert.equal(403, sent { ["Sec-Fetch-Site"] = "same-site" })
        assert.equal(at == "/loose" and 200 or 403,
          sent { Origin = "https://friend.example", ["Sec-Fetch-Site"] = "cross-site" })
      end)
    end

    it("without a token where the route is exempt", function()
      assert.equal(200, s:post("/sealed/hook", "x").status)
      assert.equal(403, s:post("/sealed/change", "x").status)
    end)

    it("not with a cookie that a neighbour has made up", function()
      local b = browser(s, { csrf = ("ab"):rep(32) })
      assert.equal(403, with(b, "/loose", ("A"):rep(86)).status)
    end)
  end)
end)

describe("a secret", function()
  after_each(server.stop_all)

  it("may be changed: the first signs, the others still verify", function()
    local old = server.start { app = app, env = { MOONPOOL_SECRET = OLD } }
    local b = browser(old)
    b.get "/sign?v=before"
    old:stop()
    local s = server.start { app = app, files = conf(("app = { secret = { %q, %q } }"):format(SECRET, OLD)) }
    assert.equal("before", browser(s, b.jar).get("/verify").body)
    s:stop()
    local new = server.start { app = app, files = { ["secret.txt"] = SECRET .. "\n",
      ["moonpool.conf.lua"] = 'app = { secret_file = "secret.txt" }' } }
    assert.equal("nil", browser(new, b.jar).get("/verify").body)
  end)

  it("that is too short ends the start, and is not shown", function()
    local s = server.launch { app = app, argv = nil, files = conf 'app = { secret = "tooshort" }',
      args = { "--listen", "127.0.0.1:0" }, bare = true }
    assert.same({ "exit", 3 }, { s:wait_exit() })
    assert.matches("app.secret has 8 bytes, at least 32 are needed", s:log())
    assert.is_nil(s:log():find "tooshort")
    s:abandon()
  end)

  it("that is missing is named where a session wants one", function()
    local s = server.launch { app = app, args = { "--listen", "127.0.0.1:0" }, bare = true }
    assert.same({ "exit", 3 }, { s:wait_exit() })
    assert.matches("app.lua:%d+: session: no secret is configured", s:log())
    s:abandon()
  end)
end)
