local server = require "spec.support.server"

describe("examples/hello", function()
  it("greets", function()
    local s = server.start { app = "examples/hello", workers = 2 }
    assert.is_truthy(s:get("/").body:find "^hello from worker %d\n$")
    assert.are.equal("hello, Ann\n", s:get("/hello/Ann").body)
    assert.are.equal(404, s:get("/goodbye").status)
    s:stop()
  end)
end)
