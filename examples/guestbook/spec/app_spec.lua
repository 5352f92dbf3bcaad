local test = require "moonpool.test"

describe("guestbook", function()
  local client

  before_each(function()
    stub(os, "getenv", function(name)
      return ({ GUESTBOOK_DB = ":memory:", GUESTBOOK_POSTS = "1000" })[name]
    end)
    client = test.client "app.lua"
  end)

  local function write(fields)
    fields.csrf_token = client:get("/").body:match 'name="csrf_token" value="([%w_-]+)"'
    return client:post("/entries", { form = fields, follow = true })
  end

  it("keeps an entry, escaped, and thanks once", function()
    local page = write { name = "Ada", text = "Hello <b>" }
    assert.equal(200, page.status)
    assert.matches("Thank you", page.body, 1, true)
    assert.matches("Hello &lt;b&gt;", page.body, 1, true)
    assert.is_nil(client:get("/").body:find("Thank you", 1, true))
  end)

  it("says at the field what is wrong with it, and keeps what was typed", function()
    local page = write { name = "", text = "All but a name" }
    assert.equal(422, page.status)
    assert.matches("aria-invalid", page.body, 1, true)
    assert.matches("All but a name", page.body, 1, true)
  end)

  it("takes no form without its token", function()
    client:get "/"
    assert.equal(403, client:post("/entries", { form = { name = "Eve", text = "sent from elsewhere" } }).status)
    assert.is_nil(client:get("/").body:find("sent from elsewhere", 1, true))
  end)
end)
