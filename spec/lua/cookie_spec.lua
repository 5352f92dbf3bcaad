local fake = require "spec.support.fake_core"

describe("a cookie", function()
  local req, res

  before_each(function()
    fake.install()
    require "moonpool.messages"
    res = fake.new_response()
  end)

  local function cookie(field, name)
    req = fake.new_request("GET", "/", { headers = { Cookie = field } })
    return req:cookie(name)
  end

  local function set(...)
    res:cookie(...)
    return res.fields[#res.fields][2]
  end

  it("is found by its name, the first of that name", function()
    assert.equal("1", cookie("a=1; b=2", "a"))
    assert.equal("2", cookie("a=1; b=2", "b"))
    assert.equal("1", cookie("a=1;a=2", "a"))
    assert.equal("", cookie("a=", "a"))
    assert.equal("x=y", cookie("a=x=y", "a"))
    assert.equal("q", cookie('a="q"', "a"))
    assert.is_nil(cookie("ab=1", "a"))
    assert.is_nil(cookie("a", "a"))
    assert.is_nil(cookie(nil, "a"))
    assert.has_error(function() cookie("a=1", nil) end)
  end)

  it("is decoded, unless its escapes are none", function()
    assert.equal("a b", cookie("a=a%20b", "a"))
    assert.equal("100%", cookie("a=100%", "a"))
  end)

  it("is set with safe defaults", function()
    assert.equal("sid=abc; Path=/; SameSite=Lax; HttpOnly", set("sid", "abc"))
    assert.equal("n=5; Path=/; SameSite=Lax; HttpOnly", set("n", 5))
  end)

  it("takes every option, and false leaves one out", function()
    assert.equal("a=b; Path=/x; Domain=example.org; Max-Age=60; SameSite=None; Secure",
      set("a", "b", { path = "/x", domain = "example.org", max_age = 60, same_site = "None", secure = true,
        http_only = false }))
    assert.equal("a=b", set("a", "b", { path = false, same_site = false, http_only = false }))
    assert.equal("a=; Path=/; Max-Age=0; SameSite=Lax; HttpOnly", set("a", "", { max_age = 0 }))
  end)

  it("comes back as it was set, whatever it holds", function()
    local bytes = {}
    for byte = 1, 255 do
      bytes[#bytes + 1] = byte ~= 10 and byte ~= 13 and string.char(byte) or nil
    end
    local value = table.concat(bytes)
    local field = set("a", value)
    assert.is_nil(field:find('[%c\128-\255",\\]'))
    assert.equal(value, cookie(field:match("^[^;]+"), "a"))
  end)

  it("raises for what would break the field", function()
    local cases = {
      { "a b", "v" }, { "", "v" }, { "a;b", "v" }, { nil, "v" }, { "a=b", "v" },
      { "a", "v\r\nSet-Cookie: x=y" }, { "a", "v\0" }, { "a", nil }, { "a", {} },
      { "a", "v", { path = "/; Secure" } }, { "a", "v", { domain = "x\r\ny" } }, { "a", "v", { domain = "" } },
      { "a", "v", { max_age = 1.5 } }, { "a", "v", { max_age = "60" } }, { "a", "v", { same_site = "lax" } },
      { "a", "v", { same_site = "None" } }, { "a", "v", { httponly = true } }, { "a", "v", "secure" },
    }
    for i, case in ipairs(cases) do
      local ok, err = pcall(function() set(case[1], case[2], case[3]) end)
      assert.is_false(ok, "case " .. i)
      assert.matches("cookie_spec.lua:%d+: cookie: ", err, "case " .. i)
    end
    assert.equal(0, #res.fields)
  end)

  it("chains", function()
    assert.equal(res, res:cookie("a", "b"):cookie("c", "d"))
    assert.equal(2, #res.fields)
  end)
end)

describe("a redirect", function()
  local res

  before_each(function()
    fake.install()
    require "moonpool.messages"
    res = fake.new_response()
  end)

  it("is a 302 with a Location, and ends the response", function()
    res:redirect("/there?a=b#c")
    assert.equal(302, res.code)
    assert.equal("/there?a=b#c", res:header("Location"))
    assert.is_true(res.ended)
  end)

  it("takes another status of its kind", function()
    res:redirect("/x", 308)
    assert.equal(308, res.code)
  end)

  it("escapes what a URI cannot hold and leaves the rest", function()
    res:redirect("https://example.org/a b/\u{e9}?q=%20\"<>")
    assert.equal("https://example.org/a%20b/%C3%A9?q=%20%22%3C%3E", res:header("Location"))
  end)

  it("raises for a line break, for no url and for another status", function()
    for _, case in ipairs { { "/a\r\nX: y" }, { "/\0" }, { "" }, {}, { "/x", 200 }, { "/x", 404 }, { "/x", "302" } } do
      assert.has_error(function() res:redirect(case[1], case[2]) end)
    end
    assert.is_false(res.sent)
  end)
end)
