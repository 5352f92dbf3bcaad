local fake = require "spec.support.fake_core"

describe("an error answer", function()
  local core, app, errors

  before_each(function()
    core = fake.install()
    app = require("moonpool").app()
    errors = require "moonpool.errors"
  end)

  local function ask(raise, options)
    app:get("/a", raise)
    local handle, fail = require("moonpool.dispatch").build(app)
    return fake.request({ handle = handle, fail = fail }, "GET", "/a", options)
  end

  it("has the status, message and headers that were raised", function()
    local res = ask(function()
      error { status = 404, message = "no <such> thing", headers = { ["X-Why"] = "gone" } }
    end)
    assert.equal(404, res.code)
    assert.equal("gone", res:header("X-Why"))
    assert.equal("text/html; charset=utf-8", res:header("Content-Type"))
    assert.matches("<title>404 Not Found</title>", res.content, 1, true)
    assert.matches("<p>no &lt;such&gt; thing</p>", res.content, 1, true)
  end)

  it("is a 500 without the text of the error for a bug", function()
    local bugs = { "secret", { status = 200, message = "secret" }, { status = 600 }, { status = "404" }, 42 }
    for _, raised in ipairs(bugs) do
      app = require("moonpool").app()
      local res = ask(function() error(raised) end)
      assert.equal(500, res.code)
      assert.is_nil(res.content:find("secret", 1, true))
      assert.matches("500 Internal Server Error", res.content, 1, true)
    end
  end)

  it("is JSON when the client prefers it", function()
    local res = ask(function() error { status = 409, message = "taken" } end,
      { headers = { Accept = "application/json, text/plain, */*" } })
    assert.equal("application/json", res:header("Content-Type"))
    assert.equal('{"message":"taken","status":409}', res.content)
  end)

  it("prefers by quality, then by how exactly JSON is named", function()
    local cases = {
      ["application/json"] = true,
      ["application/json, */*"] = true,
      ["application/*"] = true,
      ["text/html;q=0.5, application/json"] = true,
      ["text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8"] = false,
      ["*/*"] = false,
      ["application/json;q=0.4, text/html;q=0.5"] = false,
      ["application/json; q=0"] = false,
      ["APPLICATION/JSON"] = true,
      ["image/png"] = false,
      [""] = false,
    }
    for accept, json in pairs(cases) do
      assert.equal(json, errors.prefers_json(accept), accept)
    end
    assert.is_false(errors.prefers_json(nil))
  end)

  it("does not keep what described another answer, and keeps the rest", function()
    app:use(function(_, res, next)
      res:header("Cache-Control", "max-age=3600"):header("ETag", '"1"'):header("Content-Type", "image/png")
      res:header("Access-Control-Allow-Origin", "*")
      next()
    end)
    local handle, fail = require("moonpool.dispatch").build(app)
    local res = fake.request({ handle = handle, fail = fail }, "GET", "/nothing")
    assert.equal(404, res.code)
    assert.is_nil(res:header("Cache-Control"))
    assert.is_nil(res:header("ETag"))
    assert.equal("text/html; charset=utf-8", res:header("Content-Type"))
    assert.equal("*", res:header("Access-Control-Allow-Origin"))
  end)

  describe("by the app's own page", function()
    it("is given everything that was raised, status and headers set", function()
      local seen
      app:error_page(function(_, res, e)
        seen = e
        res:text(res:status() .. " " .. e.message .. " " .. e.detail)
      end)
      local res = ask(function() error { status = 422, detail = "name", headers = { ["X-A"] = "b" } } end)
      assert.equal("422 Unprocessable Content name", res.content)
      assert.equal("b", res:header("X-A"))
      assert.equal(422, seen.status)
    end)

    it("is the default page when the own one writes nothing", function()
      app:error_page(function() end)
      local res = ask(function() error { status = 410 } end)
      assert.equal(410, res.code)
      assert.matches("410 Gone", res.content, 1, true)
    end)

    it("is the default page when the own one fails, which is logged and told", function()
      local told
      app:error_page(function() error("page broke") end)
      app:on_error(function(err) told = err end)
      local res = ask(function() error { status = 410 } end)
      assert.equal(410, res.code)
      assert.matches("410 Gone", res.content, 1, true)
      assert.matches("page broke", told)
      assert.matches("the error page failed: .*page broke.*stack traceback", core.logged[1].message)
    end)

    it("lets a cancelled page be cancelled", function()
      app:error_page(function() error(core.cancelled, 0) end)
      local ok, err = pcall(ask, function() error { status = 410 } end)
      assert.is_false(ok)
      assert.equal(core.cancelled, err)
    end)
  end)
end)
