-- Options of moonpool.test, checked at the door: a mistake raises where the test has made it, with its name.

local M = {}

local function describe(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

--- known: name → a type, or a list of types and values. → options, never nil
function M.options(what, options, known, level)
  level = (level or 2) + 1
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    error(("%s: the options must be a table, got %s"):format(what, type(options)), level)
  end
  for name, value in pairs(options) do
    local wanted = known[name]
    if not wanted then
      local names = {}
      for each in pairs(known) do
        names[#names + 1] = each
      end
      table.sort(names)
      error(("%s: unknown option %s (there are %s)"):format(what, describe(name), table.concat(names, ", ")), level)
    end
    local fits = false
    for kind in wanted:gmatch("%a+") do
      fits = fits or kind == "any" or type(value) == kind
    end
    if not fits then
      error(("%s: %s must be a %s, got %s"):format(what, name, wanted:gsub(" ", " or a "), describe(value)), level)
    end
  end
  return options
end

function M.type(what, value, wanted, level)
  if type(value) ~= wanted then
    error(("%s must be a %s, got %s"):format(what, wanted, type(value)), (level or 2) + 1)
  end
  return value
end

return M
