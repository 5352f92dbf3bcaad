-- What sqlite.open takes, checked at the door, as the core wants it.

local BIG = 1 << 31

local function number(name, default, least, most, per)
  return function(value)
    if value == nil then
      value = default
    end
    if type(value) ~= "number" or value ~= value or value < least or value > most then
      return nil, ("%s must be a number from %g"):format(name, least)
    end
    return math.ceil(value * per)
  end
end

local function whole(name, default, least, most)
  return function(value)
    value = value == nil and default or value
    local n = math.type(value) and math.tointeger(value)
    if not n or n < least or n > most then
      return nil, ("%s must be a whole number from %d to %d"):format(name, least, most)
    end
    return n
  end
end

local function flag(name, default)
  return function(value)
    if value == nil then
      return default
    elseif type(value) ~= "boolean" then
      return nil, name .. " must be true or false"
    end
    return value
  end
end

local function word(name, default, ...)
  local words = { ... }
  return function(value)
    value = value == nil and default or value
    for _, known in ipairs(words) do
      if value == known then
        return value
      end
    end
    return nil, ('%s must be one of "%s"'):format(name, table.concat(words, '", "'))
  end
end

-- option → { its name for the core, what reads it }
local KNOWN = {
  busy_timeout = { "busy_ms", number("busy_timeout", 5, 0, 1e6, 1000) },
  timeout = { "timeout_ms", number("timeout", 0, 0, 1e6, 1000) },
  readers = { "readers", whole("readers", 2, 0, 64) },
  cursors = { "cursors", whole("cursors", 16, 1, 256) },
  max_rows = { "max_rows", whole("max_rows", 10000, 1, BIG) },
  max_bytes = { "max_bytes", whole("max_bytes", 16 << 20, 1024, BIG) },
  statements = { "statements", whole("statements", 100, 0, 10000) },
  foreign_keys = { "foreign_keys", flag("foreign_keys", true) },
  readonly = { "readonly", flag("readonly", false) },
  journal = { "journal", word("journal", "wal", "wal", "delete", "truncate", "persist", "memory", "off") },
  synchronous = { "synchronous", word("synchronous", "normal", "off", "normal", "full", "extra") },
}

local function check_path(path)
  if type(path) ~= "string" or path:find("\0", 1, true) then
    error(("sqlite.open: the path must be a string without NUL, got %s"):format(type(path)), 4)
  end
end

--- The settings of core.sqlite_connect. A path is a file's, never a URI; "" and ":memory:" have one connection alone.
return function(path, options)
  check_path(path)
  if options ~= nil and type(options) ~= "table" then
    error(("sqlite.open: options must be a table, got %s"):format(type(options)), 3)
  end
  for name in pairs(options or {}) do
    if not KNOWN[name] then
      error(("sqlite.open: unknown option %s"):format(tostring(name)), 3)
    end
  end
  local settings = { path = path:find "^file:" and "./" .. path or path }
  for name, known in pairs(KNOWN) do
    local value, why = known[2](options and options[name])
    if value == nil then
      error("sqlite.open: " .. why, 3)
    end
    settings[known[1]] = value
  end
  if path == "" or path == ":memory:" then
    settings.readers = 0
  end
  return settings
end
