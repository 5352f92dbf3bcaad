-- Bytes of scripts as text that JSON can hold.

local M = {}

local UNKNOWN = "\u{FFFD}"

--- `bytes` with what is not UTF-8 replaced.
function M.utf8(bytes)
  local parts, from = {}, 1
  while true do
    local _, bad = utf8.len(bytes, from)
    parts[#parts + 1] = bytes:sub(from, (bad or 0) - 1)
    if not bad then
      return table.concat(parts)
    end
    parts[#parts + 1] = UNKNOWN
    from = bad + 1
  end
end

-- How many bytes at the end of `bytes` begin a character that is not complete.
local function incomplete(bytes)
  local at, first = bytes:match("()([\xC2-\xF4])[\x80-\xBF]*$")
  if not at then
    return 0
  end
  local lead = first:byte()
  local needs = lead >= 0xF0 and 4 or lead >= 0xE0 and 3 or 2
  local has = #bytes - at + 1
  return has < needs and has or 0
end

--- A function that gives a stream on as UTF-8, piece by piece: a character that is cut waits for its rest. Called
--- without a piece it gives what is left.
function M.whole_characters()
  local held = ""
  return function(piece)
    local bytes = held .. (piece or "")
    local n = piece and incomplete(bytes) or 0
    held = bytes:sub(#bytes - n + 1)
    return M.utf8(bytes:sub(1, #bytes - n))
  end
end

return M
