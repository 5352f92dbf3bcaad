local moonpool = require "moonpool"
local test = require "moonpool.test"

describe("echo", function()
  local client

  before_each(function() client = test.client "app.lua" end)

  it("tells what it saw", function()
    local answer = client:post("/look%20here", { query = { a = "1" }, headers = { ["X-One"] = "two" }, body = "text" })
    local seen = answer:json()
    assert.equal("POST", seen.method)
    assert.equal("/look here", seen.path)
    assert.equal("1", seen.query.a)
    assert.equal("two", seen.headers["X-One"])
    assert.equal("text", seen.body)
  end)

  it("gives a stream back while it still comes", function()
    local request = client:send("POST", "/stream", { stream = true })
    request:write "first"
    local answer = request:response()
    assert.equal("first", answer:read())
    request:write "later"
    assert.equal("later", answer:read())
    request:finish()
    assert.is_nil(answer:read())
  end)

  it("gives back more than it would hold", function()
    local request, mebibyte, bytes = client:send("POST", "/stream", { stream = true }), ("x"):rep(1 << 20), 0
    local writer = moonpool.spawn(function()
      for _ = 1, 12 do
        request:write(mebibyte)
      end
      request:finish()
    end)
    local answer = request:response()
    for piece in function() return answer:read() end do
      bytes = bytes + #piece
    end
    moonpool.wait(writer)
    assert.equal(12 << 20, bytes)
  end)
end)
