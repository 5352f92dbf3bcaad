-- The page that shows an error to the one who writes the app (--dev): as HTML, as JSON, or as text for a terminal.

local core = require "moonpool.core"
local errors = require "moonpool.errors"
local frames = require "moonpool.dev.frames"

local M = {}

local AROUND, MOST_STDERR, MOST_LOG = 5, 4000, 20

local escape = core.escape

---- what there is to show

-- Lines around `line` of a file, if it can be read: a list of { n, text }.
local function excerpt(file, line)
  local handle = file and line and line > 0 and io.open(file, "r")
  if not handle then
    return nil
  end
  local list, n = {}, 0
  for text in handle:lines() do
    n = n + 1
    if n > line + AROUND then
      break
    elseif n >= line - AROUND then
      list[#list + 1] = { n = n, text = text:sub(1, 300) }
    end
  end
  handle:close()
  return #list > 0 and list or nil
end

local function text_of(err)
  if type(err) == "table" and type(rawget(err, "message")) == "string" then
    return err.message
  end
  local ok, text = pcall(tostring, err)
  return ok and text or "an error that cannot be made text"
end

-- What the message itself names: a template, a file with a syntax error, a configuration.
local function named_in(message)
  for file, line in message:gmatch "([%w_%-./]+%.[%w]+):(%d+):" do
    local lines = excerpt(file, tonumber(line))
    if lines then
      return { title = "named by the message", file = file, source = file, line = tonumber(line), lua = true,
               locals = {}, lines = lines }
    end
  end
end

local function with_lines(stack)
  for _, frame in ipairs(stack) do
    frame.lines = not frame.ours and excerpt(frame.file, frame.line) or nil
  end
  return stack
end

local function stacks_of(message, stacks)
  local named = named_in(message)
  local list = {}
  for i, stack in ipairs(stacks) do
    list[i] = with_lines(stack)
  end
  for _, frame in ipairs(list[1] or {}) do
    if named and frame.source == named.source and frame.line == named.line then
      named = nil
    end
  end
  if named then
    list[1] = list[1] or {}
    table.insert(list[1], 1, named)
  end
  return list
end

-- A process that was to exit with 0 (check = true): how it ended, and what it said.
local function process_of(err)
  local result = type(err) == "table" and rawget(err, "result")
  if type(result) ~= "table" then
    return nil
  end
  local function tail(text)
    return type(text) == "string" and text ~= "" and text:sub(-MOST_STDERR) or nil
  end
  return { ended = text_of(result), stderr = tail(result.stderr), stdout = tail(result.stdout) }
end

local function masked(values)
  local list = {}
  for name, value in pairs(values) do
    list[#list + 1] = { name = tostring(name), value = frames.is_secret(name) and frames.HIDDEN or tostring(value) }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function request_of(req)
  local target = req.target:gsub("([?&])([^=&]*)=([^&]*)", function(mark, name)
    return frames.is_secret(name) and mark .. name .. "=" .. frames.HIDDEN or nil
  end)
  return {
    method = req.method, target = target, id = req.id, remote = req.remote, headers = masked(req.headers),
    params = masked(req.params or {}), query = masked(req.query or {}),
  }
end

local recent = {}

--- Keeps the last lines that the app has logged.
function M.listen()
  local log = core.log
  core.log = function(level, message, fields)
    recent[#recent + 1] = level .. "  " .. tostring(message):sub(1, 500)
    if #recent > MOST_LOG then
      table.remove(recent, 1)
    end
    return log(level, message, fields)
  end
end

--- All that is known of an error. `what`: "handler", "load", "start", "configuration".
function M.gather(req, err, traceback, stacks, what)
  local message = text_of(err)
  return {
    status = 500, message = message, kind = what, value = type(err) == "table" and frames.show(err) or nil,
    stacks = stacks_of(message, stacks), traceback = traceback, process = process_of(err), request = request_of(req),
    spawned_at = traceback and traceback:match "error of the task spawned at ([^\n]-):\n",
    log = { table.unpack(recent) },
  }
end

---- as text

function M.text(e)
  local out = { "500 " .. e.message, "" }
  local function add(format, ...)
    out[#out + 1] = format:format(...)
  end
  for _, stack in ipairs(e.stacks) do
    for _, frame in ipairs(stack) do
      if frame.lines then
        add("%s:%d (%s)", frame.source, frame.line, frame.title)
        for _, line in ipairs(frame.lines) do
          add("%s %4d  %s", line.n == frame.line and ">" or " ", line.n, line.text)
        end
        for _, l in ipairs(frame.locals) do
          add("         %s = %s", l.name, l.value)
        end
      end
    end
    add ""
  end
  if e.process then
    add("the process: %s\n%s\n", e.process.ended, e.process.stderr or "(nothing on stderr)")
  end
  add("%s\n", e.traceback or "")
  return table.concat(out, "\n")
end

---- as a page

local STYLE = [[
:root{color-scheme:light dark;--soft:#8884;--red:#c22;--mark:#fd03}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1.5rem}
h1{font-size:1.3rem;color:var(--red);white-space:pre-wrap;overflow-wrap:anywhere}
h2{font-size:1rem;margin:2rem 0 .5rem}
pre,code,td{font:13px/1.5 ui-monospace,monospace}
pre{background:var(--soft);padding:.6rem;border-radius:.4rem;overflow-x:auto;margin:.4rem 0}
pre code{display:inline-block;min-width:100%;font:inherit}
mark{background:var(--mark);color:inherit;display:block}
details{margin:.5rem 0}summary{cursor:pointer}.ours{opacity:.6}
td{vertical-align:top;padding:.1rem 1rem .1rem 0;overflow-wrap:anywhere;white-space:pre-wrap}
@media (prefers-color-scheme:dark){:root{--red:#f77}}
]]

local function rows(list)
  local out = { "<table>" }
  for _, row in ipairs(list) do
    out[#out + 1] = ("<tr><td>%s<td>%s"):format(escape(row.name), escape(row.value))
  end
  return #list > 0 and table.concat(out) .. "</table>" or ""
end

local function lines_of(frame)
  local out = {}
  for _, line in ipairs(frame.lines or {}) do
    local text = escape(("%4d  %s"):format(line.n, line.text))
    out[#out + 1] = line.n == frame.line and "<mark>" .. text .. "</mark>" or text .. "\n"
  end
  return #out > 0 and "<pre><code>" .. table.concat(out) .. "</code></pre>" or ""
end

local function frame_html(frame, open)
  local where = frame.line > 0 and ("%s:%d"):format(frame.source, frame.line) or frame.source
  if not frame.lines then
    return ('<div class="ours"><code>%s</code> %s</div>\n'):format(escape(where), escape(frame.title))
  end
  return ('<details class="frame"%s><summary><code>%s</code> %s</summary>%s%s</details>\n'):format(
    open and " open" or "", escape(where), escape(frame.title), lines_of(frame), rows(frame.locals))
end

local function section(out, title, html)
  if html and html ~= "" then
    out[#out + 1] = ("<h2>%s</h2>%s\n"):format(title, html)
  end
end

local function pre(text)
  return text and text ~= "" and "<pre>" .. escape(text) .. "</pre>" or nil
end

local TITLES = { handler = "500 Internal Server Error", load = "The app does not load", start = "on_start failed",
                 configuration = "The configuration cannot be read" }

local function stack_sections(out, e)
  for i, stack in ipairs(e.stacks) do
    local shown, opened = {}, false
    for _, frame in ipairs(stack) do
      shown[#shown + 1] = frame_html(frame, frame.lines and not opened)
      opened = opened or frame.lines ~= nil
    end
    section(out, i == 1 and "Where" or "Handed on to", table.concat(shown))
  end
end

function M.html(e)
  local out = { ('<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" '
    .. 'content="width=device-width"><link rel="icon" href="data:,"><title>%s</title><style>%s</style>\n'
    .. '<body><p>%s</p><h1>%s</h1>\n'):format(
    escape(e.message:match "^[^\n]*"), STYLE, escape(TITLES[e.kind] or e.kind), escape(e.message)) }
  if e.spawned_at then
    out[#out + 1] = ("<p>in a task spawned at <code>%s</code></p>\n"):format(escape(e.spawned_at))
  end
  if e.process then
    section(out, "The process", "<p>" .. escape(e.process.ended) .. "</p>" .. (pre(e.process.stderr) or ""))
  end
  stack_sections(out, e)
  section(out, "Raised", pre(e.value))
  local r = e.request
  section(out, "Request", ("<p><code>%s %s</code></p>"):format(escape(r.method), escape(r.target)) .. rows(r.params)
    .. rows(r.query) .. "<details><summary>headers</summary>" .. rows(r.headers) .. "</details>")
  section(out, "Last log lines", pre(table.concat(e.log, "\n")))
  section(out, "Traceback", pre(e.traceback))
  out[#out + 1] = "</body></html>\n"
  return table.concat(out)
end

--- Answers with it, in the form that was asked for.
function M.answer(req, res, e)
  local accept = req.headers["Accept"] or ""
  res:status(e.status):header("Cache-Control", "no-store"):header("Content-Security-Policy", nil)
  res:header("Content-Type", nil)
  if errors.prefers_json(accept) then
    res:json { status = e.status, message = e.message, kind = e.kind, stacks = core.json.array(e.stacks),
               traceback = e.traceback, process = e.process, request = e.request, spawned_at = e.spawned_at }
  elseif accept:find("text/html", 1, true) then
    res:html(M.html(e))
  else
    res:text(M.text(e))
  end
end

return M
