local fake = require "spec.support.fake_core"

describe("a form", function()
  before_each(function()
    fake.install()
    require "moonpool.messages"
  end)

  local function request(body, kind)
    local headers = { ["Content-Type"] = kind or "application/x-www-form-urlencoded" }
    return fake.new_request("POST", "/", { headers = headers, body = body })
  end

  it("gives the first value of each name, decoded", function()
    local req = request("a=1&b=two+words&c=%26%3D&a=2&d&=e&&f==")
    assert.same({ a = "1", b = "two words", c = "&=", d = "", [""] = "e", f = "=" }, req:form())
  end)

  it("gives all values of a name by form_list, in a table of its own", function()
    local req = request("a=1&b=x&a=2&a=")
    assert.same({ "1", "2", "" }, req:form_list("a"))
    assert.same({}, req:form_list("none"))
    req:form_list("a")[1] = "changed"
    assert.same({ "1", "2", "" }, req:form_list("a"))
  end)

  it("may be asked again and is the same", function()
    local req = request("a=1")
    assert.equal(req:form(), req:form())
  end)

  it("is read with a charset, and in any case", function()
    assert.equal("1", request("a=1", "Application/X-WWW-Form-URLEncoded; charset=UTF-8"):form().a)
  end)

  it("is empty for an empty body", function()
    assert.same({}, request(""):form())
  end)

  it("raises 415 for another type, and says which it wants", function()
    for kind, says in pairs {
      ["application/json"] = "not application/json",
      [""] = "no Content-Type",
    } do
      local ok, err = pcall(function() return request("a=1", kind):form() end)
      assert.is_false(ok)
      assert.equal(415, err.status)
      assert.matches(says, err.message, 1, true)
    end
  end)

  it("raises 400 for a bad escape", function()
    for _, body in ipairs { "a=%", "%zz=1", "a=1&b=%4" } do
      local ok, err = pcall(function() return request(body):form() end)
      assert.is_false(ok)
      assert.equal(400, err.status)
    end
  end)
end)

describe("an event stream", function()
  local core, res

  before_each(function()
    core = fake.install()
    require "moonpool.messages"
    res = fake.new_response()
  end)

  local function sent(...)
    res = fake.new_response()
    local events = res:sse()
    res.content = ""
    events:send(...)
    return res.content
  end

  it("starts at once with the head of one", function()
    res:sse()
    assert.equal("text/event-stream; charset=utf-8", res:header("Content-Type"))
    assert.equal("no-cache", res:header("Cache-Control"))
    assert.equal(":\n\n", res.content)
  end)

  it("sends data with its options", function()
    assert.equal("data: hello\n\n", sent("hello"))
    assert.equal("event: tick\nid: 7\nretry: 1500\ndata: x\n\n", sent("x", { event = "tick", id = 7, retry = 1.5 }))
    assert.equal("data: \n\n", sent(""))
    assert.equal("retry: 3000\n\n", sent(nil, { retry = 3 }))
  end)

  it("gives each line of the data a field of its own", function()
    assert.equal("data: a\ndata: b\ndata: \ndata: c\ndata: \n\n", sent("a\nb\r\n\rc\n"))
  end)

  it("sends a table as JSON", function()
    assert.equal('data: {"a":1}\n\n', sent({ a = 1 }))
    assert.is_table(core.json)
  end)

  it("raises for what would break the stream", function()
    for _, options in ipairs {
      { event = "a\nb" }, { id = "a\0" }, { event = {} }, { retry = "3" }, { retry = -1 }, { retry = 0 / 0 },
      { evnt = "a" }, "event",
    } do
      assert.has_error(function() sent("x", options) end)
    end
    assert.has_error(function() sent(print) end)
  end)

  it("has comments", function()
    local events = res:sse()
    res.content = ""
    events:comment("still here")
    events:comment()
    assert.equal(": still here\n\n: \n\n", res.content)
  end)
end)
