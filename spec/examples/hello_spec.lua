local server = require "spec.support.server"

describe("examples/hello", function()
  after_each(server.stop_all)

  it("greets by name", function()
    local s = server.start { app = "examples/hello" }
    assert.are.equal("hello, Ada\n", s:get("/hello/Ada").body)
    assert.are.equal("hello, a/b\n", s:get("/hello/a%2Fb").body)
    assert.is_truthy(s:get("/").body:find "^hello from worker %d+\n$")
    s:stop()
  end)
end)
