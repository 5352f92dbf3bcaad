-- moonpool.core without a server: enough of it for the Lua half to be tested alone. Requests and responses are tables
-- that record what happened to them; tasks are coroutines on a clock that jumps; processes run through Lua's own
-- io.popen, and their output comes in small pieces.
--
--   local core = require("spec.support.fake_core").install()   -- before the first module of moonpool is required

local M = {}

local stock_popen, stock_execute = io.popen, os.execute

---- requests and responses

local headers_meta = { __index = function(self, name)
  for key, value in next, self do
    if key:lower() == name:lower() then
      return value
    end
  end
end }

local function open_messages(core)
  core.request, core.response = {}, {}
  local request_meta, response_meta = { __index = core.request }, { __index = core.response }

  function core.request.body(req)
    return req._body
  end

  function core.request_table(req)
    req._own = req._own or {}
    return req._own
  end

  function core.request.keep(req)
    req.kept = true
  end

  function core.set_limits() end
  function core.expect_body() end

  local response = core.response

  local function check_unsent(res)
    if res.sent then
      error("the head has been sent", 3)
    end
  end

  local function find(res, name)
    for i, field in ipairs(res.fields) do
      if field[1]:lower() == name:lower() then
        return i, field[2]
      end
    end
  end

  function response.status(res, status)
    if status == nil then
      return res.code or 200
    end
    check_unsent(res)
    res.code = status
    return res
  end

  function response.header(res, name, ...)
    if select("#", ...) == 0 then
      return (select(2, find(res, name)))
    end
    check_unsent(res)
    while find(res, name) do
      table.remove(res.fields, (find(res, name)))
    end
    if (...) ~= nil then
      table.insert(res.fields, { name, (...) })
    end
    return res
  end

  function response.add_header(res, name, value)
    check_unsent(res)
    table.insert(res.fields, { name, value })
    return res
  end

  function response.write(res, text)
    res.sent = true
    res.content = res.content .. text
    return true
  end

  function response.finish(res, text)
    assert(not res.ended, "the response has ended")
    res:write(text or "")
    res.ended = true
  end

  local function finisher(kind)
    return function(res, text)
      if not res:header("Content-Type") then
        res:header("Content-Type", kind)
      end
      res:finish(text)
    end
  end
  response.text = finisher "text/plain; charset=utf-8"
  response.html = finisher "text/html; charset=utf-8"
  local json = finisher "application/json"
  function response.json(res, value)
    json(res, core.json.encode(value))
  end

  function core.answered(res)
    return res.sent or false
  end

  -- The map that the core looks into before it calls `handle`; here every request goes through `handle`.
  core.routes = {}
  function core.add_route(method, path, run) core.routes[method .. " " .. path] = run end
  function core.clear_routes() core.routes = {} end
  function core.add_pattern() end -- the router finds it all
  function core.add_mount() end

  function core.set_params(req, params)
    req.params = params
  end

  function core.set_base(req, base)
    req.base = base
  end

  function M.new_request(method, path, options)
    options = options or {}
    return setmetatable({
      method = method,
      target = path,
      path = core.url_decode(path) or path,
      headers = setmetatable(options.headers or {}, headers_meta),
      params = {},
      base = "",
      ctx = {},
      _body = options.body or "",
    }, request_meta)
  end

  function M.new_response()
    return setmetatable({ fields = {}, content = "", sent = false }, response_meta)
  end
end

---- text

local function open_text(core)
  function core.url_encode(text)
    return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
  end

  function core.url_decode(text, plus)
    text = plus and text:gsub("+", " ") or text
    if text:gsub("%%%x%x", ""):find("%", 1, true) then
      return nil
    end
    return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
  end

  local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
  function core.escape(text)
    return (text:gsub("[&<>\"']", entities))
  end

  core.json = { null = {} }
  function core.json.encode(value)
    if type(value) ~= "table" then
      return type(value) == "string" and ("%q"):format(value) or tostring(value)
    end
    local keys, parts = {}, {}
    for key in pairs(value) do
      keys[#keys + 1] = key
    end
    table.sort(keys)
    for i, key in ipairs(keys) do
      parts[i] = ("%q:%s"):format(key, core.json.encode(value[key]))
    end
    return "{" .. table.concat(parts, ",") .. "}"
  end
end

---- tasks

local PARKED = {}

local function open_tasks(core)
  local ready, sleeping, clock, running = {}, {}, 0, nil
  core.cancelled = setmetatable({}, { __tostring = function() return "cancelled" end })

  local function step(task)
    local outer = running
    running = task
    local ok, reason = coroutine.resume(task.thread, table.unpack(task.arguments or {}))
    task.arguments = nil
    running = outer
    if coroutine.status(task.thread) == "dead" then
      task.over, task.failed, task.value = true, not ok, reason
      coroutine.close(task.thread)
    else
      assert(reason == PARKED, "a task yielded past the scheduler")
    end
  end

  function core.spawn_task(fn, ...)
    local task = { thread = coroutine.create(fn), arguments = { ... } }
    table.insert(ready, task)
    return task
  end

  function core.running()
    return running
  end

  function core.yieldable()
    return running ~= nil and coroutine.isyieldable()
  end

  local function park()
    if not core.yieldable() then
      error("this place cannot wait", 3)
    end
    coroutine.yield(PARKED)
  end

  function core.sleep(seconds)
    table.insert(sleeping, { task = running, at = clock + seconds })
    park()
  end

  function core.now()
    return clock
  end

  -- Runs until nothing is left to do.
  function M.loop()
    while #ready > 0 or #sleeping > 0 do
      if #ready == 0 then
        table.sort(sleeping, function(a, b) return a.at < b.at end)
        local first = table.remove(sleeping, 1)
        clock = first.at
        ready[1] = first.task
      end
      step(table.remove(ready, 1))
    end
  end

  -- Runs fn as a task to its end; gives its value, or raises its error.
  function M.run(fn, ...)
    local task = core.spawn_task(fn, ...)
    M.loop()
    assert(task.over, "the task never ended")
    if task.failed then
      error(task.value, 0)
    end
    return task.value
  end
end

---- processes

local function result_of(ok, reason, code)
  return {
    ok = ok == true,
    reason = reason,
    code = reason == "exit" and code or nil,
    signal = reason == "signal" and code or nil,
  }
end

-- "exit" of a shell that was killed by a signal comes through popen's own shell.
local function run_shell(spec)
  assert(spec[1] == "/bin/sh" and spec[2] == "-c", "the fake runs shell commands only")
  if M.next_result then
    local result = M.next_result
    M.next_result = nil
    return result
  end
  local file = assert(stock_popen(spec[3], spec.input and "w" or "r"))
  local output
  if spec.input then
    file:write(spec.input)
  else
    output = file:read("a")
  end
  local result = result_of(file:close())
  result.stdout = output
  return result
end

local PIECE = 3 -- bytes: no read finds a whole line

local function reading_process(core, spec)
  local result = run_shell(spec)
  local left = result.stdout or ""
  local process = { result = result, closed = {} }
  function process.stop()
    core.sleep(0)
    process.stopped = true
    return result
  end
  process.stdout = {
    read = function()
      core.sleep(0)
      local piece = left:sub(1, PIECE)
      left = left:sub(PIECE + 1)
      return piece ~= "" and piece or nil
    end,
    close = function() process.closed.stdout = true end,
  }
  return process
end

local function writing_process(_, spec)
  local file = assert(stock_popen(spec[3], "w"))
  local process = { closed = {} }
  process.stdin = {
    write = function(_, text) return file:write(text) and true end,
    close = function()
      process.result = result_of(file:close())
      process.closed.stdin = true
    end,
  }
  return process
end

local function open_processes(core)
  core.spawned = {}

  function core.spawn(spec)
    if M.next_failure then
      local failure = M.next_failure
      M.next_failure = nil
      return nil, table.unpack(failure)
    end
    table.insert(core.spawned, spec)
    return (spec.stdin == "pipe" and writing_process or reading_process)(core, spec)
  end

  function core.wait(process)
    core.sleep(0)
    return process.result
  end

  core.blocking = {}
  function core.blocking_run(spec)
    table.insert(core.blocking, spec)
    return run_shell(spec)
  end
end

--- A fresh core, in package.loaded; every module of moonpool is forgotten.
function M.install()
  for name in pairs(package.loaded) do
    if name:find("^moonpool") then
      package.loaded[name] = nil
    end
  end
  local core = { logged = {} }
  open_text(core)
  open_messages(core)
  open_tasks(core)
  open_processes(core)
  function core.log(level, message, fields)
    table.insert(core.logged, { level = level, message = message, fields = fields })
  end
  core.worker = { id = 1, pid = 4711, generation = 1 }
  package.loaded["moonpool.core"] = core
  return core
end

local last_id = 0

--- Sends a request as the core does: the handler, and when it raises with the head unsent, the error answer, with
--- objects of its own for the same request. → the response; res.raised is what the handler raised
function M.request(site, method, path, options)
  local req, res = M.new_request(method, path, options), M.new_response()
  last_id = last_id + 1
  req.id = tostring(last_id)
  local ok, err = pcall(M.run, site.handle, req, res, method, path)
  if not ok then
    if not res.sent then
      local again = M.new_request(method, path, options)
      again.id = req.id
      res = M.new_response()
      M.run(site.fail, again, res, err, "traceback")
    end
    res.raised = err
  elseif not res.sent then
    res.code = res.code or 204
  end
  res.req = req
  return res
end

M.stock_popen, M.stock_execute = stock_popen, stock_execute

return M
