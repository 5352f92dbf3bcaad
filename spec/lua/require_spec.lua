local fake = require "spec.support.fake_core"

describe("require", function()
  local core, require_module, folder

  local function write(name, text)
    local file = assert(io.open(folder .. "/" .. name .. ".lua", "w"))
    file:write(text)
    file:close()
  end

  before_each(function()
    core = fake.install()
    require_module = require("moonpool.require").require
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder))
    package.path = folder .. "/?.lua;" .. package.path
    _G.trail = {}
  end)

  after_each(function()
    package.path = package.path:match(";(.*)")
    for _, name in ipairs { "m", "a", "b", "c" } do
      package.loaded["spec_" .. name] = nil
    end
    _G.trail, _G.pause = nil, nil
    os.execute("rm -r " .. folder)
  end)

  -- What both give for the same call: { ok, values… }, with the caller's line taken off.
  local function both(name, ...)
    local function try(require_it, ...)
      package.loaded[name or "nil"] = nil
      local packed = table.pack(pcall(function(...) local a, b = require_it(...) return a, b end, ...))
      if type(packed[2]) == "string" then
        packed[2] = packed[2]:gsub("^spec/lua/require_spec.lua:%d+: ", "@ "):gsub("'require_it'", "'require'")
      end
      return packed
    end
    return try(_G.require, ...), try(require_module, ...)
  end

  it("gives the same results as Lua's own", function()
    for _, body in ipairs {
      "return 'value'", "return nil", "return false", "return 1, 2", "local name, file = ... return name .. file",
      "package.loaded['spec_m'] = 'set'", "package.loaded['spec_m'] = 'set' return 'returned'",
    } do
      write("spec_m", body)
      local stock, ours = both("spec_m", "spec_m")
      assert.same(stock, ours, body)
    end
  end)

  it("gives one result for what is loaded already", function()
    write("spec_m", "return 'value'")
    require_module "spec_m"
    assert.equal(1, select("#", require_module "spec_m"))
    assert.equal("value", require_module "spec_m")
  end)

  it("raises the same errors as Lua's own, from the same line", function()
    write("spec_m", "error('in the body')")
    write("spec_a", "error({ 'a table' })")
    write("spec_b", "not Lua")
    for _, name in ipairs { "spec_m", "spec_none", "spec_b" } do
      local stock, ours = both(name, name)
      assert.same(stock, ours, name)
    end
    for _, value in ipairs { {}, true } do
      local stock, ours = both(nil, value)
      assert.same(stock[2], ours[2])
    end
    local stock, ours = both(nil)
    assert.same(stock[2], ours[2])
    local ok, err = pcall(require_module, "spec_a")
    assert.is_false(ok)
    assert.same({ "a table" }, err)
  end)

  it("asks package.preload and other searchers", function()
    package.preload.spec_c = function(...) return { ... } end
    assert.same({ "spec_c", ":preload:" }, (require_module "spec_c"))
    package.preload.spec_c = nil
    local searcher = function(name) return name == "spec_b" and function(_, data) return data end or nil, "extra" end
    table.insert(package.searchers, searcher)
    assert.same({ "extra", "extra" }, { require_module "spec_b" })
    table.remove(package.searchers)
  end)

  it("loads a module again whose body failed", function()
    write("spec_m", "if #trail == 0 then trail[1] = 1 error('first') end return 'second'")
    assert.is_false(pcall(require_module, "spec_m"))
    assert.equal("second", (require_module "spec_m"))
  end)

  it("lets a body wait", function()
    write("spec_m", "pause(5) return 'slow'")
    _G.pause = core.sleep
    assert.equal("slow", fake.run(require_module, "spec_m"))
    assert.equal(5, core.now())
  end)

  it("runs a body once for two tasks; the second waits for the first", function()
    write("spec_m", "trail[#trail + 1] = 'body' pause(1) return { 'the one' }")
    _G.pause = core.sleep
    local seen = {}
    for i = 1, 3 do
      core.spawn_task(function() seen[i] = require_module "spec_m" end)
    end
    fake.loop()
    assert.same({ "body" }, _G.trail)
    assert.same({ "the one" }, seen[1])
    assert.equal(seen[1], seen[2])
    assert.equal(seen[1], seen[3])
  end)

  it("lets the second load it when the first fails", function()
    write("spec_m", "trail[#trail + 1] = 'body' pause(1) if #trail == 1 then error('first') end return 'second'")
    _G.pause = core.sleep
    local first, second
    core.spawn_task(function() first = { pcall(require_module, "spec_m") } end)
    core.spawn_task(function() second = { pcall(require_module, "spec_m") } end)
    fake.loop()
    assert.is_false(first[1])
    assert.equal("second", second[2])
  end)

  it("lets the second load it when the coroutine of the first was dropped", function()
    write("spec_m", "trail[#trail + 1] = 'body' if #trail == 1 then coroutine.yield() end return 'loaded'")
    local seen
    fake.run(function()
      coroutine.resume(coroutine.create(require_module), "spec_m")
      collectgarbage()
      collectgarbage()
    end)
    fake.run(function() seen = require_module "spec_m" end)
    assert.equal("loaded", seen)
  end)

  it("does not wait for itself: a cycle ends with an error, or by package.loaded", function()
    write("spec_a", "return { require 'spec_b' }")
    write("spec_b", "return { require 'spec_a' }")
    local stock_require = _G.require
    _G.require = require_module
    local ok, err = pcall(fake.run, require_module, "spec_a")
    assert.is_false(ok)
    assert.matches("stack overflow", err)
    write("spec_a", "package.loaded.spec_a = 'early' return { require 'spec_b' }")
    assert.equal("early", fake.run(require_module, "spec_a")[1][1])
    _G.require = stock_require
  end)

  it("does not let two tasks wait for each other", function()
    write("spec_a", "pause(1) trail[#trail + 1] = 'a' package.loaded.spec_a = 'a' require 'spec_b'")
    write("spec_b", "pause(1) trail[#trail + 1] = 'b' package.loaded.spec_b = 'b' require 'spec_a'")
    _G.pause = core.sleep
    local stock_require = _G.require
    _G.require = require_module
    local done = 0
    for _, name in ipairs { "spec_a", "spec_b" } do
      core.spawn_task(function() require_module(name) done = done + 1 end)
    end
    fake.loop()
    _G.require = stock_require
    assert.equal(2, done)
  end)

  it("raises in a place that cannot wait for another task's body", function()
    write("spec_m", "pause(1) return 'slow'")
    _G.pause = core.sleep
    local ok, err
    core.spawn_task(require_module, "spec_m")
    core.spawn_task(function()
      ok, err = pcall(table.sort, { 2, 1 }, function() require_module "spec_m" end)
    end)
    fake.loop()
    assert.is_false(ok)
    assert.matches("module 'spec_m' is being loaded by another task", err)
  end)
end)
