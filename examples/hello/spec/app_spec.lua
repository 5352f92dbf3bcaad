local test = require "moonpool.test"

describe("hello", function()
  local client

  before_each(function() client = test.client "app.lua" end)

  it("greets by name", function()
    assert.equal("hello, Ada\n", client:get("/hello/Ada").body)
  end)

  it("says which worker it is", function()
    assert.matches("^hello from worker %d+\n$", client:get("/").body)
  end)

  it("knows nothing else", function()
    assert.equal(404, client:get("/nothing").status)
  end)
end)
