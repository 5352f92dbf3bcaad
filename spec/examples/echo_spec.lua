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
