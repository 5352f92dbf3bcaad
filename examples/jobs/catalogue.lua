-- The scripts that may be run, and what they take. A script says both in comments at its top:
--
--   # Counts to a number
--   # takes number: integer 1..1000
--   # takes style?: one of plain loud
--
-- A `?` marks what may be left out. A script that says nothing takes any arguments.

local moonpool = require "moonpool"
local text = require "text"

local M = {}

local HEAD = 20 -- lines

local function reads(rule)
  local low, high = rule:match "^integer (%-?%d+)%.%.(%-?%d+)$"
  if low then
    low, high = math.tointeger(low), math.tointeger(high)
    return function(value)
      local n = value:find "^%-?%d+$" and math.tointeger(tonumber(value))
      return n ~= nil and n ~= false and n >= low and n <= high, ("a whole number from %d to %d"):format(low, high)
    end
  end
  local words = rule:match "^one of (.+)$"
  if words then
    return function(value)
      return not value:find "%s" and value ~= "" and (" " .. words .. " "):find(" " .. value .. " ", 1, true) ~= nil,
        "one of " .. words:gsub(" ", ", ")
    end
  end
  return function(value) return value ~= "" and utf8.len(value) ~= nil, "a text" end
end

local function read_head(name)
  local script = { name = name, about = "" }
  local handle = io.open("scripts/" .. name, "rb")
  if not handle then
    return script
  end
  local n = 0
  for line in handle:lines() do
    n = n + 1
    if n == 2 then
      script.about = text.utf8(line:match "^#%s*(.*)" or "")
    end
    local argument, optional, rule = line:match "^# takes ([%w_-]+)(%??): (.+)$"
    if argument then
      script.takes = script.takes or {}
      script.takes[#script.takes + 1] = { name = argument, optional = optional == "?", rule = text.utf8(rule) }
    end
    if n == HEAD or not line:find "^#" then
      break
    end
  end
  handle:close()
  return script
end

local function names()
  local found = moonpool.run {
    "find", "scripts", "-maxdepth", "1", "-type", "f", "-perm", "-u+x", "-printf", "%f\\0", check = true,
  }
  local list = {}
  for name in found.stdout:gmatch "[^%z]+" do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

function M.list()
  local scripts = moonpool.json.array {}
  for i, name in ipairs(names()) do
    local script = read_head(name)
    scripts[i] = { name = text.utf8(name), about = script.about,
      takes = script.takes and moonpool.json.array(script.takes) or nil }
  end
  return scripts
end

--- The script of that name; nil if there is none. A name is compared, never made into a path first.
function M.find(wanted)
  for _, name in ipairs(names()) do
    if name == wanted then
      return read_head(name)
    end
  end
end

--- What is wrong with these arguments, as a sentence; nil if nothing is.
function M.fault(script, arguments)
  if not script.takes then
    return nil
  end
  for i, take in ipairs(script.takes) do
    local value = arguments[i]
    local fits, wanted = reads(take.rule)(value or "")
    if value == nil and not take.optional or value ~= nil and not fits then
      return ("argument %d (%s) must be %s"):format(i, take.name, wanted)
    end
  end
  if #arguments > #script.takes then
    return ("%s takes at most %d argument%s"):format(script.name, #script.takes, #script.takes == 1 and "" or "s")
  end
end

return M
