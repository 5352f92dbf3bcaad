-- Scopes: row 9 of the laws of tasks, and what follows from it.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local told, left = {}, 0

app:on_error(function(err, traceback, what)
  told[#told + 1] = what.kind .. ": " .. tostring(err) .. " request=" .. tostring(what.request)
    .. " trace=" .. tostring((traceback or ""):find "stack traceback" ~= nil)
end)
app:get("/told", function(_, res)
  res:text(table.concat(told, "\n"))
  told = {}
end)
app:get("/errors", function(_, res) res:text(tostring(moonpool.stats().task_errors)) end)
app:get("/left", function(_, res) res:text(tostring(left)) end)

local function sleeper(list, name)
  return function()
    local note <close> = setmetatable({}, { __close = function() list[#list + 1] = name end })
    moonpool.sleep(30)
  end
end

app:get("/values", function(_, res)
  local ended = {}
  local r = table.pack(moonpool.scope(function(scope)
    scope:spawn(function(name) moonpool.sleep(0.05) ended[#ended + 1] = name end, "method")
    moonpool.spawn(function() moonpool.sleep(0.08) ended[#ended + 1] = "function" end)
    scope:spawn(function() moonpool.spawn(function() moonpool.sleep(0.1) ended[#ended + 1] = "deeper" end) end)
    return 1, nil, "three", nil
  end))
  res:text(("%d %s %s %s %s %s"):format(r.n, r[1], r[2], r[3], r[4], table.concat(ended, ",")))
end)
app:get("/first-error", function(_, res)
  local ended, value = {}, { "the error" }
  local ok, err = pcall(moonpool.scope, function(scope)
    scope:spawn(sleeper(ended, "first"))
    scope:spawn(function() moonpool.sleep(0.02) error(value) end)
    sleeper(ended, "body")()
  end)
  table.sort(ended)
  res:text(("%s %s %s"):format(ok, err == value, table.concat(ended, ",")))
end)
app:get("/body-error", function(_, res)
  local ended = {}
  local ok, err = pcall(moonpool.scope, function(scope)
    scope:spawn(sleeper(ended, "task"))
    moonpool.sleep(0.01)
    error("from the body", 0)
  end)
  res:text(("%s %s %s"):format(ok, err, table.concat(ended, ",")))
end)
app:get("/second-error", function(_, res)
  local ok, err = pcall(moonpool.scope, function(scope)
    scope:spawn(function()
      local late <close> = setmetatable({}, { __close = function() error("while closing", 0) end })
      moonpool.sleep(30)
    end)
    moonpool.sleep(0.01)
    error("the first", 0)
  end)
  res:text(("%s %s"):format(ok, err))
end)
app:get("/taken", function(_, res)
  local r = moonpool.scope(function(scope)
    local t = scope:spawn(function() moonpool.sleep(0.01) error("taken", 0) end)
    local _, err = pcall(t.wait, t)
    return err
  end)
  res:text(r)
end)
app:get("/uncaught", function() moonpool.scope(function(scope)
  scope:spawn(function() error "nobody catches" end)
  moonpool.sleep(30)
end) end)
app:get("/status", function() moonpool.scope(function() error { status = 418, message = "tea" } end) end)
app:get("/deadline", function(_, res)
  local ended, before = {}, moonpool.now()
  local ok, err = pcall(moonpool.scope, function(scope)
    scope:spawn(sleeper(ended, "task"))
    sleeper(ended, "body")()
  end, { timeout = 0.1 })
  table.sort(ended)
  local took = moonpool.now() - before
  res:text(("%s %s %s %s"):format(ok, err, table.concat(ended, ","), took >= 0.099 and took < 3))
end)
app:get("/deadline-kept", function(_, res)
  local a = moonpool.scope(function() moonpool.sleep(0.01) return "in time" end, { timeout = 0.5 })
  moonpool.sleep(0.6)
  res:text(a)
end)
app:get("/cancel", function(_, res)
  local ended, seen = {}, nil
  local ok, err = pcall(moonpool.scope, function(scope)
    seen = scope
    scope:spawn(sleeper(ended, "task"))
    moonpool.sleep(0.01)
    scope:cancel "enough"
    moonpool.sleep(30)
  end)
  local values = moonpool.scope(function(scope) scope:cancel() return "came through" end)
  res:text(("%s %s %s %s %s %s %s"):format(ok, err == moonpool.cancelled, table.concat(ended, ","), seen.cancelled,
    seen.reason, values, tostring(seen)))
end)
app:get("/nested", function(_, res)
  local ended = {}
  local inner_ok, inner_err
  local r = moonpool.scope(function()
    inner_ok, inner_err = pcall(moonpool.scope, function(inner)
      inner:spawn(sleeper(ended, "inner"))
      moonpool.sleep(0.01)
      error("inner only", 0)
    end)
    moonpool.sleep(0.01)
    return "outer goes on"
  end)
  res:text(("%s %s %s %s"):format(r, inner_ok, inner_err, table.concat(ended, ",")))
end)
app:get("/outer-cancels", function(_, res)
  local ended, before = {}, moonpool.now()
  local ok, err = pcall(moonpool.scope, function(outer)
    moonpool.spawn(function() moonpool.scope(function(middle)
      middle:spawn(sleeper(ended, "a"))
      moonpool.scope(function() moonpool.spawn(sleeper(ended, "b")) sleeper(ended, "c")() end)
    end) end)
    moonpool.sleep(0.05)
    error("outer", 0)
  end)
  table.sort(ended)
  res:text(("%s %s %s %s"):format(ok, err, table.concat(ended, ","), moonpool.now() - before < 5))
end)
app:get("/task-cancelled", function(_, res)
  local ended, joined = {}, nil
  local t = moonpool.spawn(function()
    moonpool.scope(function(scope)
      scope:spawn(function()
        local slow <close> = setmetatable({}, { __close = function() moonpool.sleep(0.1) ended[1] = "closed" end })
        moonpool.sleep(30)
      end)
    end)
  end)
  moonpool.sleep(0.02)
  t:cancel()
  local ok, err = pcall(t.wait, t)
  res:text(("%s %s %s %s"):format(ok, err == moonpool.cancelled, t:status(), ended[1]))
end)
app:get("/processes", function(_, res)
  local pids = {}
  local ok, err = pcall(moonpool.scope, function(scope)
    local p = scope:spawn { "sleep", "3610" }
    local q = moonpool.spawn { "sleep", "3611" }
    pids = { p.pid, q.pid }
    scope:spawn(function() scope:run { "sleep", "3612" } end)
    moonpool.sleep(0.1)
    error("over", 0)
  end)
  local gone = 0
  for _, pid in ipairs(pids) do gone = gone + (io.open("/proc/" .. pid .. "/stat") and 0 or 1) end
  res:text(("%s %s %d"):format(ok, err, gone))
end)
app:get("/waits-for-process", function(_, res)
  local before = moonpool.now()
  moonpool.scope(function(scope) scope:spawn { "sleep", "0.2" } end)
  res:text(tostring(moonpool.now() - before >= 0.19))
end)
app:get("/run", function(_, res)
  local out
  moonpool.scope(function(scope)
    out = scope:run { "sh", "-c", "echo hi; exit 3" }
    local other = moonpool.background(function() return scope:run { "echo", "from outside" } end)
    out = out.stdout .. out.code .. " " .. other:wait().stdout
  end)
  res:text(out)
end)
app:get("/from-outside", function(_, res)
  local inner, ended
  local t = moonpool.spawn(function()
    moonpool.scope(function(scope) inner = scope moonpool.sleep(0.1) end)
    ended = moonpool.now()
  end)
  moonpool.sleep(0.02)
  local p = inner:spawn { "sleep", "0.4" }
  local task = inner:spawn(function() moonpool.sleep(0.2) return "a task" end)
  local value = task:wait()
  t:wait()
  local r = p:wait()
  local ok, err = pcall(inner.spawn, inner, print)
  res:text(("%s %s %s %s"):format(value, r.ok, ok, err))
end)
app:get("/cycle", function(_, res)
  local t
  t = moonpool.spawn(function()
    return select(2, pcall(moonpool.scope, function(scope)
      scope:spawn(function() t:wait() end)
    end))
  end)
  res:text(tostring(t:wait()))
end)
app:get("/arguments", function(_, res)
  local out = {}
  for _, call in ipairs { { 1 }, { print, 1 }, { print, { timeout = "x" } }, { print, { wait = 1 } } } do
    local ok, err = pcall(moonpool.scope, table.unpack(call))
    out[#out + 1] = tostring(ok) .. " " .. tostring(err)
  end
  res:text(table.concat(out, "\n"))
end)
app:get("/gone", function()
  moonpool.scope(function(scope)
    scope:spawn { "sleep", "3613" }
    local note <close> = setmetatable({}, { __close = function() left = left + 1 end })
    moonpool.sleep(30)
  end)
end)
app:get("/unwaited", function(_, res)
  moonpool.spawn(function()
    moonpool.scope(function(scope)
      scope:spawn(function() error("of the inner scope", 0) end)
    end)
  end)
  res:text "answered"
end)
app:get("/request-named", function(_, res)
  pcall(moonpool.scope, function(scope)
    scope:spawn(function() error("first of two", 0) end)
    scope:spawn(function() error("second of two", 0) end)
  end)
  res:text "ok"
end)
app:get("/many", function(_, res)
  local n = 0
  moonpool.scope(function(scope)
    for i = 1, 50 do
      scope:spawn(function()
        moonpool.scope(function(inner)
          for _ = 1, 3 do inner:spawn(function() moonpool.sleep(0.001 * (i % 7)) n = n + 1 end) end
        end)
      end)
    end
  end)
  res:text(tostring(n))
end)
return app
]]

describe("a scope", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)
  before_each(function() s:get "/told" end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  it("returns its function's values when all has ended", function()
    says("/values", "4 1 nil three nil method,function,deeper")
  end)

  it("raises the first error, and has cancelled and awaited the rest", function()
    local before = s:get("/errors").body
    says("/first-error", "false true body,first")
    says("/body-error", "false from the body task")
    says("/errors", before)
    says("/told", "")
  end)

  it("tells of further errors once, with the request", function()
    says("/second-error", "false the first")
    says("/told", "task: while closing request=GET /second-error trace=true")
    says("/request-named", "ok")
    says("/told", "task: second of two request=GET /request-named trace=true")
  end)

  it("leaves alone an error that a waiter was given", function()
    says("/taken", "taken")
    says("/told", "")
  end)

  it("raises into the handler: 500, or the status that was raised; told once", function()
    assert.are.equal(500, s:get("/uncaught").status)
    local told = s:get("/told").body
    assert.is_truthy(told:find "^handler: [^\n]*app%.lua:%d+: nobody catches request=GET /uncaught trace=true$", told)
    assert.are.equal(418, s:get("/status").status)
    s:wait_log "error of the task spawned at .*app%.lua"
  end)

  it("ends at its deadline by the string timeout", function()
    says("/deadline", "false timeout body,task true")
    says("/deadline-kept", "in time")
    says("/told", "")
  end)

  it("may be cancelled by hand", function()
    says("/cancel", "false true task true enough came through scope (ended)")
  end)

  it("may lie in another, whose cancel reaches it", function()
    says("/nested", "outer goes on false inner only inner")
    says("/outer-cancels", "false outer a,b,c true")
    says("/told", "")
  end)

  it("is over before a cancelled caller goes on", function() says("/task-cancelled", "false true cancelled closed") end)

  it("ends its processes", function()
    says("/processes", "false over 2")
    says("/waits-for-process", "true")
    for _, n in ipairs { 3610, 3611, 3612 } do
      wait.until_true(function() return #proc.named("sleep " .. n) == 0 end, 3, "the end of sleep " .. n)
    end
  end)

  it("runs processes for others too", function() says("/run", "hi\n3 from outside\n") end)

  it("takes what others start in it, until it has ended", function()
    says("/from-outside", "a task true false spawn: the scope has ended")
  end)

  it("refuses to be waited for by what it waits for", function()
    local body = s:get("/cycle").body
    assert.is_truthy(body:find "cycle of 2 tasks", body)
  end)

  it("names a wrong argument", function()
    local body = s:get("/arguments").body
    assert.is_truthy(body:find "^false .-function.-\nfalse .-table.-\nfalse .-timeout must be.-\nfalse .-unknown option wait",
      body)
  end)

  it("ends with a client that goes away", function()
    local c = s:connect()
    c:send "GET /gone HTTP/1.1\r\nHost: x\r\n\r\n"
    wait.until_true(function() return #proc.named "sleep 3613" == 1 end, 3, "the process")
    c:close()
    wait.until_true(function() return s:get("/left").body == "1" end, 5, "the end of the scope")
    wait.until_true(function() return #proc.named "sleep 3613" == 0 end, 5, "the end of the process")
  end)

  it("of a task that nobody waits for is told by that task, once", function()
    says("/unwaited", "answered")
    wait.until_true(function()
      local told = s:get("/told").body
      return told:find "^task: of the inner scope"
    end, 3, "the report")
    says("/told", "")
  end)

  it("may be one of many", function()
    says("/many", "150")
    for _, r in ipairs(client.at_once(s.port, 30, function() return "GET", "/many" end)) do
      assert.are.equal("150", r.body)
    end
  end)
end)
