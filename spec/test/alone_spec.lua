-- Each module and each method by itself, in this process: what the larger suites reach only through others.
local moonpool = require "moonpool"
local test = require "moonpool.test"

local KEYS = ("k"):rep(32)

describe("every method of HTTP", function()
  local WORDS = { "get", "post", "put", "patch", "delete", "options" }

  local function say(word) return function(_, res) res:text(word) end end

  it("has a route of its own, in an app and in a group", function()
    local app = moonpool.app()
    app:get("/", say "get"):post("/", say "post"):put("/", say "put")
    app:patch("/", say "patch"):delete("/", say "delete"):options("/", say "options")
    app:group("/group", function(group)
      group:get("", say "get"):post("", say "post"):put("", say "put")
      group:patch("", say "patch"):delete("", say "delete"):options("", say "options")
    end)
    local client = test.client(app)
    for _, path in ipairs { "/", "/group" } do
      for _, word in ipairs(WORDS) do assert.equal(word, client[word](client, path).body) end
    end
    assert.equal("patch", client:patch("/").body)
    assert.equal("delete", client:delete("/group").body)
    assert.equal("options", client:options("/group").body)
  end)
end)

describe("a real server", function()
  it("names an option that it does not know", function()
    assert.has_error(function() test.server { ap = "x" } end,
      'server: unknown option "ap" (there are app, args, env, timeout, workers)')
  end)
end)

describe("a client of an event stream", function()
  it("reads one event after the other, passes over what has no data, and gives nil at the end", function()
    local client = test.client(function(_, res)
      local events = res:sse { retry = 3 }
      events:send("one", { id = "7", event = "tick" })
      events:comment "nothing"
      events:send { two = 2 }
    end)
    local answer = client:get "/"
    assert.same({ event = "tick", data = "one", id = "7", retry = 3 }, answer:event())
    assert.same({ event = "message", data = '{"two":2}' }, answer:event())
    assert.is_nil(answer:event())
  end)
end)

describe("moonpool.cookies", function()
  local cookies = require "moonpool.cookies"

  it("signs what can be read, and verifies it under its own name alone", function()
    local text = cookies.sign("a", "value", { keys = KEYS })
    assert.equal("value", cookies.verify("a", text, { keys = KEYS }))
    assert.is_nil(cookies.verify("b", text, { keys = KEYS }))
    assert.is_nil(cookies.verify("a", text .. "x", { keys = KEYS }))
    assert.is_nil(cookies.verify("a", text, { keys = ("o"):rep(32) }))
  end)

  it("seals what cannot be read", function()
    local text = cookies.seal("a", "value", { keys = KEYS })
    assert.is_nil(text:find("value", 1, true))
    assert.equal("value", cookies.open("a", text, { keys = { ("n"):rep(32), KEYS } }))
    assert.is_nil(cookies.open("b", text, { keys = KEYS }))
  end)

  it("knows how old a text is", function()
    local clock = test.clock()
    local options = { max_age = 60, keys = KEYS }
    local signed, sealed = cookies.sign("a", "v", options), cookies.seal("a", "v", options)
    clock:advance(59)
    assert.equal("v", cookies.verify("a", signed, { keys = KEYS }))
    assert.equal("v", cookies.open("a", sealed, { keys = KEYS }))
    clock:advance(2)
    assert.is_nil(cookies.verify("a", signed, { keys = KEYS }))
    assert.is_nil(cookies.open("a", sealed, { keys = KEYS }))
  end)
end)

describe("moonpool.csrf", function()
  local csrf = require "moonpool.csrf"

  it("gives a form its field, without which the form is refused", function()
    local app = moonpool.app()
    app:use(csrf { keys = KEYS })
    app:get("/", function(req, res) res:html(csrf.field(req)) end)
    app:post("/", function(_, res) res:text "taken" end)
    local client = test.client(app)
    local name, value = client:get("/").body:match '^<input type="hidden" name="([%w_]+)" value="([%w_-]+)">$'
    assert.equal("csrf_token", name)
    assert.equal("taken", client:post("/", { form = { csrf_token = value } }).body)
    assert.equal(403, client:post("/", { form = { csrf_token = value:reverse() } }).status)
    assert.equal(403, client:post("/", { form = {} }).status)
  end)
end)

describe("moonpool.auth", function()
  local auth = require "moonpool.auth"

  local function who(req, res) res:text(tostring(req.ctx.user)) end

  it("takes tokens from a table, or asks for one", function()
    local app = moonpool.app()
    app:get("/", auth.bearer { realm = "api", tokens = { ["secret-1"] = "ann" } }, who)
    local client = test.client(app)
    assert.equal("ann", client:get("/", { headers = { Authorization = "Bearer secret-1" } }).body)
    local answer = client:get "/"
    assert.equal(401, answer.status)
    assert.equal('Bearer realm="api"', answer.headers["www-authenticate"])
    assert.equal(401, client:get("/", { headers = { Authorization = "Bearer secret-2" } }).status)
  end)

  it("is also there as two modules", function()
    local app = moonpool.app()
    app:get("/basic", require "moonpool.basic_auth" { users = { ann = "pass" } }, who)
    app:get("/bearer", require "moonpool.bearer_auth" { tokens = { t = "bob" } }, who)
    local client = test.client(app)
    assert.equal("ann", client:get("/basic", { headers = { Authorization = "Basic YW5uOnBhc3M=" } }).body)
    assert.equal("bob", client:get("/bearer", { headers = { Authorization = "Bearer t" } }).body)
  end)
end)

describe("a fake child that is interactive", function()
  it("reads what comes to its stdin, and talks on both of its streams", function()
    test.process("cat", function(_, _, child)
      for piece in child.read, child do
        child:write(piece:upper())
        child:write_error "."
      end
      assert(child:read() == nil)
    end, { interactive = true })
    local p <close> = moonpool.spawn { "cat", stdin = "pipe", stdout = "pipe", stderr = "pipe" }
    p.stdin:write "hello"
    assert.equal("HELLO", p.stdout:read(5))
    p.stdin:close()
    assert.equal(".", p.stderr:read "a")
    assert.is_true(p:wait().ok)
  end)
end)

describe("a store of sessions in moonpool.shared", function()
  it("keeps, gives back and forgets texts, and makes none anew that has been ended", function()
    local store = require("moonpool.session").shared "alone"
    assert.is_nil(store:load "id")
    assert.is_true(store:save("id", "text", 60, false))
    assert.equal("text", store:load "id")
    assert.is_true(store:save("id", "other", 60, true))
    assert.is_true(store:delete "id")
    assert.is_false(store:save("id", "text", 60, true))
    assert.is_nil(store:load "id")
  end)
end)

describe("moonpool.template", function()
  it("shows a raw value as it is", function()
    local template = require "moonpool.template"
    local page = template.compile "<%= a %><%= b %>"
    assert.equal("&lt;b&gt;<i>", page { a = "<b>", b = template.raw "<i>" })
  end)
end)

describe("a transaction of SQLite", function()
  it("asks what it has written: rows, a row, a value", function()
    local sqlite = require "moonpool.sqlite"
    local db <close> = assert(sqlite.open ":memory:")
    assert(db:exec "CREATE TABLE t(a)")
    assert.is_true(db:transaction(function(tx)
      tx:exec("INSERT INTO t VALUES(?), (?)", 1, 2)
      assert.same({ a = 2 }, tx:row "SELECT a FROM t WHERE a > 1")
      assert.equal(2, #tx:query "SELECT a FROM t")
      assert.equal(3, tx:value "SELECT sum(a) FROM t")
    end))
  end)
end)

describe("what is small", function()
  it("encodes for a URL, and decodes", function()
    assert.equal("a%20b%2Fc", moonpool.url.encode "a b/c")
    assert.equal("a b/c", moonpool.url.decode "a%20b%2Fc")
    assert.equal("a b", moonpool.url.decode("a+b", true))
    assert.is_nil((moonpool.url.decode "%zz"))
  end)

  it("logs a line at each level, and raises for what is no message", function()
    moonpool.log.debug("a line", { key = 1 })
    assert.has_error(function() moonpool.log.debug(1) end, "log.debug: the message must be a string, got number")
    assert.has_error(function() moonpool.log.debug("x", "y") end, "log.debug: the fields must be a table, got string")
  end)
end)
