-- moonpool.shared: one map for the pool; here what a script sees of it.
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local s = moonpool.shared "spec"

local function show(...)
  local out = table.pack(...)
  for i = 1, out.n do
    out[i] = math.type(out[i]) and math.type(out[i]) .. " " .. tostring(out[i]) or tostring(out[i])
  end
  return table.concat(out, "|")
end
local function raised(...) return tostring(select(2, pcall(...))) end

app:get("/values", function(_, res)
  local bytes = ("\0\255x"):rep(100000)
  s:set("integer", math.mininteger)
  s:set("float", 3.0)
  s:set("true", true)
  s:set("false", false)
  s:set("empty", "")
  s:set("", "the empty key")
  s:set("a\0b", "NUL")
  s:set("nan", 0/0)
  s:set("inf", -math.huge)
  assert(s:set("bytes", bytes) == true and s:get "bytes" == bytes)
  local nan = s:get "nan"
  res:text(show(s:get "integer", s:get "float", s:get "true", s:get "false", s:get "empty", s:get "", s:get "a\0b",
    nan ~= nan, s:get "inf", s:get "absent"))
end)
app:get("/names", function(_, res)
  moonpool.shared("one"):set("k", 1)
  moonpool.shared("two"):set("k", 2)
  res:text(show(moonpool.shared("one"):get "k", moonpool.shared("two"):get "k", moonpool.shared("three"):get "k",
    tostring(moonpool.shared "one")))
end)
app:get("/add", function(_, res)
  local first, second = s:add("lock", 1, 0.05), table.pack(s:add("lock", 2))
  local n = 0
  while not s:add("lock", 3) do
    moonpool.sleep(0.01)
    n = n + 1
  end
  res:text(show(first, second[1], second[3], n > 0, s:get "lock"))
end)
app:get("/incr", function(_, res)
  local a, b, c = s:incr "n", s:incr("n", 41), s:incr("n", 0.5)
  s:set("text", "x")
  local _, message, code = s:incr "text"
  res:text(show(a, b, c, s:incr("max", math.maxinteger), s:incr "max", message, code, s:incr("down", -3)))
end)
app:get("/ttl", function(_, res)
  local window = "w" .. moonpool.now()
  local before = moonpool.now()
  s:incr(window, 1, 0.3)
  moonpool.sleep(0.1)
  s:incr(window, 1, 60)
  local left = s:ttl(window)
  while s:get(window) do moonpool.sleep(0.01) end
  local took = moonpool.now() - before
  s:set("lasting", 1, 5)
  local some = s:ttl "lasting"
  s:set("lasting", 2)
  s:set("for ever", 1, math.huge)
  res:text(show(left > 0 and left <= 0.21, took >= 0.29, s:incr(window, 1, 60) == 1, some > 4 and some <= 5,
    s:ttl "lasting", s:ttl "for ever", s:ttl "absent"))
end)
app:get("/delete", function(_, res)
  s:set("gone", 1)
  res:text(show(s:delete "gone", s:delete "gone", s:get "gone"))
end)
app:get("/keys", function(_, res)
  local keys = moonpool.shared "keys"
  for i = 1, 3000 do keys:set("k" .. i, i, i % 2 == 0 and 1000 or nil) end
  keys:set("k-expired", 1, 0.001)
  while keys:get "k-expired" do moonpool.sleep(0.001) end
  local all, seen = keys:keys(), {}
  for _, k in ipairs(all) do
    assert(not seen[k] and keys:get(k))
    seen[k] = true
  end
  res:text(show(#all, #keys:keys "k1", #keys:keys "none", #moonpool.shared("other"):keys()))
end)
app:get("/full", function(_, res)
  local full, n, message, code = moonpool.shared "full", 0, nil, nil
  repeat
    local ok
    ok, message, code = full:set("k" .. n, ("v"):rep(10000))
    n = n + (ok and 1 or 0)
  until not ok
  local out = { n > 20, message, code, full:get "k0" == ("v"):rep(10000), #full:keys() == n }
  out[#out + 1] = select(3, full:set("k0", ("w"):rep(1000000)))
  out[#out + 1] = full:get "k0" == ("v"):rep(10000)
  out[#out + 1] = full:set("k0", ("w"):rep(10000))
  for i = 0, n - 1 do full:delete("k" .. i) end
  local half = math.tointeger(n * 10000 * 0.9 // 1)
  out[#out + 1] = full:set("whole", ("x"):rep(half))
  out[#out + 1] = full:delete "whole"
  res:text(show(table.unpack(out)))
end)
app:get("/cache", function(_, res)
  local cache = moonpool.shared "cache"
  cache:set("stays", "no ttl")
  for i = 1, 1000 do
    assert(cache:set("c" .. i, ("v"):rep(5000), 1000))
    assert(cache:get "c1")
  end
  local n = #cache:keys()
  res:text(show(n > 50 and n < 1000, cache:get "stays", cache:get "c1" ~= nil, cache:get "c2", cache:get "c1000" ~= nil))
  for _, k in ipairs(cache:keys()) do cache:delete(k) end
end)
app:get("/offload", function(_, res)
  s:set("from", "the loop")
  local got = moonpool.offload(function()
    local shared = require("moonpool").shared "spec"
    shared:set("thread", shared:get "from" .. " and back")
    for _ = 1, 1000 do shared:incr "together" end
    return shared:get "from"
  end)
  for _ = 1, 1000 do s:incr "together" end
  res:text(show(got:wait(), s:get "thread", s:get "together"))
end)
app:get("/wrong", function(_, res)
  res:text(table.concat({ raised(moonpool.shared, 1), raised(moonpool.shared, ("n"):rep(256)), raised(s.get, s),
    raised(s.get, s, {}), raised(s.set, s, "k", nil), raised(s.set, s, "k", {}), raised(s.set, s, "k", 1, 0),
    raised(s.set, s, "k", 1, -1),
    raised(s.set, s, "k", 1, 0/0), raised(s.set, s, "k", 1, "1"), raised(s.incr, s, "k", "1"),
    raised(s.set, s, ("k"):rep(65536), 1), raised(s.keys, s, 1), raised(s.get, {}, "k") }, "\n"))
end)
return app
]]

describe("moonpool.shared", function()
  local s
  setup(function() s = server.start { app = app, args = { "--shared-memory", "1M" } } end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  it("keeps strings, numbers and booleans as they are", function()
    says("/values", "integer -9223372036854775808|float 3.0|true|false||the empty key|NUL|true|float -inf|nil")
  end)

  it("has a map for each name", function() says("/names", "integer 1|integer 2|nil|shared one") end)

  it("adds what is absent, or has expired", function() says("/add", "true|nil|EEXIST|true|integer 3") end)

  it("counts", function()
    says("/incr", "integer 1|integer 42|float 42.5|integer 9223372036854775807|integer -9223372036854775808|"
      .. "incr: what is there is no number|EINVAL|integer -3")
  end)

  it("lets a counter expire at the time that was set when it was made", function()
    says("/ttl", "true|true|true|true|float inf|float inf|nil")
  end)

  it("deletes", function() says("/delete", "true|false|nil") end)

  it("lists keys, by their beginning too", function() says("/keys", "integer 3000|integer 1111|integer 0|integer 0") end)

  it("says that it is full, and loses nothing by it", function()
    says("/full", "true|set: the shared memory is full (--shared-memory)|ENOSPC|true|true|ENOSPC|true|true|true|true")
  end)

  it("makes room where a time to live allows it, least recently used first", function()
    says("/cache", "true|no ttl|true|nil|true")
  end)

  it("is there on threads too", function() says("/offload", "the loop|the loop and back|integer 2000") end)

  it("names a wrong argument", function()
    local body, n = s:get("/wrong").body, 0
    for line in body:gmatch "[^\n]+" do
      n = n + 1
      assert.is_truthy(line:find "bad argument #%d", line)
    end
    assert.are.equal(14, n)
    assert.is_truthy(body:find("a string, a number or a boolean is wanted, not nil", 1, true), body)
    assert.is_truthy(body:find("a number of seconds above 0", 1, true), body)
  end)
end)

describe("moonpool check", function()
  it("lets an app use it that nobody serves", function()
    local s = server.launch {
      app = [[
        local moonpool = require "moonpool"
        local app = moonpool.app()
        local s = moonpool.shared "x"
        assert(s:incr "n" == 1 and s:incr "n" == 2)
        local ch = moonpool.subscribe "t"
        assert(moonpool.publish("t", { 1 }))
        moonpool.every(1, print, { once = "pool" })
        return app
      ]],
      files = {}, argv = nil,
    }
    s:wait_log "worker ready"
    local check = server.launch { argv = { "check", s.app } }
    check:wait_exit()
    assert.are.equal("exit", check.ended)
    assert.are.equal(0, check.number, check:log())
    assert.is_truthy(check:out():find "^ok")
    check:abandon()
    s:stop()
  end)
end)
