-- An answer as a test sees it: all of it, or, of a stream, piece by piece.

local core = require "moonpool.core"
local http = require "moonpool.test.http"

local M = {}
local methods = {}
local metatable = { __name = "moonpool.test.response" }

function metatable.__index(response, name)
  if methods[name] then
    return methods[name]
  elseif name == "body" then
    return methods._text(response)
  end
end

function metatable.__tostring(response)
  return ("response %d to %s %s"):format(response.status, response.method, response.path)
end

--- `request`: what it answers (client.lua).
function M.new(request, head)
  local cookies = {}
  for _, line in ipairs(head.lines) do
    if line.name:lower() == "set-cookie" then
      local c = request.client.jar:take(line.value, request.url)
      if c then
        cookies[c.name] = c
      end
    end
  end
  return setmetatable({ status = head.status, reason = head.reason, version = head.version, headers = head.headers,
    cookies = cookies, method = request.method, path = request.target, redirects = 0, _lines = head.lines,
    _request = request, _next = http.read_body(request.reader, request.method, head) }, metatable)
end

--- All values of a header, in order.
function methods.header_list(response, name)
  local list = {}
  for _, line in ipairs(response._lines) do
    if line.name:lower() == name:lower() then
      list[#list + 1] = line.value
    end
  end
  return list
end

--- The next piece of the body; nil at its end. Raises when the connection was cut.
function methods.read(response)
  if response._over then
    return nil
  end
  local ok, piece = pcall(response._next)
  if ok and piece then
    return piece
  end
  response._over = true
  response._request:close()
  if not ok then
    error(piece, 2)
  end
  return nil
end

-- The rest of the body; kept, as response.body.
function methods._text(response)
  local body = rawget(response, "_body")
  if body then
    return body
  end
  local parts = {}
  for piece in methods.read, response do
    parts[#parts + 1] = piece
  end
  body = table.concat(parts)
  rawset(response, "_body", body)
  return body
end

--- The body as JSON; raises when it is none.
function methods.json(response)
  local body = methods._text(response)
  local value, message = core.json.decode(body)
  if value == nil then
    error(("the body is no JSON: %s: %s"):format(message, body:sub(1, 200)), 2)
  end
  return value
end

---- server-sent events

local function line_of(response)
  local held = response._held or ""
  while true do
    local at, last = held:find("\r?\n")
    if at then
      response._held = held:sub(last + 1)
      return held:sub(1, at - 1)
    end
    local piece = methods.read(response)
    if not piece then
      response._held = ""
      return nil
    end
    held = held .. piece
  end
end

local FIELDS = {
  data = function(event, value)
    event.data = event.data and event.data .. "\n" .. value or value
  end,
  event = function(event, value) event.event = value end,
  id = function(event, value) event.id = value end,
  retry = function(event, value) event.retry = tonumber(value) and tonumber(value) / 1000 end,
}

--- The next event: { event, data, id, retry }; nil when the stream has ended. As in a browser, what has no data is no
--- event: comments, and a `retry` by itself, which the next one has then (WHATWG HTML, 9.2.6).
function methods.event(response)
  local event = { event = "message" }
  for line in line_of, response do
    local name, value = line:match("^([^:]+):? ?(.*)$")
    if line == "" and event.data then
      return event
    elseif line == "" then
      event.event = "message"
    elseif FIELDS[name] then
      FIELDS[name](event, value)
    end
  end
  return nil
end

--- for event in response:events() do … end
function methods.events(response)
  return methods.event, response
end

--- Hangs up, whatever is still to come. `<close>` does it too.
function methods.close(response)
  response._over = true
  response._request:close()
end

metatable.__close = methods.close

return M
