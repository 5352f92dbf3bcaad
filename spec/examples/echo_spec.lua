local client = require "spec.support.client"
local server = require "spec.support.server"

describe("examples/echo", function()
  local s
  setup(function() s = server.start { app = "examples/echo" } end)
  teardown(function() s:stop() end)

  it("tells what it saw", function()
    local body = s:post("/look?a=1", "some text").body
    assert.is_truthy(body:find('"method":"POST"', 1, true))
    assert.is_truthy(body:find('"path":"/look"', 1, true))
    assert.is_truthy(body:find('"query":{"a":"1"}', 1, true))
    assert.is_truthy(body:find('"body":"some text"', 1, true))
  end)

  it("gives a stream back piece by piece, while it still comes", function()
    local c = s:connect()
    c:send(client.bytes("POST", "/stream", { headers = { ["Content-Length"] = "10" } }) .. "first")
    c:head()
    assert.are.equal("first", c:chunk())
    c:send "later"
    assert.are.equal("later", c:chunk())
    assert.are.equal("", c:chunk())
    c:close()
  end)

  it("gives megabytes back", function()
    local c, piece = s:connect(), ("0123456789abcdef"):rep(4096)
    c:send(client.bytes("POST", "/stream", { headers = { "Transfer-Encoding: chunked" } }))
    local got = {}
    for n = 1, 100 do
      c:send(("%x\r\n%s\r\n"):format(#piece, piece))
      if n == 1 then assert.are.equal(200, c:head().status) end
      local received = 0
      while received < #piece do
        got[#got + 1] = c:chunk()
        received = received + #got[#got]
      end
    end
    c:send "0\r\n\r\n"
    assert.are.equal("", c:chunk())
    assert.is_true(table.concat(got) == piece:rep(100))
    c:close()
  end)
end)
