local test = require "moonpool.test"

describe("examples/hello", function()
  it("greets by name", function()
    local client = test.client "examples/hello"
    assert.equal("hello, Ada\n", client:get("/hello/Ada").body)
    assert.equal("hello, a/b\n", client:get("/hello/a%2Fb").body)
    assert.is_truthy(client:get("/").body:find "^hello from worker %d+\n$")
  end)
end)
