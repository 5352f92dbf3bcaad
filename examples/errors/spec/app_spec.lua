-- What can be shown in one process; the ways that end a worker need a server.
local moonpool = require "moonpool"
local test = require "moonpool.test"

describe("errors", function()
  local client

  before_each(function()
    stub(os, "getenv", function(name) return name == "ERRORS_DB" and ":memory:" or nil end)
    client = test.client("app.lua", { strict = false })
    client:post "/reports/clear"
  end)

  -- Threads have their own time.
  local function wait_for_error()
    local deadline = moonpool.now() + 10
    while #client.errors == 0 and moonpool.now() < deadline do
      moonpool.sleep(0.01)
    end
    test.settle()
  end

  for name, expected in pairs {
    handler = { 500, "handler" }, answer = { 503, "handler" }, task = { 200, "task" }, background = { 200, "task" },
    timer = { 200, "timer" }, offload = { 200, "offload" }, service = { 200, "service" },
    ["child-check"] = { 500, "handler" }, ["child-start"] = { 500, "handler" },
  } do
    it("tells of a failure once: " .. name, function()
      assert.equal(expected[1], client:post("/fail/" .. name).status)
      wait_for_error()
      assert.equal(1, #client.errors)
      assert.equal(expected[2], client.errors[1].kind)
    end)
  end

  it("tells the visitor nothing of the error's text, and its page all of it", function()
    local answer = client:post "/fail/handler"
    assert.is_nil(answer.body:find("broke", 1, true))
    local reports = client:get("/reports"):json()
    assert.equal(1, #reports)
    assert.matches("the handler broke", client:get("/").body, 1, true)
  end)

  it("takes no button that another site presses", function()
    assert.equal(403, client:post("/fail/handler", { headers = { Origin = "http://elsewhere.example" } }).status)
    assert.same({}, client.errors)
  end)
end)
