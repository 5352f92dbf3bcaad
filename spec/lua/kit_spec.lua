local fake = require "spec.support.fake_core"

describe("a mistake in the options", function()
  local core

  before_each(function()
    core = fake.install()
    core.shared = function() return {} end
    core.settings = {}
    core.mac = function() return ("m"):rep(32) end
    core.digest = core.mac
    core.xor, core.same = error, rawequal
  end)

  local long = ("s"):rep(32)
  local cases = {
    { "cors", nil, "origins is missing" }, { "cors", { origin = "*" }, "unknown option origin" },
    { "cors", { origins = "*", credentials = true }, "credentials" },
    { "cors", { origins = { "https://a.example/" } }, "origins: \"https://a.example/\"" },
    { "cors", { origins = { "a.example" } }, "origins" }, { "cors", { origins = "https://a.example" }, "origins must be" },
    { "cors", { origins = "*", methods = { "GE T" } }, "methods" },
    { "cors", { origins = "*", headers = { "X:Y" } }, "headers" },
    { "cors", { origins = "*", max_age = -1 }, "max_age" }, { "cors", "x", "options must be a table" },
    { "session", nil, "no secret is configured" }, { "session", { keys = "short" }, "at least 32" },
    { "session", { keys = long, idle = 0 }, "idle" }, { "session", { keys = long, name = "a b" }, "name" },
    { "session", { store = {} }, "store has no method load" }, { "session", { keys = long, same_site = "lax" }, "same_site" },
    { "session", { keys = long, same_site = "None", secure = false }, "same_site" },
    { "session", { keys = long, path = "/;x" }, "path" },
    { "csrf", { exempt = 7 }, "exempt" }, { "csrf", { trusted = "x" }, "trusted" }, { "csrf", { keys = {} }, "keys" },
    { "rate_limit", { limit = 3 }, "limit and window" }, { "rate_limit", { limit = 0, window = 1 }, "limit must be" },
    { "rate_limit", { limit = 1, window = "1" }, "window" }, { "rate_limit", { limit = 1, window = 1, key = "ip" }, "key" },
    { "rate_limit", { limit = 1, window = 1, name = 'a"b' }, "name" },
    { "request_id", { header = "a b" }, "header" }, { "security_headers", { csp = "a\r\nb" }, "csp" },
    { "security_headers", { preload = true }, "preload" }, { "security_headers", { hsts = "1" }, "hsts" },
    { "basic_auth", {}, "either check or users" }, { "basic_auth", { users = { ["a:b"] = "x" } }, "users" },
    { "basic_auth", { users = { a = "" } }, "users" }, { "basic_auth", { users = { a = "b" }, realm = "a\nb" }, "realm" },
    { "bearer_auth", { tokens = { ["a b"] = 1 } }, "tokens" },
    { "bearer_auth", { check = print, tokens = {} }, "either check or tokens" },
  }
  for i, case in ipairs(cases) do
    it(("raises and names it: %s, %s (%d)"):format(case[1], case[3], i), function()
      local module = require("moonpool." .. case[1])
      local ok, err = pcall(function() return (module(case[2])) end)
      assert.is_false(ok)
      assert.is_truthy(err:find(case[3], 1, true), err)
      assert.matches("kit_spec.lua:%d+: ", err)
    end)
  end

  it("of a group raises where the app file is wrong", function()
    local app = require("moonpool.app").new()
    local function fn() end
    for _, case in ipairs {
      { function() app:group("x", fn) end, '"x" does not start' }, { function() app:group("/x") end, "missing" },
      { function() app:group("/x", 7, fn) end, "its middleware" }, { function() app:group("/*rest", fn) end, "rest" },
      { function() app:group("/g", function(g) g:get("/x") end) end, "a handler is missing" },
      { function() app:group("/g", function(g) g:get("x", fn) end) end, "does not start with /" },
      { function() app:get("/n", { name = "n" }, fn):url("n", { a = 1 }, { a = 2 }) end, "a is in the params" },
    } do
      local ok, err = pcall(case[1])
      assert.is_false(ok)
      assert.is_truthy(err:find(case[2], 1, true), err)
      assert.matches("kit_spec.lua:%d+: ", err)
    end
  end)
end)

describe("a network", function()
  local network

  setup(function()
    fake.install().shared = function() return {} end
    network = require("moonpool.rate_limit")._network
  end)

  it("is an address of IPv4, and half of one of IPv6", function()
    assert.equal("192.0.2.1", network "192.0.2.1")
    assert.equal("2001:db8:0:0::/64", network "2001:db8::1")
    assert.equal("2001:db8:1:2::/64", network "2001:db8:1:2:3:4:5:6")
    assert.equal("0:0:0:0::/64", network "::1")
    assert.equal("::ffff:192.0.2.1", network "::ffff:192.0.2.1")
  end)
end)

describe("a schema", function()
  local v, null

  setup(function()
    null = fake.install().json.null
    v = require "moonpool.validate"
  end)

  local function fields(problems)
    local names = {}
    for i, each in ipairs(problems) do
      names[i] = each.field
    end
    return names
  end

  it("gives what is right, and drops what it does not know", function()
    local s = v.object { a = v.integer { min = 1, max = 3 }, b = v.string { default = "x" }, c = v.number { optional = true } }
    assert.same({ a = 2, b = "x" }, (s:check { a = 2.0, z = 1, c = null }))
    assert.same({ a = 3, b = "y", c = 1.5 }, (s:check({ a = "3", b = "y", c = "1.5" }, { text = true })))
  end)

  it("names every field that is wrong, by its whole path", function()
    local s = v.object({ list = v.list(v.object { n = v.integer {} }), o = v.object { p = v.boolean {} } },
      { unknown = "refuse" })
    local values, problems = s:check { list = { { n = 1 }, { n = "1" }, 3 }, o = {}, extra = 1 }
    assert.is_nil(values)
    assert.same({ "list[2].n", "list[3]", "o.p", "extra" }, fields(problems))
  end)

  it("takes no number that is none", function()
    local integer, number = v.integer {}, v.number {}
    for _, bad in ipairs { 1.5, 2 ^ 63, 0 / 0, math.huge, "1", {}, true } do
      assert.is_nil((integer:check(bad)), tostring(bad))
    end
    for _, bad in ipairs { 0 / 0, math.huge, -math.huge, "1" } do
      assert.is_nil((number:check(bad)), tostring(bad))
    end
    for _, bad in ipairs { "0x10", "nan", "inf", "1e999", "1 2", "--1", "e", "." } do
      assert.is_nil((number:check(bad, { text = true })), bad)
      assert.is_nil((integer:check(bad, { text = true })), bad)
    end
    assert.equal(math.mininteger, (integer:check("-9223372036854775808", { text = true })))
  end)

  it("counts characters and refuses what is no text", function()
    local s = v.string { min = 2, max = 3, pattern = "^%P+$" }
    assert.equal("üü", (s:check "üü"))
    for _, bad in ipairs { "ü", "üüüü", "\255\255", "a\0b", "a!", 12 } do
      assert.is_nil((s:check(bad)), tostring(bad))
    end
    assert.equal("ab", (v.string({ trim = true, max = 2 }):check "  ab\n"))
    assert.is_nil((v.string({ one_line = true }):check "a\nb"))
  end)

  it("asks a function of one's own, with its words", function()
    local s = v.object { n = v.integer { check = function(n) return n % 2 == 0, "must be even" end } }
    assert.same({ { field = "n", message = "must be even" } }, select(2, s:check { n = 3 }))
    local t = v.object { n = v.integer { message = "no" } }
    assert.same({ { field = "n", message = "no" } }, select(2, t:check {}))
  end)

  it("knows lists, enums and addresses", function()
    assert.is_nil((v.list(v.integer {}, { unique = true }):check { 1, 2, 1 }))
    assert.is_nil((v.list(v.integer {}):check { 1, x = 2 }))
    assert.equal(2, (v.enum({ 1, 2 }):check("2", { text = true })))
    assert.is_nil((v.enum({ "a" }):check "b"))
    for _, good in ipairs { "a@b.example", "a.b+c@d-e.example.org" } do
      assert.equal(good, (v.email():check(good)))
    end
    for _, bad in ipairs { "a", "a@b", "a@b@c.de", "a b@c.de", "a@b.example\r\nBcc: x", "@b.de", "a@.de", "a@b..de",
      ("a"):rep(65) .. "@b.de" } do
      assert.is_nil((v.email():check(bad)), bad)
    end
  end)

  it("gives each its own default", function()
    local s = v.object { t = v.list(v.integer {}, { default = {} }) }
    assert.not_equal((s:check {}).t, (s:check {}).t)
  end)

  it("bounds the list of problems and the depth", function()
    local list, deep = {}, {}
    for i = 1, 1000 do
      list[i] = "x"
    end
    assert.equal(50, #select(2, v.list(v.integer {}):check(list)))
    local s = v.integer {}
    for _ = 1, 150 do
      s = v.list(s)
    end
    local at = deep
    for _ = 1, 150 do
      at[1] = {}
      at = at[1]
    end
    assert.matches("nested too deeply", select(2, s:check(deep))[1].message)
  end)

  it("that is none raises", function()
    for _, case in ipairs {
      { function() v.object { a = "string" } end, "a must be a schema" },
      { function() v.string { minimum = 1 } end, "unknown option minimum" },
      { function() v.integer { min = 3, max = 1 } end, "min is above max" },
      { function() v.string { pattern = "[" } end, "pattern" }, { function() v.enum {} end, "a list of values" },
      { function() v.list {} end, "item must be a schema" },
    } do
      local ok, err = pcall(case[1])
      assert.is_false(ok)
      assert.is_truthy(err:find(case[2], 1, true), err)
      assert.matches("kit_spec.lua:%d+: ", err)
    end
  end)
end)

describe("the Accept field", function()
  local best

  setup(function()
    fake.install()
    local accept = require "moonpool.accept"
    best = function(field) return accept.best(field, { "text/html", "application/json" }) end
  end)

  it("decides by quality, then by exactness, then by our order", function()
    assert.equal("text/html", best(nil))
    assert.equal("text/html", best "*/*")
    assert.equal("application/json", best "application/json, */*;q=0.5")
    assert.equal("application/json", best "*/*, application/json")
    assert.equal("application/json", best "text/html;q=0, */*")
    assert.equal("application/json", best "text/html;q=0.8,application/json;Q=0.9")
    assert.equal("text/html", best "application/json;q=nonsense, text/html;q=0.001")
    assert.equal("text/html", best "application/json;q=2")
    assert.equal("text/html", best "image/png")
  end)
end)
