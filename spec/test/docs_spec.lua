-- The worked example of docs/testing.md is run as it stands there.
local moonpool = require "moonpool"
local test = require "moonpool.test"

describe("docs/testing.md", function()
  it("has an example that is green", function()
    local text, files = moonpool.read_file "docs/testing.md", {}
    for name, body in text:gmatch "```lua\n%-%- (%S+)\n(.-)```" do
      files[name] = body
    end
    assert.is_truthy(files["app.lua"] and files["spec/app_spec.lua"])
    local folder = moonpool.run({ "mktemp", "-d" }).stdout:match "%S+"
    moonpool.run { "mkdir", folder .. "/spec", check = true }
    for name, body in pairs(files) do
      assert(moonpool.write_file(folder .. "/" .. name, body))
    end
    local binary = moonpool.run({ "readlink", "/proc/" .. moonpool.worker.pid .. "/exe" }).stdout:match "%S+"
    local r = moonpool.run { binary, "test", cwd = folder }
    moonpool.run { "rm", "-r", folder }
    assert.is_truthy(r.stdout:find("5 successes / 0 failures / 0 errors", 1, true), r.stdout .. r.stderr)
    assert.is_true(r.ok)
  end)

  it("says what a wrong name of an option is", function()
    assert.has_error(function() test.server { ap = "x" } end)
  end)
end)
