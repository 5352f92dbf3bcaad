-- One event for each error that nobody took, of whatever kind: one line in the log, one call of on_error, one count.
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local told = {}
local store = moonpool.service "store"

app:on_error(function(err, traceback, what)
  local text = type(err) == "table" and err.message or tostring(err)
  told[#told + 1] = { err = text, trace = type(traceback) == "string" and traceback or nil, kind = what.kind,
    text = tostring(what), request = what.request, id = what.request_id, at = what.spawned_at, worker = what.worker }
end)
app:get("/told", function(_, res)
  res:json { told = moonpool.json.array(told), errors = moonpool.stats().errors, task_errors = moonpool.stats().task_errors }
  told = {}
end)

app:get("/handler", function() error "broke-handler" end)
app:get("/handler-nested", function()
  pcall(error, "caught")
  moonpool.scope(function() moonpool.spawn(function() error("broke-scope", 0) end):wait() end)
end)
app:get("/handler-taken", function(_, res)
  local t = moonpool.spawn(function() error "taken" end)
  pcall(t.wait, t)
  local p = moonpool.spawn { "sh", "-c", "exit 9" }
  p:wait()
  pcall(moonpool.run, { "false", check = true })
  pcall(moonpool.scope, function() error "taken too" end)
  res:text "ok"
end)
app:get("/answer", function() error { status = 404, message = "not an error" } end)
app:get("/answer-503", function() error { status = 503, message = "broke-answer" } end)
app:get("/after-head", function(_, res)
  res:write "begun"
  error "broke-after-head"
end)
app:get("/task", function(_, res)
  moonpool.spawn(function() error "broke-task" end)
  res:text "ok"
end)
app:get("/background", function(_, res)
  moonpool.background(function() error "broke-background" end)
  res:text "ok"
end)
app:get("/timer", function(_, res)
  moonpool.after(0.01, function() error "broke-timer" end)
  res:text "ok"
end)
app:get("/timer-task", function(_, res)
  moonpool.after(0.01, function() moonpool.spawn(function() error "broke-timer-task" end) end)
  res:text "ok"
end)
app:get("/offload", function(_, res)
  moonpool.offload(function() error "broke-offload" end)
  res:text "ok"
end)
app:get("/service", function(_, res)
  store:call "fail"
  res:text "ok"
end)
app:get("/service-down", function(_, res)
  broken = moonpool.service "broken"
  res:text "ok"
end)
app:get("/service-stop", function(_, res)
  broken:stop()
  res:text "ok"
end)
app:get("/process", function(_, res)
  moonpool.spawn { "sh", "-c", "exit 33" }
  moonpool.sleep(0.2)
  res:text "ok"
end)
app:get("/process-late", function(_, res)
  local p = moonpool.spawn { "sh", "-c", "exit 34" }
  moonpool.sleep(0.2)
  res:text(tostring(p:wait().code))
end)
app:get("/process-detached", function(_, res)
  moonpool.spawn { "sh", "-c", "kill -9 $$", detach = true }
  res:text "ok"
end)
app:get("/process-cancelled", function()
  moonpool.spawn { "sleep", "3641" }
  error { status = 400, message = "its process is cancelled" }
end)
app:get("/process-killed", function(_, res)
  moonpool.spawn({ "sleep", "3643" }):kill "SIGINT"
  moonpool.sleep(0.1)
  res:text "ok"
end)
app:get("/process-timeout", function(_, res)
  moonpool.spawn { "sleep", "3642", timeout = 0.05 }
  moonpool.sleep(0.2)
  res:text "ok"
end)
app:get("/held", function() while true do end end)
app:get("/held-task", function(_, res)
  moonpool.spawn(function() while true do end end)
  res:text "ok"
end)
app:get("/memory", function()
  return ("x"):rep(1 << 30)
end)
return app
]]

local files = {
  ["store.lua"] = [[ return { fail = function() error "broke-service" end } ]],
  ["broken.lua"] = [[ error "broke-load-of-service" ]],
}

describe("an error that nobody took", function()
  local s, json
  setup(function()
    json = require "cjson"
    s = server.start { app = app, files = files, args = { "--timeout", 0.5, "--max-memory", "64M" } }
  end)
  teardown(function() s:stop() end)

  local function told() return json.decode(s:get("/told").body) end

  -- Provokes by `path`; the event, when exactly one line, one call and one count came of it.
  local function once(path, kind, word, line)
    told()
    local before, lines = told().errors, s:count_log(line or word)
    pcall(s.get, s, path) -- one that breaks off in the middle is cut
    local events
    wait.until_true(function()
      events = told()
      return #events.told > 0
    end, 5, "the event of " .. path)
    wait.sleep(0.1) -- a second one would have come by now
    local later = told()
    assert.are.equal(1, #events.told + #later.told, path)
    local event = events.told[1]
    assert.are.equal(kind, event.kind)
    assert.are.equal(kind, event.text)
    assert.is_truthy(event.err:find(word, 1, true), event.err)
    assert.are.equal(1, event.worker)
    for name, n in pairs(later.errors) do
      assert.are.equal(before[name] + (name == kind and 1 or 0), n, name .. " counted for " .. path)
    end
    assert.are.equal(lines + 1, s:count_log(line or word), "lines of the log for " .. path)
    return event
  end
  local function never(path)
    told()
    local before = told().errors
    s:get(path)
    wait.sleep(0.2)
    local after = told()
    assert.are.same({}, after.told)
    assert.are.same(before, after.errors)
  end

  it("of a handler is told once", function()
    local e = once("/handler", "handler", "broke-handler", "handler error: .*broke%-handler")
    assert.are.equal("GET /handler", e.request)
    assert.is_truthy(e.id and e.trace:find "stack traceback")
    once("/handler-nested", "handler", "broke-scope", "handler error: broke%-scope")
    once("/answer-503", "handler", "broke-answer", "handler error: .*broke%-answer")
    once("/after-head", "handler", "broke-after-head", "handler error: .*broke%-after%-head")
  end)

  it("of a task is told once, with where it was spawned", function()
    local e = once("/task", "task", "broke-task", "task error: .*broke%-task")
    assert.is_truthy(e.at:find "app.lua:%d+$" and e.trace:find "stack traceback" and e.request == "GET /task")
    once("/background", "task", "broke-background", "task error: .*broke%-background")
  end)

  it("of a timer is told once, and of its tasks", function()
    local e = once("/timer", "timer", "broke-timer", "timer error: .*broke%-timer")
    assert.is_truthy(e.at:find "app.lua:%d+$")
    once("/timer-task", "task", "broke-timer-task", "task error: .*broke%-timer%-task")
  end)

  it("of an offload is told once, with the stack of its thread", function()
    local e = once("/offload", "offload", "broke-offload", "offload error: .*broke%-offload")
    assert.is_truthy(e.trace:find "stack traceback" and e.at:find "app.lua:%d+$")
  end)

  it("of a service is told once: of a call, and each time it cannot be loaded", function()
    once("/service", "service", "broke-service", "service error: .*broke%-service")
    told()
    s:get "/service-down"
    local n = 0
    wait.until_true(function()
      n = n + #told().told
      return n >= 2
    end, 5, "two tries")
    s:get "/service-stop"
    wait.sleep(0.3)
    n = n + #told().told
    assert.are.equal(n, s:count_log "service error: .*broke%-load%-of%-service")
  end)

  it("of a process that nobody waited for is told once, when its request is over", function()
    local e = once("/process", "process", "exited 33",
      'process %d+ %(sh%) exited 33, nobody waited argv0="sh" pid=%d+ status=exit:33 elapsed_ms=%d+ request_id=%x+')
    assert.is_truthy(e.at:find "app.lua:%d+$" and e.request == "GET /process")
    once("/process-detached", "process", "killed by SIGKILL", "killed by SIGKILL, nobody waited .*status=signal:SIGKILL")
    once("/process-timeout", "process", "timed out", "sleep%) killed by SIGTERM, timed out, nobody waited")
  end)

  it("is none where somebody took it, or where it is an answer or a cancel", function()
    never "/handler-taken"
    never "/process-late"
    never "/answer"
    never "/process-cancelled"
    never "/process-killed" -- it ended as the script had told it to
    assert.are.equal(1, s:count_log "exited 34 .*status=exit:34") -- the line is there all the same
    assert.are.equal(0, s:count_log "exited 34, nobody waited")
  end)

  it("of what takes too long or too much is told once", function()
    once("/held", "handler", "--timeout", "held the worker")
    once("/held-task", "task", "--timeout", "held the worker")
    once("/memory", "handler", "not enough memory", "handler error: not enough memory")
  end)

  it("in on_error itself is one line more, and goes no further (row 13)", function()
    local failing = server.start { app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      local calls = 0
      app:on_error(function(err)
        calls = calls + 1
        error("broke-itself after " .. tostring(err))
      end)
      app:get("/", function() error "broke-first" end)
      app:get("/calls", function(_, res) res:text(calls .. " " .. moonpool.stats().errors.handler) end)
      return app
    ]] }
    assert.are.equal(500, failing:get("/").status)
    assert.are.equal(1, failing:count_log "handler error: .*broke%-first")
    assert.are.equal(1, failing:count_log "on_error failed: .*broke%-itself after .*broke%-first")
    assert.are.equal("1 1", failing:get("/calls").body)
    failing:stop()
  end)

  it("of the start is told once, and once to on_error of an app that is there", function()
    local failing = server.launch { app = [[
      local app = require "moonpool".app()
      app:on_error(function(err, _, what) print("told " .. what.kind .. " " .. tostring(err)) end)
      app:on_start(function() error "broke-start" end)
      return app
    ]] }
    assert.are.same({ "exit", 3 }, { failing:wait_exit() })
    assert.are.equal(1, failing:count_log "app error .*broke%-start")
    assert.are.equal(1, failing:count_log "app info told load .*broke%-start")
    failing:finish("exit", 3)
  end)
end)
