-- The page of examples/jobs, as one who opens it sees it.
local browser = require "spec.support.browser"
local server = require "spec.support.server"

describe("the page of examples/jobs", function()
  local why = browser.missing()
  if why then
    pending(why)
    return
  end
  after_each(server.stop_all)
  teardown(browser.stop_all)

  it("lists the scripts, and complains of nothing", function()
    local s = server.start { app = "examples/jobs" }
    local page = browser.open()
    page:go(("http://127.0.0.1:%d/"):format(s.port))
    page:wait_text("body", "hello.sh")
    assert.are.equal(3, page:eval("return 1 + arguments[0]", 2))
    assert.are.same({}, page:complaints())
    page:close()
  end)
end)
