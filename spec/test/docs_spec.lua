-- Every snippet of the docs is run: how, and what the comments above them mean, is told in spec/support/snippets.lua.
local moonpool = require "moonpool"
local snippets = require "spec.support.snippets"
local test = require "moonpool.test"

local paths = {}
for path in moonpool.run({ "sh", "-c", "ls README.md docs/*.md examples/README.md", check = true }).stdout:gmatch "%S+" do
  paths[#paths + 1] = path
end

describe("the docs", function()
  local stop
  setup(function()
    moonpool.settings.secret = ("s"):rep(32)
    stop = snippets.watch()
  end)
  teardown(function() stop() end)

  for _, path in ipairs(paths) do
    for _, section in ipairs(snippets.read(path, assert(moonpool.read_file(path)))) do
      it(("run as they stand in %s: %s"):format(path, section.title), function()
        local skipped = snippets.run(section, { assert = assert, moonpool = moonpool, test = test })
        if #skipped > 0 then pending(table.concat(skipped, "; ")) end
      end)
    end

    it("tell of no verb and no option that there is not, in " .. path, function()
      assert.equal("", table.concat(snippets.judge_commands(path, assert(moonpool.read_file(path))), "\n"))
    end)
  end
end)

describe("a snippet", function()
  local stop
  setup(function() stop = snippets.watch() end)
  teardown(function() stop() end)

  local function failure(...)
    local ok, message = pcall(function(text)
      for _, section in ipairs(snippets.read("x.md", text)) do
        snippets.run(section, { assert = assert, moonpool = moonpool, test = test })
      end
    end, table.concat({ ... }, "\n"))
    return ok and "none" or tostring(message)
  end

  it("fails by its place in the document", function()
    assert.matches("x.md:2: 500 ", failure("# Title", "```lua", "local a = nil + 1", "```"), 1, true)
    assert.matches("app.lua:4: ", failure("", "```lua", "app:get('/', function() end)", "nothing()", "```"), 1, true)
    assert.matches("x.md:1: .*implicit", failure("```c", "undeclared();", "```"))
    assert.matches("x.md:1: exit 3", failure("```sh", "exit 3", "```"), 1, true)
    assert.matches("x.md:1: nothing is known of perl", failure("```perl", "1", "```"), 1, true)
    assert.matches("x.md:1: moonpool: .*unknown key wrokers", failure("```lua", "-- moonpool.conf.lua", "wrokers = 1", "```"))
  end)

  it("fails when a handler is not asked, or is answered otherwise than its note says", function()
    local handler = { "```lua", "app:get('/', function(_, res) res:text 'yes' end)", "```" }
    assert.matches("x.md:1: nobody has asked the handler at app.lua:2", failure(table.unpack(handler)), 1, true)
    local function noted(note) return failure(note, table.unpack(handler)) end
    assert.matches("x.md:2 %(then%):1: ", noted "<!-- then: assert.equal('no', client:get('/').body) -->")
    assert.equal("none", noted "<!-- then: assert.equal('yes', client:get('/').body) -->")
  end)

  it("is not skipped without a reason, nor by a word that is misspelt", function()
    assert.matches("x.md:2: `skip` needs a reason", failure("<!-- skip: -->", "```lua", "```"), 1, true)
    assert.matches("x.md:2: a note that begins with no word", failure("<!-- ask: it -->", "```lua", "```"), 1, true)
  end)

  it("of a command line names a verb and an option that there is", function()
    assert.same({ "x.md:1: moonpool serve has no --wrokers", "x.md:2: there is no moonpool run",
      "x.md:2: nothing has the option --lisen" },
      snippets.judge_commands("x.md", "    moonpool serve app.lua --wrokers 2\nSay `moonpool run app.lua` or `--lisen`.\n"))
  end)
end)
