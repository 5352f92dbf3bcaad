-- moonpool new: what it makes is whole, and nothing is written over.
local host = require "host"
local lfs = require "lfs"
local server = require "spec.support.server"

local function quiet(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  local _, _, code = pipe:close()
  return code, text
end

describe("moonpool new", function()
  local folder
  before_each(function() folder = assert(host.tempdir()) end)
  after_each(function() os.execute(("rm -rf '%s'"):format(folder)) end)

  local function new(words) return quiet(("cd '%s' && '%s' new %s"):format(folder, server.binary, words)) end

  for _, kind in ipairs { "site", "api", "device" } do
    it("makes a " .. kind .. " that loads, whose specs pass, and that luacheck has nothing to say of", function()
      local code, said = new("thing --kind " .. kind)
      assert.equal(0, code, said)
      assert.matches("moonpool dev", said, 1, true)
      code, said = quiet(("cd '%s/thing' && '%s' check"):format(folder, server.binary))
      assert.equal(0, code, said)
      code, said = quiet(("cd '%s/thing' && luacheck --quiet --no-color ."):format(folder))
      assert.is_true(code == 0 or code == 127, said)
      code, said = quiet(("cd '%s/thing' && '%s' test"):format(folder, server.binary))
      assert.equal(0, code, said)
      assert.matches("[23] successes / 0 failures / 0 errors", said)
      for _, name in ipairs { ".luarc.json", ".luacheckrc", "README.md", "moonpool.conf.lua", "spec/app_spec.lua",
        ".moonpool/meta/moonpool.lua", ".moonpool/meta/test.lua" } do
        assert.equal("file", lfs.attributes(folder .. "/thing/" .. name, "mode"), name)
      end
    end)
  end

  it("writes over nothing", function()
    assert(lfs.mkdir(folder .. "/there"))
    server.write_file(folder .. "/there/app.lua", "mine")
    assert.equal(2, (new "there"))
    assert.equal("mine", server.read_file(folder .. "/there/app.lua"))
    assert.is_nil(lfs.attributes(folder .. "/there/README.md"))
  end)

  it("takes no bad name, kind or word: exit 2", function()
    for _, words in ipairs { "", "'a b'", "../..", "-x", "a b", "a --kind shop", "a --kind", "9lives", "''" } do
      local code, said = new(words)
      assert.equal(2, code, words)
      assert.matches("^moonpool: .", said)
    end
    for name in lfs.dir(folder) do assert.is_truthy(name:find "^%.%.?$", name) end
  end)
end)
