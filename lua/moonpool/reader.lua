-- The read formats of Lua's files (manual 6.8, file:read) over any source of pieces.
-- `source()` returns the next piece, nil at the end, or nil, message, code when reading failed; it may wait. Nothing is
-- asked for before it is needed.

local M = {}
local methods = {}

local find, sub, byte = string.find, string.sub, string.byte

local MAX_NUMERAL = 200 -- as in Lua's own

local metatable = { __index = methods, __name = "moonpool._reader" }

---@param source fun(): string?, string?, string?
function M.new(source)
  return setmetatable({ _source = source, _held = "", _at = 1, _ended = false, _failed = nil }, metatable)
end

-- Adds a piece to what is held; false at the end.
local function fill(reader)
  if reader._ended then
    return false
  end
  local piece, message, code = reader._source()
  if not piece then
    reader._ended = true
    reader._failed = message and { message, code }
    return false
  end
  reader._held = reader._at > #reader._held and piece or sub(reader._held, reader._at) .. piece
  reader._at = 1
  return true
end

local function take_rest(reader)
  local rest = sub(reader._held, reader._at)
  reader._held, reader._at = "", 1
  return rest
end

-- The byte that comes next, or nil at the end; it stays.
local function peek(reader)
  while reader._at > #reader._held do
    if not fill(reader) then
      return nil
    end
  end
  return sub(reader._held, reader._at, reader._at)
end

local function read_line(reader, keep_end)
  local parts = {}
  repeat
    local at = find(reader._held, "\n", reader._at, true)
    if at then
      parts[#parts + 1] = sub(reader._held, reader._at, keep_end and at or at - 1)
      reader._at = at + 1
      return table.concat(parts)
    end
    parts[#parts + 1] = take_rest(reader)
  until not fill(reader)
  local line = table.concat(parts)
  return line ~= "" and line or nil
end

local function read_all(reader)
  local parts = {}
  repeat
    parts[#parts + 1] = take_rest(reader)
  until not fill(reader)
  return table.concat(parts)
end

local function read_count(reader, n)
  if n == 0 then
    return peek(reader) and "" or nil
  end
  local parts, got = {}, 0
  while got < n and peek(reader) do
    local part = sub(reader._held, reader._at, reader._at + n - got - 1)
    reader._at = reader._at + #part
    parts[#parts + 1] = part
    got = got + #part
  end
  return got > 0 and table.concat(parts) or nil
end

-- Moves the next byte into the numeral when it is one of `set` (a pattern); false when not, or when there is no room.
local function accept(reader, numeral, set)
  local next_byte = peek(reader)
  if not next_byte or not find(next_byte, set) then
    return false
  elseif #numeral >= MAX_NUMERAL then
    numeral.overlong = true
    return false
  end
  numeral[#numeral + 1] = next_byte
  reader._at = reader._at + 1
  return true
end

local function accept_digits(reader, numeral, set)
  local n = 0
  while accept(reader, numeral, set) do
    n = n + 1
  end
  return n
end

local function read_number(reader)
  while peek(reader) and find(peek(reader), "^%s") do
    reader._at = reader._at + 1
  end
  local numeral, digit, exponent, n = {}, "^%d", "^[eE]", 0
  accept(reader, numeral, "^[-+]")
  if accept(reader, numeral, "^0") then
    if accept(reader, numeral, "^[xX]") then
      digit, exponent = "^%x", "^[pP]"
    else
      n = 1
    end
  end
  n = n + accept_digits(reader, numeral, digit)
  if accept(reader, numeral, "^%.") then
    n = n + accept_digits(reader, numeral, digit)
  end
  if n > 0 and accept(reader, numeral, exponent) then
    accept(reader, numeral, "^[-+]")
    accept_digits(reader, numeral, "^%d")
  end
  return not numeral.overlong and tonumber(table.concat(numeral)) or nil
end

local READS = {
  [byte "n"] = read_number,
  [byte "l"] = function(reader) return read_line(reader, false) end,
  [byte "L"] = function(reader) return read_line(reader, true) end,
  [byte "a"] = read_all,
}

-- A count, or one of READS by its letter, with or without the "*" of Lua 5.2. → the function and its argument
local function read_of(format)
  if type(format) == "number" then
    return math.tointeger(format) and read_count, format
  end
  return type(format) == "string" and READS[byte(format, byte(format) == byte "*" and 2 or 1) or 0]
end

--- Raises when one of the formats is none; `level` as for error, `name` is the function that was called.
function M.check_formats(name, level, ...)
  for i = 1, select("#", ...) do
    if not read_of((select(i, ...))) then
      error(("bad argument #%d to '%s' (invalid format)"):format(i, name), level + 1)
    end
  end
end

--- As file:read: a value for each format, up to the first that fails, which gives nil; nil, message, code when the
--- source failed. The formats were checked before.
function methods:read(...)
  local n = select("#", ...)
  if n == 0 then
    return self:_finish({ read_line(self, false) }, 1)
  end
  local values = {}
  for i = 1, n do
    local read, argument = read_of((select(i, ...)))
    values[i] = read(self, argument)
    if values[i] == nil then
      return self:_finish(values, i)
    end
  end
  return self:_finish(values, n)
end

function methods:_finish(values, n)
  local failed = self._failed
  if failed then
    self._failed = nil
    return nil, failed[1], failed[2]
  end
  return table.unpack(values, 1, n)
end

return M
