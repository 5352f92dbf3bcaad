-- Modules that are loaded when they are first used.
describe("a module of later", function()
  local later, loads
  before_each(function()
    package.loaded["moonpool.later"] = nil
    later = require "moonpool.later"
    loads = 0
    package.loaded["spec.of.later"] = nil
    package.preload["spec.of.later"] = function()
      loads = loads + 1
      return { add = function(a, b) return a + b end, fail = function() error("by the caller", 2) end }
    end
  end)
  after_each(function()
    package.preload["spec.of.later"], package.loaded["spec.of.later"] = nil, nil
  end)

  it("is loaded by the first use, once", function()
    local module = later "spec.of.later"
    assert.are.equal(0, loads)
    assert.are.equal(3, module.add(1, 2))
    assert.are.equal(5, module.add(2, 3))
    assert.are.equal(1, loads)
  end)

  it("is the one that require gives", function()
    assert.are.equal(require("spec.of.later").add, later "spec.of.later".add)
  end)

  it("names the line of its caller in an error", function()
    local module = later "spec.of.later"
    local _, message = pcall(function() module.fail() end)
    assert.truthy(message:find "later_spec.lua:%d+: by the caller")
  end)

  it("says what is missing when it is used, not before", function()
    local module = later "spec.of.nothing"
    assert.has_error(function() return module.any end)
  end)
end)
