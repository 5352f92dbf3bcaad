local surface = require "spec.support.surface"

describe("the surface", function()
  local whole, sources
  setup(function() whole = surface.sources() end)
  before_each(function()
    sources = {}
    for kind, texts in pairs(whole) do
      sources[kind] = {}
      for path, text in pairs(texts) do sources[kind][path] = text end
    end
  end)

  local function change(kind, path, from, to)
    local at, stop = assert(sources[kind][path], path):find(from, 1, true)
    assert(at, from)
    sources[kind][path] = sources[kind][path]:sub(1, at - 1) .. to .. sources[kind][path]:sub(stop + 1)
  end

  local function faults() return table.concat(surface.faults(sources), "\n") end

  it("has a type, an entry in the docs and a spec for each function, and none for what is not there", function()
    assert.equal("", faults())
  end)

  it("lacks a type where one is taken away, and has one too many where one is added", function()
    change("meta", "lua/moonpool/meta/moonpool.lua", "function moonpool.sleep(", "function moonpool.slep(")
    change("meta", "lua/moonpool/meta/tasks.lua", "function task:cancel(", "function task:abandon(")
    local said = faults()
    for _, fault in ipairs { "moonpool.sleep is registered and has no type", "moonpool.task:cancel is registered and has no type",
      "moonpool.slep has a type and is not registered", "moonpool.task:abandon has a type and is not registered",
      "no spec calls moonpool.slep" } do
      assert.is_truthy(said:find(fault, 1, true), said)
    end
  end)

  it("lacks an entry in the docs where one is taken away, and has one too many where one is added", function()
    change("docs", "docs/api.md", "`shared:incr(", "`shared:raise(")
    change("docs", "docs/api.md", "`moonpool.escape(s)`", "`moonpool.escape`, `os.exec(s)`")
    local said = faults()
    for _, fault in ipairs { "shared:incr (moonpool.shared:incr) is not in docs/api.md",
      "tells of shared:raise, which does not exist",
      "moonpool.escape (moonpool.escape) is not in docs/api.md", "tells of os.exec, which does not exist" } do
      assert.is_truthy(said:find(fault, 1, true), said)
    end
  end)

  it("lacks a spec where nobody calls a function", function()
    for path, text in pairs(sources.specs) do
      sources.specs[path] = text:gsub("write_error", "write"):gsub("needs_rehash", "verify")
    end
    assert.equal("no spec calls child:write_error (moonpool.test.child:write_error)\n"
      .. "no spec calls password.needs_rehash (moonpool.password.needs_rehash)", faults())
  end)

  it("does not know a module that nothing asks for and nobody tells of", function()
    sources.inside["lua/moonpool/new_and_forgotten.lua"] = "return {}"
    assert.equal("moonpool.new_and_forgotten: a module that nothing asks for, and that has no types", faults())
  end)

  it("has types for each module that the docs tell of", function()
    sources.meta["lua/moonpool/meta/password.lua"] = nil
    assert.is_truthy(faults():find("docs/api.md:%d+: tells of password.hash, which does not exist"))
  end)
end)
