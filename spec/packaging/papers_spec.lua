-- What is written of the program's own words is what the program says today, and does what it is for.
local papers = require "packaging.papers"
local server = require "spec.support.server"

local table_of = assert(os.getenv "SPEC_MODULES") .. "/option_table"

local function lines_of(format, ...)
  local pipe, lines = assert(io.popen(format:format(...))), {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  return lines, pipe:close()
end

local function installed(program) return #lines_of("command -v %s", program) > 0 end

describe("the papers", function()
  local facts
  setup(function() facts = papers.facts(table_of, server.binary) end)

  for _, path in ipairs {
    "docs/operations.md", "packaging/man/moonpool.1", "packaging/man/moonpool.conf.lua.5",
    "packaging/completion/moonpool.bash", "packaging/completion/_moonpool",
  } do
    it("are fresh, or script/papers was forgotten: " .. path, function()
      assert.are.equal(papers.of(facts)[path], server.read_file(path))
    end)
  end

  it("are found stale when an option, a default or a word of help has changed", function()
    local before = papers.of(facts)
    local option = facts.options[1]
    for _, field in ipairs { "name", "default", "help" } do
      local was = option[field]
      option[field] = was .. "x"
      local changed = papers.of(facts)
      option[field] = was
      assert.are_not.equal(before["docs/operations.md"], changed["docs/operations.md"], field)
      assert.are_not.equal(before["packaging/man/moonpool.1"], changed["packaging/man/moonpool.1"], field)
    end
  end)

  it("name every option, verb and question", function()
    local made = papers.of(facts)
    assert.is_true(#facts.options > 40 and #facts.verbs > 7 and #facts.questions == 9)
    for path, text in pairs(made) do
      for _, option in ipairs(facts.options) do
        local name = path:find "conf" and option.name:gsub("%-", "_") or option.name
        assert.is_truthy(text:gsub("\\%-", "-"):find(name, 1, true), path .. ": " .. name)
      end
    end
  end)
end)

describe("the manual", function()
  it("is sound, as groff sees it", function()
    if not installed "groff" then return pending "groff is not installed" end
    for _, page in ipairs { "moonpool.1", "moonpool.conf.lua.5" } do
      local said = lines_of("groff -man -ww -Tutf8 packaging/man/%s 2>&1 >/dev/null", page)
      assert.are.same({}, said)
    end
  end)
end)

describe("the completion of bash", function()
  local function complete(...)
    local words = { ... }
    local found = lines_of([[bash -c 'source packaging/completion/moonpool.bash
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _moonpool; printf "%%s\n" "${COMPREPLY[@]}"' - '%s']],
      table.concat(words, "' '"))
    return table.concat(found, " ")
  end

  it("knows verbs, options, and what may follow them", function()
    assert.are.equal("serve", complete("moonpool", "se"))
    assert.are.equal("--max-body", complete("moonpool", "serve", "--max-b"))
    assert.are.equal("--max-requests --max-requests-jitter", complete("moonpool", "serve", "app.lua", "--max-req"))
    assert.are.equal("debug", complete("moonpool", "serve", "--log-level", "d"))
    assert.are.equal("text json", complete("moonpool", "serve", "--log-format", ""))
    assert.are.equal("examples", complete("moonpool", "serve", "exam"))
    assert.are.equal("status stop", complete("moonpool", "ctl", "st"))
    assert.are.equal("--verify", complete("moonpool", "bundle", "--ver"))
    assert.are.equal("", complete("moonpool", "serve", "--max-body", ""))
  end)
end)

describe("the completion of zsh", function()
  it("is sound, as zsh reads it", function()
    if not installed "zsh" then return pending "zsh is not installed" end
    assert.are.same({}, (lines_of "zsh -n packaging/completion/_moonpool 2>&1"))
  end)
end)
