-- What the device keeps: its name, how often the status is told, and the password's hash. One file: a new one is
-- written beside it and takes its place, so that a loss of power leaves the old or the new.

local moonpool = require "moonpool"

local M = {}

local PATH = os.getenv "CONSOLE_STATE" or "console.json"
local DEFAULTS = { name = "device", every = 1 }

--- What is kept, with the defaults for what is not.
function M.load()
  local text = moonpool.read_file(PATH)
  local kept = text and moonpool.json.decode(text)
  local values = {}
  for key, value in pairs(DEFAULTS) do
    values[key] = value
  end
  for key, value in pairs(type(kept) == "table" and kept or {}) do
    values[key] = value
  end
  return values
end

--- Keeps these beside what was kept. true, or nil and why not.
function M.save(values)
  local all = M.load()
  for key, value in pairs(values) do
    all[key] = value
  end
  local new = ("%s.%s"):format(PATH, moonpool.random(4))
  local saved, why = moonpool.write_file(new, moonpool.json.encode(all))
  if saved then
    saved, why = os.rename(new, PATH)
  end
  if not saved then
    os.remove(new)
  end
  return saved, why
end

--- What a form holds → the values, and what is wrong with each.
function M.read(form)
  local faults = {}
  local name, every = form.name, math.tointeger(tonumber(form.every))
  if type(name) ~= "string" or not name:find "^%w[%w-]*$" or #name > 63 then
    faults.name = "Letters, digits and hyphens, 63 at most."
  end
  if not every or every < 1 or every > 60 then
    faults.every = "A whole number from 1 to 60."
  end
  return { name = name, every = every or form.every }, faults
end

return M
