-- Options at the door: a table in which every key is known and every value is of its kind.

local M = {}

local function is_whole(value)
  return math.type(value) ~= nil and math.tointeger(value) ~= nil
end

--- Kinds: each a test, and what it wants in words.
M.kinds = {
  string = { function(v) return type(v) == "string" and v ~= "" end, "a string, not empty" },
  boolean = { function(v) return type(v) == "boolean" end, "true or false" },
  seconds = { function(v) return type(v) == "number" and v > 0 and v <= 1e9 end, "a number of seconds above 0" },
  count = { function(v) return is_whole(v) and v >= 1 end, "a whole number from 1" },
  callable = { function(v)
    local mt = getmetatable(v)
    return type(v) == "function" or type(mt) == "table" and type(mt.__call) == "function"
  end, "a function" },
  number = { function(v) return type(v) == "number" and v == v end, "a number" },
  table = { function(v) return type(v) == "table" end, "a table" },
  strings = { function(v)
    for i, text in ipairs(type(v) == "table" and v or {}) do
      if type(text) ~= "string" or text == "" or text:find("[%c]") then
        return false, i
      end
    end
    return type(v) == "table"
  end, "a list of strings" },
}

--- A copy of `given` with the defaults filled in. `known`: name → kind, or a list of kinds any of which will do.
---@param what string
---@param given table?
---@param known table<string, string|string[]>
---@param defaults table?
---@param level integer
---@return table
function M.read(what, given, known, defaults, level)
  if given ~= nil and type(given) ~= "table" then
    error(("%s: the options must be a table, got %s"):format(what, type(given)), level + 1)
  end
  local options = {}
  for key, value in pairs(defaults or {}) do
    options[key] = value
  end
  for key, value in pairs(given or {}) do
    local kinds = known[key]
    if not kinds then
      error(("%s: unknown option %s"):format(what, tostring(key)), level + 1)
    end
    kinds = type(kinds) == "string" and { kinds } or kinds
    local fits, wanted = false, {}
    for i, name in ipairs(kinds) do
      local kind = M.kinds[name] or { function(v) return v == name end, ("%q"):format(name) }
      fits = fits or kind[1](value) and true
      wanted[i] = kind[2]
    end
    if not fits then
      error(("%s: %s must be %s, got %s"):format(what, key, table.concat(wanted, " or "), tostring(value)), level + 1)
    end
    options[key] = value
  end
  return options
end

return M
