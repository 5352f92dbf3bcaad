-- HTTP/1.1 as a client speaks it, over one wire: a request goes out, its answer comes in.

local core = require "moonpool.core"

local M = {}

---- fields

-- Names in any case; the lines as they were sent are in _lines.
local fields_meta = {}

function fields_meta.__index(fields, name)
  return type(name) == "string" and rawget(fields, name:lower()) or nil
end

local function add_field(fields, lines, name, value)
  local key = name:lower()
  local before = rawget(fields, key)
  rawset(fields, key, before and before .. ", " .. value or value)
  lines[#lines + 1] = { name = name, value = value }
end

---- reading

local Reader = { __name = "moonpool.test._reader" }
Reader.__index = Reader

function M.reader(wire)
  return setmetatable({ wire = wire, buffer = "", eof = false }, Reader)
end

-- More bytes into the buffer; false at the end, raises when there was no answer at all to be had.
function Reader:fill()
  if self.eof then
    return false
  end
  local bytes, message, code = self.wire:read()
  if not bytes then
    self.eof = true
    if code and code ~= "closed" then
      self.why = message
    end
    return false
  end
  self.buffer = self.buffer .. bytes
  return true
end

function Reader:broken(what)
  error(("the answer is cut short: %s was awaited%s"):format(what, self.why and " (" .. self.why .. ")" or ""), 0)
end

function Reader:line(what)
  while true do
    local at = self.buffer:find("\r\n", 1, true)
    if at then
      local line = self.buffer:sub(1, at - 1)
      self.buffer = self.buffer:sub(at + 2)
      return line
    elseif not self:fill() then
      self:broken(what)
    end
  end
end

-- Up to n bytes, at least one.
function Reader:some(n, what)
  if self.buffer == "" and not self:fill() then
    self:broken(what)
  end
  local piece = self.buffer:sub(1, n)
  self.buffer = self.buffer:sub(#piece + 1)
  return piece
end

local function read_fields(reader)
  local fields, lines = setmetatable({}, fields_meta), {}
  while true do
    local line = reader:line "a field"
    if line == "" then
      return fields, lines
    end
    local name, value = line:match("^([^%s:]+):[ \t]*(.-)[ \t]*$")
    if not name then
      error("the answer has no field but: " .. line, 0)
    end
    add_field(fields, lines, name, value)
  end
end

--- The head of an answer; interim ones (1xx) are passed over. → { status, reason, version, headers, lines }
function M.read_head(reader)
  while true do
    local first = reader:line "the status line"
    local version, status, reason = first:match("^HTTP/(%d%.%d) (%d%d%d) ?(.*)$")
    if not version then
      error("the answer begins with no status line: " .. first, 0)
    end
    local headers, lines = read_fields(reader)
    status = tonumber(status)
    if status >= 200 then
      return { status = status, reason = reason, version = version, headers = headers, lines = lines }
    end
  end
end

local function chunks(reader)
  local left, over = 0, false
  return function()
    if over then
      return nil
    elseif left == 0 then
      local size = reader:line("a chunk"):match("^%x+")
      left = tonumber(size or error("a chunk has no size", 0), 16)
      if left == 0 then
        over = true
        read_fields(reader) -- trailers
        return nil
      end
    end
    local piece = reader:some(left, "a chunk")
    left = left - #piece
    if left == 0 then
      reader:line "the end of a chunk"
    end
    return piece
  end
end

local function counted(reader, left)
  return function()
    if left == 0 then
      return nil
    end
    local piece = reader:some(left, "the rest of the body")
    left = left - #piece
    return piece
  end
end

local function until_end(reader)
  return function()
    if reader.buffer == "" and not reader:fill() then
      if reader.why then
        reader:broken "the end of the body"
      end
      return nil
    end
    return reader:some(#reader.buffer, "a piece")
  end
end

--- → a function that gives the next piece of the body, nil at its end
function M.read_body(reader, method, head)
  local length = head.headers["content-length"]
  if method == "HEAD" or head.status == 204 or head.status == 304 then
    return function() end
  elseif (head.headers["transfer-encoding"] or ""):lower():find("chunked", 1, true) then
    return chunks(reader)
  elseif length then
    return counted(reader, tonumber(length) or error("Content-Length is no number: " .. length, 0))
  end
  return until_end(reader)
end

---- writing

local function check_line(text, what)
  if text:find("[\r\n\0]") then
    error(what .. " holds CR, LF or NUL", 0)
  end
  return text
end

--- `fields`: a list of { name, value }. → the head of a request as bytes
function M.head(method, target, fields)
  local lines = { ("%s %s HTTP/1.1"):format(check_line(method, "the method"), check_line(target, "the path")) }
  for _, field in ipairs(fields) do
    lines[#lines + 1] = check_line(field[1], "the name of a header") .. ": " ..
      check_line(tostring(field[2]), field[1])
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

function M.chunk(bytes)
  return ("%x\r\n%s\r\n"):format(#bytes, bytes)
end

---- bodies

local function sorted(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

-- name → value or a list of values, in a known order
local function each_pair(t, visit)
  for _, name in ipairs(sorted(t)) do
    local value = t[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      visit(tostring(name), tostring(one))
    end
  end
end

--- "a=1&b=x+y"
function M.encode_pairs(t)
  local parts = {}
  each_pair(t, function(name, value)
    parts[#parts + 1] = core.url_encode(name) .. "=" .. core.url_encode(value)
  end)
  return table.concat(parts, "&")
end

local function quote(name)
  return (name:gsub('["\r\n]', { ['"'] = "%22", ["\r"] = "%0D", ["\n"] = "%0A" }))
end

--- multipart/form-data of fields and files (name → { name, type, body }). → bytes, Content-Type
function M.multipart(fields, files)
  local boundary, parts = "moonpool-" .. core.random(12), {}
  each_pair(fields, function(name, value)
    parts[#parts + 1] = ('--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n')
      :format(boundary, quote(name), value)
  end)
  for _, name in ipairs(sorted(files)) do
    local file = files[name]
    parts[#parts + 1] = ('--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n')
      :format(boundary, quote(name), quote(file.name or name))
    parts[#parts + 1] = ("Content-Type: %s\r\n\r\n%s\r\n"):format(file.type or "application/octet-stream",
      file.body or "")
  end
  parts[#parts + 1] = "--" .. boundary .. "--\r\n"
  return table.concat(parts), "multipart/form-data; boundary=" .. boundary
end

return M
