-- The limit of Lua's memory: who would pass it fails, the worker lives and has its memory back.
local client = require "spec.support.client"
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local kept

local bombs = {
  string = function()
    local s = ("x"):rep(1024)
    while true do s = s .. s end
  end,
  rep = function() return ("x"):rep(1 << 30) end,
  table = function()
    local t = {}
    while true do t[#t + 1] = {} end
  end,
  array = function()
    local t = {}
    for i = 1, 1 << 30 do t[i] = i end
  end,
  coroutines = function()
    local t = {}
    while true do t[#t + 1] = coroutine.create(function() end) end
  end,
  running_coroutines = function()
    local t = {}
    while true do
      t[#t + 1] = coroutine.wrap(function() coroutine.yield() end)
      t[#t]()
    end
  end,
  concat = function()
    local t = {}
    for i = 1, 1 << 20 do t[i] = ("y"):rep(1024) end
    return table.concat(t)
  end,
  retry = function()
    while true do
      local t = {}
      if not pcall(function() while true do t[#t + 1] = ("z"):rep(4096 + #t) end end) then error(table.concat(t)) end
    end
  end,
}
for name, bomb in pairs(bombs) do app:get("/" .. name, function() bomb() end) end
app:get("/recursion", function() local function f() return 1 + f() end f() end)
app:get("/nested", function()
  local function f() return coroutine.wrap(f)() end
  f()
end)
app:get("/task", function(_, res)
  local t = moonpool.spawn(bombs.table)
  local ok, err = pcall(t.wait, t)
  res:text(tostring(ok) .. " " .. tostring(err))
end)
app:get("/background", function(_, res)
  moonpool.background(function() bombs.table() end)
  res:text "begun"
end)
app:get("/", function(_, res) res:text(tostring(moonpool.worker.pid)) end)
app:get("/used", function(_, res)
  collectgarbage()
  res:text(tostring(moonpool.stats().lua_memory))
end)
app:get("/keep", function(_, res)
  kept = kept or {}
  while true do kept[#kept + 1] = ("k"):rep(1024 + #kept) end
end)
app:get("/drop", function(_, res) kept = nil collectgarbage() res:text "dropped" end)
return app
]]

describe("a request that would pass --max-memory", function()
  local s, pid, before
  setup(function()
    s = server.start { app = app, args = { "--max-memory", "64M" } }
    pid = s:worker()
    before = tonumber(s:get("/used").body)
  end)
  teardown(server.stop_all)

  local function still_well()
    for _ = 1, 20 do assert.are.equal(tostring(pid), s:get("/").body) end
    local used = tonumber(s:get("/used").body)
    assert.is_true(used < before + 2 * 1024 * 1024, "memory is not given back: " .. used .. " after " .. before)
  end

  for _, bomb in ipairs { "string", "rep", "table", "array", "coroutines", "running_coroutines", "concat", "retry" } do
    it("fails with 503, and its worker answers the next ones: " .. bomb, function()
      assert.are.equal(503, s:get("/" .. bomb).status)
      s:wait_log('error handler error: not enough memory.*request="GET /' .. bomb .. '"')
      assert.is_truthy(s:log():find("GET /" .. bomb .. '" id=%x+\n\tstack traceback:[^"]*app.lua:'))
      still_well()
    end)
  end

  for _, bomb in ipairs { "recursion", "nested" } do
    it("by calls without end fails, too: " .. bomb, function()
      assert.is_true(s:get("/" .. bomb).status >= 500)
      still_well()
    end)
  end

  it("in a task fails that task", function()
    assert.are.equal("false not enough memory", s:get("/task").body)
    still_well()
  end)

  it("in the background is told", function()
    s:get "/background"
    s:wait_log "error task error: not enough memory"
    still_well()
  end)

  it("fails again as long as something keeps it full, and the worker outlives that", function()
    for _ = 1, 3 do assert.are.equal(503, s:get("/keep").status) end
    local answers = client.together(10, function()
      local c = client.shared(s.port)
      return c:ask("GET", "/keep").status
    end)
    for _, a in ipairs(answers) do assert.are.equal(503, a.value) end
    assert.are.equal(pid, s:worker())
    s:get "/drop"
    still_well()
  end)
end)
