-- Error answers: what was raised → what the client is told.

local accept_of = require "moonpool.accept"
local core = require "moonpool.core"
local vary = require "moonpool.vary"

local M = {}

M.reasons = {
  [400] = "Bad Request", [401] = "Unauthorized", [402] = "Payment Required", [403] = "Forbidden",
  [404] = "Not Found", [405] = "Method Not Allowed", [406] = "Not Acceptable",
  [407] = "Proxy Authentication Required", [408] = "Request Timeout", [409] = "Conflict", [410] = "Gone",
  [411] = "Length Required", [412] = "Precondition Failed", [413] = "Content Too Large", [414] = "URI Too Long",
  [415] = "Unsupported Media Type", [416] = "Range Not Satisfiable", [417] = "Expectation Failed",
  [421] = "Misdirected Request", [422] = "Unprocessable Content", [423] = "Locked", [424] = "Failed Dependency",
  [425] = "Too Early", [426] = "Upgrade Required", [428] = "Precondition Required", [429] = "Too Many Requests",
  [431] = "Request Header Fields Too Large", [451] = "Unavailable For Legal Reasons",
  [500] = "Internal Server Error", [501] = "Not Implemented", [502] = "Bad Gateway", [503] = "Service Unavailable",
  [504] = "Gateway Timeout", [505] = "HTTP Version Not Supported", [507] = "Insufficient Storage",
  [511] = "Network Authentication Required",
}

-- What described the answer that is not sent now, and would be wrong on the one that is: a cached error is the worst.
local OF_THE_OTHER_ANSWER = {
  "Content-Type", "Content-Length", "Content-Encoding", "Content-Disposition", "Content-Range", "Content-Language",
  "Accept-Ranges", "Cache-Control", "Expires", "ETag", "Last-Modified", "Location",
}

function M.reason(status)
  return M.reasons[status] or (status < 500 and "Request Failed" or "Server Error")
end

local function status_of(err)
  local status = type(err) == "table" and err.status
  status = type(status) == "number" and math.tointeger(status)
  return status and status >= 400 and status <= 599 and status or nil
end

--- What was raised as the `e` of an error page: `status`, `message`, `headers` and whatever else was raised with a
--- status of 400 to 599. Anything else is a bug: 500, without a word of its text.
function M.describe(err)
  local status = status_of(err)
  if not status then
    return { status = 500, message = M.reason(500), headers = {} }
  end
  local e = {}
  for key, value in next, err do
    e[key] = value
  end
  local message = err.message
  local told = type(message) == "string" or type(message) == "number"
  e.status = status
  e.message = told and tostring(message) or M.reason(status)
  e.headers = type(err.headers) == "table" and err.headers or {}
  return e
end

local HTML, JSON, PROBLEM = "text/html", "application/json", "application/problem+json"
local KINDS = { HTML, JSON, PROBLEM } -- where a client likes several as well, the first

--- Does an Accept field ask for JSON rather than for a page?
---@param accept string?
function M.prefers_json(accept)
  return accept_of.best(accept, KINDS) ~= HTML
end

local PAGE = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>%s</title>
<h1>%s</h1>
]]

-- RFC 9457. What it says beyond the standard's names is the list of a 422.
local function problem(e)
  return {
    type = type(e.type) == "string" and e.type or "about:blank",
    title = type(e.title) == "string" and e.title or M.reason(e.status),
    status = e.status,
    detail = e.message ~= M.reason(e.status) and e.message or nil,
    instance = type(e.instance) == "string" and e.instance or nil,
    errors = type(e.errors) == "table" and e.errors or nil,
  }
end

local function list_of(problems)
  local lines = {}
  for i, each in ipairs(type(problems) == "table" and problems or {}) do
    if type(each) == "table" then
      local field, message = tostring(each.field or ""), tostring(each.message or "")
      lines[i] = ("<li>%s %s\n"):format(core.escape(field), core.escape(message))
    end
  end
  return #lines > 0 and "<ul>\n" .. table.concat(lines) .. "</ul>\n" or ""
end

local function html_page(res, e)
  local title = core.escape(("%d %s"):format(e.status, M.reason(e.status)))
  local page = PAGE:format(title, title)
  if e.message ~= M.reason(e.status) then
    page = page .. "<p>" .. core.escape(e.message) .. "</p>\n"
  end
  res:html(page .. list_of(e.errors))
end

local function default_page(req, res, e)
  local kind = accept_of.best(req.headers["Accept"], KINDS)
  vary.add(res, "Accept")
  if kind == PROBLEM then
    res:header("Content-Type", PROBLEM):json(problem(e))
  elseif kind == JSON then
    res:json { status = e.status, message = e.message, errors = type(e.errors) == "table" and e.errors or nil }
  else
    html_page(res, e)
  end
end

local function set_head(res, e)
  for _, name in ipairs(OF_THE_OTHER_ANSWER) do
    res:header(name, nil)
  end
  res:status(e.status)
  for name, value in pairs(e.headers) do
    res:header(name, value)
  end
end

-- An error page that fails itself is a bug of its own, to be told, and must not keep the client from its answer.
local function try_page(page, req, res, e, report)
  local traceback
  local ok, err = xpcall(page, function(err)
    traceback = debug.traceback(type(err) == "string" and err or tostring(err), 2)
    return err
  end, req, res, e)
  if ok then
    return
  elseif err == core.cancelled or core.answered(res) then
    error(err, 0)
  end
  report(err, traceback)
  set_head(res, e)
end

--- Answers with an error: by `page`, the app's own function(req, res, e), or by the default one. Status and headers
--- are set before the page is called. `report(err, traceback)` hears of a page that raises.
function M.answer(page, req, res, e, report)
  set_head(res, e)
  if page then
    try_page(page, req, res, e, report)
  end
  if not core.answered(res) then
    default_page(req, res, e)
  end
end

return M
