-- The kit where what it stands on waits or fails: an error is told, and never taken for success.
local csrf = require "moonpool.csrf"
local moonpool = require "moonpool"
local rate_limit = require "moonpool.rate_limit"
local session = require "moonpool.session"
local test = require "moonpool.test"

local function app_of(define)
  local app = moonpool.app()
  define(app)
  return app
end

-- A store whose every call takes a while.
local function waiting_store()
  local store = { kept = {} }
  function store:load(id) moonpool.sleep(0.001) return self.kept[id] end
  function store:save(id, text, _, existing)
    moonpool.sleep(0.001)
    if existing and not self.kept[id] then return false end
    self.kept[id] = text
    return true
  end
  function store:delete(id)
    moonpool.sleep(0.001)
    local had = self.kept[id] ~= nil
    self.kept[id] = nil
    return had
  end
  return store
end

local function site(store)
  return app_of(function(app)
    app:use(session { store = store })
    app:get("/count", function(req, res)
      local s = session.get(req)
      s.data.n = (s.data.n or 0) + 1
      s:save()
      res:text(tostring(s.data.n))
    end)
    app:get("/unsaved", function(req, res)
      session.get(req).data.n = 100
      res:text "answered"
    end)
    app:get("/login", function(req, res)
      local s = session.get(req):regenerate()
      s.data.user = "Ada"
      s:save()
      res:text "in"
    end)
    app:get("/logout", function(req, res)
      session.get(req):destroy()
      res:text "out"
    end)
    app:get("/untouched", function(_, res) res:text "untouched" end)
  end)
end

describe("a session whose store waits", function()
  local store, client
  before_each(function()
    store = waiting_store()
    client = test.client(site(store), { strict = false })
  end)

  it("is kept, renewed and ended", function()
    assert.equal("1", client:get("/count").body)
    assert.equal("2", client:get("/count").body)
    local before = client:cookies().session
    client:get "/login"
    assert.is_nil(store.kept[before])
    assert.is_string(store.kept[client:cookies().session])
    client:get "/logout"
    assert.same({}, store.kept)
    assert.equal("1", client:get("/count").body)
  end)

  it("fails the request that changes it and does not save it, and says what to call", function()
    local log = spy.on(require "moonpool.logging", "error")
    local answer = client:get "/unsaved"
    assert.equal(500, answer.status)
    assert.equal(1, #client.errors)
    assert.matches("cannot wait", tostring(client.errors[1].error), 1, true)
    assert.matches("call s:save() before the answer", log.calls[1].vals[1], 1, true)
    assert.same({}, store.kept)
  end)
end)

describe("a session whose store fails", function()
  local FAILS = function() return nil, "the disk is gone", "EIO" end
  local RAISES = function() error "a bug in the store" end

  local function broken(method, how)
    local store = waiting_store()
    local client = test.client(site(store), { strict = false })
    client:get "/count"
    store[method] = how
    return client
  end

  for method, path in pairs { load = "/count", save = "/count", delete = "/logout" } do
    it("answers 503 when it says so: " .. method, function()
      local answer = broken(method, FAILS):get(path)
      assert.equal(503, answer.status)
      assert.is_nil(answer.body:find("disk", 1, true))
      assert.is_nil(answer.cookies.session)
    end)

    it("answers 500 when it raises, and tells the error once: " .. method, function()
      local client = broken(method, RAISES)
      assert.equal(500, client:get(path).status)
      assert.equal(1, #client.errors)
      assert.matches("a bug in the store", tostring(client.errors[1].error), 1, true)
    end)
  end

  it("does not get in the way of who needs no session", function()
    assert.equal("untouched", broken("load", FAILS):get("/untouched").body)
  end)

  it("is well again with its store", function()
    local store = waiting_store()
    local load = store.load
    local client = test.client(site(store), { strict = false })
    client:get "/count"
    store.load = FAILS
    assert.equal(503, client:get("/count").status)
    store.load = load
    assert.equal("2", client:get("/count").body)
  end)
end)

describe("csrf", function()
  local client
  before_each(function()
    client = test.client(app_of(function(app)
      app:use(csrf { keys = ("k"):rep(32) })
      app:get("/", function(req, res) res:text(csrf.token(req)) end)
      app:post("/", function(_, res) res:text "done" end)
    end))
  end)

  local function post(token, headers)
    headers = headers or {}
    headers["X-CSRF-Token"] = token
    return client:post("/", { headers = headers })
  end

  it("refuses with 403 whatever is wrong, and takes the next good one", function()
    assert.equal(403, post(nil).status)
    local token = client:get("/").body
    local other = test.client(app_of(function(app)
      app:use(csrf { keys = ("k"):rep(32) })
      app:get("/", function(req, res) res:text(csrf.token(req)) end)
    end)):get("/").body
    for _, bad in ipairs { "", "x", token .. "x", token:sub(1, -2), ("A"):rep(#token), other } do
      assert.equal(403, post(bad).status, bad)
    end
    for _, headers in ipairs {
      { ["Sec-Fetch-Site"] = "cross-site" }, { ["Sec-Fetch-Site"] = "same-site" }, { Origin = "http://elsewhere.example" },
      { Origin = "null" }, { Origin = "https://localhost", ["Sec-Fetch-Site"] = "cross-site" },
    } do
      assert.equal(403, post(token, headers).status)
    end
    assert.equal(200, post(token).status)
    assert.equal(200, post(token, { ["Sec-Fetch-Site"] = "same-origin", Origin = "http://localhost" }).status)
  end)

  it("says so in the form that is asked for, and nothing of the token", function()
    local said = "the form is too old, or comes from another site; load its page again"
    local json = post("x", { Accept = "application/json" })
    assert.same({ status = 403, message = said }, json:json())
    local problem = post("x", { Accept = "application/problem+json" })
    assert.equal("application/problem+json", problem.headers["Content-Type"])
    assert.same({ type = "about:blank", title = "Forbidden", status = 403, detail = said }, problem:json())
    local page = post("x", { Accept = "text/html" })
    assert.matches(said, page.body, 1, true)
    assert.matches("^text/html", page.headers["Content-Type"])
  end)

  it("keeps nothing for one who has no session, and refuses", function()
    local store = waiting_store()
    local stranger = test.client(app_of(function(app)
      app:use(session { store = store })
      app:use(csrf {})
      app:post("/", function(_, res) res:text "done" end)
    end))
    local answer = stranger:post "/"
    assert.equal(403, answer.status)
    assert.is_nil(answer.headers["Set-Cookie"])
    assert.same({}, store.kept)
  end)

  it("is no error of the app", function()
    post "x"
    assert.same({}, client.errors)
  end)
end)

describe("rate_limit", function()
  it("counts by what it is told to, each name for itself, and lets pass what has no key", function()
    local client = test.client(app_of(function(app)
      local by_user = rate_limit { limit = 2, window = 60, name = "kit-spec-a", key = function(req) return req.query.user end }
      local strict = rate_limit { limit = 1, window = 60, name = "kit-spec-b", key = function(req) return req.query.user end }
      app:get("/a", by_user, function(_, res) res:text "a" end)
      app:get("/b", strict, function(_, res) res:text "b" end)
    end))
    local user = moonpool.random(4)
    assert.equal(200, client:get("/a?user=" .. user).status)
    assert.equal(200, client:get("/a?user=" .. user).status)
    local refused = client:get("/a?user=" .. user)
    assert.equal(429, refused.status)
    assert.is_true(math.tointeger(refused.headers["Retry-After"]) <= 60)
    assert.equal(200, client:get("/a?user=other" .. user).status)
    assert.equal(200, client:get("/b?user=" .. user).status)
    for _ = 1, 4 do assert.equal(200, client:get("/b").status) end
  end)
end)
