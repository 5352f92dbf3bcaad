-- Server-sent events: a stream of messages that a browser's EventSource reads (WHATWG HTML, 9.2).

local core = require "moonpool.core"
local read_options = require("moonpool.options").read

local M = {}
local methods = {}
local metatable = { __index = methods, __name = "moonpool.events" }

local OPTIONS = { event = true, id = true, retry = true }

local function field(name, value, level)
  if type(value) ~= "string" and type(value) ~= "number" then
    error(("send: %s must be a string, got %s"):format(name, type(value)), level + 1)
  end
  value = tostring(value)
  if value:find("[\r\n\0]") then
    error(("send: %s holds CR, LF or NUL"):format(name), level + 1)
  end
  return name .. ": " .. value .. "\n"
end

local function retry_field(seconds, level)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < 2 ^ 31) then
    error("send: retry must be a number of seconds, got " .. tostring(seconds), level + 1)
  end
  return ("retry: %d\n"):format(math.floor(seconds * 1000 + 0.5)) -- on the wire: milliseconds
end

local function check_options(options, level)
  if type(options) ~= "table" then
    error("send: the options must be a table, got " .. type(options), level + 1)
  end
  for key in pairs(options) do
    if not OPTIONS[key] then
      error(("send: unknown option %q (there are event, id, retry)"):format(tostring(key)), level + 1)
    end
  end
end

local function text_of(data, level)
  local kind = type(data)
  if kind == "table" then
    return core.json.encode(data)
  elseif kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
    error("send: the data must be a string, or a table to be sent as JSON, got " .. kind, level + 1)
  end
  return tostring(data)
end

-- A message's text may hold lines; each becomes a field of its own, and the reader joins them by "\n" again.
local function data_fields(text)
  if not text:find "[\r\n]" then
    return "data: " .. text .. "\n"
  end
  local lines = {}
  text = text:gsub("\r\n?", "\n")
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    lines[#lines + 1] = "data: " .. line .. "\n"
  end
  return table.concat(lines)
end

--- One message as it goes over the wire. `data` nil: only what the options say.
function M.format(data, options, level)
  local head = ""
  if options ~= nil then
    check_options(options, level + 1)
    head = (options.event ~= nil and field("event", options.event, level + 1) or "")
      .. (options.id ~= nil and field("id", options.id, level + 1) or "")
      .. (options.retry ~= nil and retry_field(options.retry, level + 1) or "")
  end
  return head .. (data ~= nil and data_fields(text_of(data, level + 1)) or "") .. "\n"
end

local writing = {
  __close = function(guard)
    local events = guard[1]
    events._writing = events._writing - 1
  end,
}

-- A stream that waits for its client is not silent: the keep-alive leaves it alone.
local function write(events, text)
  if not events._writing then
    return events._response:write(text)
  end
  events._writing = events._writing + 1
  local _ <close> = setmetatable({ events }, writing)
  events._wrote = core.now()
  return events._response:write(text)
end

--- events:send(data[, { event, id, retry }]): as res:write, which it uses.
function methods.send(events, data, options)
  return write(events, M.format(data, options, 2))
end

--- events:comment([text]): a line that the browser ignores; keeps proxies from closing a silent stream.
function methods.comment(events, text)
  local line = field("", text or "", 2)
  return write(events, line .. "\n")
end

-- A timer of the worker and not a task of the request: a handler that has returned must not be held open by it. It ends
-- at its first comment that finds the answer over.
local function keep_alive(events, seconds)
  local timer
  events._writing, events._wrote = 0, core.now()
  timer = core.every(seconds, function()
    if events._writing > 0 or core.now() - events._wrote < seconds / 2 then
      return
    end
    if not pcall(write, events, ":\n\n") then
      timer:cancel()
    end
  end)
end

--- res:sse([{ keep_alive, retry }]): sets the head of an event stream, and sends it at once, so that the browser knows
--- it is connected. keep_alive: seconds after which a silent stream gets a comment; retry: seconds, as of send.
---@param options { keep_alive?: number, retry?: number }?
function M.open(res, options)
  options = read_options("sse", options, { keep_alive = "seconds", retry = "number" }, nil, 2)
  local first = options.retry and retry_field(options.retry, 2) .. "\n" or ":\n\n"
  res:header("Content-Type", "text/event-stream; charset=utf-8")
  if not res:header("Cache-Control") then
    res:header("Cache-Control", "no-cache")
  end
  res:header("X-Accel-Buffering", "no") -- nginx as a proxy would hold small messages back
  local events = setmetatable({ _response = res }, metatable)
  write(events, first)
  if options.keep_alive then
    keep_alive(events, options.keep_alive)
  end
  return events
end

return M
