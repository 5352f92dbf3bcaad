-- Modules of our own that are loaded when something of theirs is first used, for most apps never use most of them: a
-- worker then starts sooner, and needs less.
--
--   local form = later "moonpool.form"      form.parts(…) loads it, at the first call

local require = require -- the stock one: no body of ours waits

local function look(module, key)
  local value = require(module._name)[key]
  module[key] = value
  return value
end

local metatable = { __index = look }

---@param name string
---@return table
return function(name)
  return setmetatable({ _name = name }, metatable)
end
