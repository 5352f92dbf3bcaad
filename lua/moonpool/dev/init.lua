-- What --dev adds to an app: error pages that show the error, and pages that load themselves anew when it was saved.
--
--   page ─ <script src=/.moonpool/reload.js> ─ EventSource /.moonpool/events ─► "I am generation 7"
--                                                the page was of generation 6: it loads itself anew
--
-- The script is a file of its own, so that a Content-Security-Policy of 'self' lets it run. Nothing of this is there
-- without --dev.

local core = require "moonpool.core"
local frames = require "moonpool.dev.frames"
local page = require "moonpool.dev.page"
require "moonpool.messages"

local M = {}

local SCRIPT_PATH, EVENTS_PATH, TOPIC = "/.moonpool/reload.js", "/.moonpool/events", "moonpool.dev"
local KEEP_ALIVE = 15

local SCRIPT = [[
(function () {
  var mine = document.currentScript.dataset.generation
  var events = new EventSource("/.moonpool/events")
  events.addEventListener("generation", function (e) {
    if (e.data !== mine) { events.close(); location.reload() }
  })
  addEventListener("pagehide", function () { events.close() })
})()
]]

-- Of this run of the server, and of this generation of its workers: alike in all workers that serve the same app.
local function generation()
  local shared = core.shared(TOPIC)
  shared:add("run", core.random(6))
  return ("%s-%d"):format(shared:get("run") or "", core.worker.generation)
end

local mine, outdated = nil, false

--- The text of a page with the script in it; anything that is no whole page as it is.
function M.add_script(html)
  local head = html:sub(1, 1000):lower()
  if not head:find("<!doctype html", 1, true) and not head:find("<html", 1, true) then
    return html
  end
  local tag = ('<script src="%s" data-generation="%s"></script>'):format(SCRIPT_PATH, mine)
  local at
  for found in html:gmatch "()</[bB][oO][dD][yY]%s*>" do
    at = found
  end
  return at and html:sub(1, at - 1) .. tag .. html:sub(at) or html .. tag
end

local function events(res)
  local news <close> = core.subscribe(TOPIC)
  local stream = res:sse()
  stream:send(mine, { event = "generation", retry = 0.2 })
  while not outdated do
    local said, _, code = news:receive(KEEP_ALIVE)
    if said ~= nil then
      outdated = outdated or said ~= mine
    elseif code == "timeout" then
      stream:comment()
    else
      return
    end
  end
end

local function own_path(res, path)
  if path == EVENTS_PATH then
    events(res)
  elseif path == SCRIPT_PATH then
    res:header("Content-Type", "text/javascript; charset=utf-8"):header("Cache-Control", "no-store"):finish(SCRIPT)
  else
    return false
  end
  return true
end

--- A page among static files gets the script too. → true when it was answered here.
function M.serve_page(req, res, root, skip, index)
  local segments = {}
  for segment in req.path:sub(2):gmatch "[^/]*" do
    segments[#segments + 1] = segment
  end
  local name = segments[#segments]
  name = name == "" and index or name
  if req.method ~= "GET" or type(name) ~= "string" or not name:find "%.html?$" then
    return false
  end
  segments[#segments] = name
  for i = skip + 1, #segments do
    if segments[i] == "" or segments[i]:find "^%." or segments[i]:find "[/\0]" then
      return false
    end
  end
  local file = io.open(root .. "/" .. table.concat(segments, "/", skip + 1), "rb")
  local text = file and file:read "a"
  if file then
    file:close()
  end
  if not text then
    return false
  end
  res:header("Cache-Control", "no-cache"):html(text)
  return true
end

local function with_traceback(err)
  local text = type(err) == "string" and err or tostring(err)
  return { err = err, traceback = debug.traceback(text, 2), stacks = { frames.stack(2) } }
end

local function show_failed(failed, kind)
  return function(req, res)
    page.answer(req, res, page.gather(req, failed.err, failed.traceback, failed.stacks, kind))
  end
end

-- Everything is answered with why: an app that does not load, or whose on_start failed.
local function broken(failed, kind)
  core.log("error", ("%s failed: %s"):format(kind, failed.traceback:match "^[^\n]*"))
  return show_failed(failed, kind)
end

local function wrap_html()
  local html = core.response.html
  core.response.html = function(res, text)
    if type(text) == "string" and not res:header("Content-Length") and not res:header("Content-Encoding") then
      text = M.add_script(text)
    end
    return html(res, text)
  end
end

-- handle and fail of an app, with what --dev adds.
local function around(handle, fail, hooks)
  local on_start, instead = hooks.on_start, nil
  function hooks.on_start()
    if core.watch then
      core.publish(TOPIC, mine, 0)
      local ok, failed = xpcall(on_start, with_traceback)
      instead = not ok and broken(failed, "start") or nil
    else
      on_start()
    end
  end
  local function own_handle(req, res, method, path, too_long)
    if own_path(res, path) then
      return
    elseif instead then
      return instead(req, res)
    end
    return handle(req, res, method, path, too_long)
  end
  local function own_fail(req, res, err, traceback)
    local status = type(err) == "table" and math.type(rawget(err, "status")) == "integer" and err.status
    if status and status >= 400 and status <= 599 then
      return fail(req, res, err)
    end
    page.answer(req, res, page.gather(req, err, traceback, frames.take(err), "handler"))
  end
  return own_handle, own_fail, hooks
end

local function instead_of_app(show)
  local function nothing() end
  return around(show, show, { on_start = nothing, on_stop = nothing, on_error = nothing })
end

--- load(path) → handle, fail, hooks, or it raises: then, with --watch, the same of an app that shows why; so too where
--- the configuration is what cannot be read.
function M.load(load, path)
  mine = generation()
  wrap_html()
  frames.watch()
  page.listen()
  if core.trouble then
    return instead_of_app(show_failed({ err = core.trouble, stacks = {} }, "configuration"))
  elseif not core.watch then
    return around(load(path))
  end
  local results = table.pack(xpcall(load, with_traceback, path))
  if results[1] then
    return around(table.unpack(results, 2, 4))
  end
  return instead_of_app(broken(results[2], "load"))
end

return M
