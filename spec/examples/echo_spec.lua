local client = require "spec.support.client"
local server = require "spec.support.server"

describe("examples/echo", function()
  local s

  setup(function() s = server.start { app = "examples/echo" } end)
  teardown(function() s:stop() end)

  it("tells what it saw", function()
    local body = s:post("/look%20here?a=1", "text", { headers = { ["X-One"] = "two" } }).body
    for _, part in ipairs {
      '"method":"POST"', '"path":"/look here"', '"target":"/look%20here?a=1"', '"body":"text"', '"X-One":"two"',
    } do
      assert.is_truthy(body:find(part, 1, true), part .. " in " .. body)
    end
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

  it("gives a body back piece by piece, exactly", function()
    local bytes = {}
    for i = 0, 255 do
      bytes[#bytes + 1] = string.char(i):rep(1000)
    end
    local sent = table.concat(bytes)
    local answer = s:post("/stream", sent, { headers = { ["Content-Type"] = "image/x-test" } })
    assert.are.equal(200, answer.status)
    assert.are.equal("image/x-test", answer.headers["content-type"])
    assert.is_true(answer.body == sent)
  end)
end)
