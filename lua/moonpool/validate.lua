-- What a client sent, checked against a description of what is wanted.
--
--   local v = require "moonpool.validate"
--   local person = v.object { name = v.string { min = 1, max = 80 }, age = v.integer { min = 0, optional = true } }
--   local values = req:validate(person)            the body: a form or JSON; or raises a 422 that lists what is wrong
--   local values, problems = person:check(t)       a table of one's own
--
-- In forms, queries and params everything is text: there numbers and booleans are read from it. In JSON they must be
-- what they are.

local core = require "moonpool.core"
local read_options = require("moonpool.options").read

local M = {}
local methods = {}
local metatable = { __index = methods, __name = "moonpool.schema" }

local MOST_PROBLEMS, DEEPEST = 50, 100
local COMMON = { optional = "boolean", default = "anything", check = "callable", message = "string" }

local function is_schema(value)
  return getmetatable(value) == metatable
end

-- A walk over one input: what was found wrong, and whether all is text.
local function complain(walk, field, message)
  if #walk.problems < MOST_PROBLEMS then
    walk.problems[#walk.problems + 1] = { field = field, message = message }
  end
  walk.failed = true
  return nil
end

---- schemas

local function read(kind, given, known)
  local all, options = {}, {}
  for key, wanted in pairs(known) do
    all[key] = wanted
  end
  for key, wanted in pairs(COMMON) do
    all[key] = wanted
  end
  for key, value in pairs(given or {}) do -- a default may be anything, which read_options has no word for
    if key ~= "default" then
      options[key] = value
    end
  end
  options = read_options("validate." .. kind, given and options, all, nil, 3)
  options.default = given and given.default
  return options
end

local function schema(kind, options, run)
  return setmetatable({ kind = kind, options = options, _run = run }, metatable)
end

local function copy(value)
  if type(value) ~= "table" or value == core.json.null then
    return value
  end
  local result = {}
  for key, item in pairs(value) do
    result[key] = copy(item)
  end
  return setmetatable(result, getmetatable(value))
end

-- The value as the schema has it, or nil (absent, or wrong: then walk.failed).
local function apply(self, walk, value, field, depth)
  local options = self.options
  if value == core.json.null or walk.text and value == "" and self.kind ~= "string" then
    value = nil
  end
  if value == nil then
    if options.default ~= nil then
      return copy(options.default)
    elseif options.optional then
      return nil
    end
    return complain(walk, field, options.message or "is required")
  elseif depth > DEEPEST then
    return complain(walk, field, "is nested too deeply")
  end
  local result, why = self._run(options, value, walk, field, depth)
  if why then
    return complain(walk, field, options.message or why)
  elseif result ~= nil and options.check then
    local ok, message = options.check(result)
    if not ok then
      return complain(walk, field, options.message or type(message) == "string" and message or "is not valid")
    end
  end
  return result
end

---- kinds

local function number_of(value, walk)
  if math.type(value) then
    return value
  elseif walk.text and type(value) == "string" and value:find "^%s*[+-]?%d*%.?%d*[eE]?[+-]?%d*%s*$" then
    return tonumber(value)
  end
end

local function in_range(options, value)
  if options.min and value < options.min then
    return nil, ("must be at least %s"):format(options.min)
  elseif options.max and value > options.max then
    return nil, ("must be at most %s"):format(options.max)
  end
  return value
end

local function check_bounds(kind, options)
  if options.min and options.max and options.min > options.max then
    error(("validate.%s: min is above max"):format(kind), 3)
  end
end

local NUMBERS = { min = "number", max = "number" }

--- A whole number of 64 bits.
function M.integer(given)
  local options = read("integer", given, NUMBERS)
  check_bounds("integer", options)
  return schema("integer", options, function(_, value, walk)
    local number = number_of(value, walk)
    if walk.text and type(value) == "string" and not value:find "^%s*[+-]?%d+%s*$" then
      number = nil
    end
    number = number and math.tointeger(number)
    if not number then
      return nil, "must be a whole number"
    end
    return in_range(options, number)
  end)
end

--- A number; neither NaN nor infinite.
function M.number(given)
  local options = read("number", given, NUMBERS)
  check_bounds("number", options)
  return schema("number", options, function(_, value, walk)
    local number = number_of(value, walk)
    if not number or number ~= number or number == math.huge or number == -math.huge then
      return nil, "must be a number"
    end
    return in_range(options, number)
  end)
end

local TRUE, FALSE = { on = true, ["true"] = true, ["1"] = true, yes = true },
  { off = true, ["false"] = true, ["0"] = true, no = true }

--- true or false; in text also on, off, yes, no, 1, 0.
function M.boolean(given)
  local options = read("boolean", given, {})
  return schema("boolean", options, function(_, value, walk)
    if type(value) == "boolean" then
      return value
    elseif walk.text and TRUE[value] then
      return true
    elseif walk.text and FALSE[value] then
      return false
    end
    return nil, "must be true or false"
  end)
end

local function check_text(options, value)
  local length = options.bytes and #value or utf8.len(value)
  if not length or not options.bytes and value:find "\0" then
    return nil, "must be text in UTF-8"
  elseif options.min and length < options.min then
    return nil, options.min == 1 and "must not be empty" or ("must have at least %d characters"):format(options.min)
  elseif options.max and length > options.max then
    return nil, ("must have at most %d characters"):format(options.max)
  elseif options.pattern and not value:find(options.pattern) then
    return nil, "has not the form that is wanted"
  end
  return value
end

--- Text: valid UTF-8 without NUL unless `bytes`; min and max in characters; pattern as of string.find; trim; one_line.
function M.string(given)
  local options = read("string", given, { min = "count", max = "count", pattern = "string", trim = "boolean",
    bytes = "boolean", one_line = "boolean" })
  check_bounds("string", options)
  if options.pattern and not pcall(string.find, "", options.pattern) then
    error("validate.string: pattern is no pattern: " .. options.pattern, 2)
  end
  return schema("string", options, function(_, value)
    if type(value) ~= "string" then
      return nil, "must be text"
    end
    value = options.trim and value:match "^%s*(.-)%s*$" or value
    if options.one_line and value:find "%c" then
      return nil, "must be one line"
    end
    return check_text(options, value)
  end)
end

--- An address as mail forms take it: one @, no spaces, a dot in the domain; whether it exists a mail will tell.
function M.email(given)
  local options = read("email", given, { max = "count" })
  return schema("email", options, function(_, value)
    local user, host = (type(value) == "string" and value or ""):match "^([^@%c%s<>\",;]+)@([%w.-]+%.%w[%w-]*)$"
    if not user or #value > (options.max or 254) or #user > 64 or host:find "%.%." or host:find "^[.-]"
      or not utf8.len(user) then
      return nil, "must be a mail address"
    end
    return value
  end)
end

--- One of a list of strings or numbers.
function M.enum(list, given)
  if type(list) ~= "table" or #list == 0 then
    error("validate.enum: a list of values is wanted", 2)
  end
  local options, names = read("enum", given, {}), {}
  for i, item in ipairs(list) do
    names[i] = tostring(item)
  end
  local message = "must be one of " .. table.concat(names, ", ")
  return schema("enum", options, function(_, value, walk)
    for i, item in ipairs(list) do
      if value == item or walk.text and value == names[i] then
        return item
      end
    end
    return nil, message
  end)
end

-- A sequence without holes and without names: what JSON has as an array, and req:form_list gives.
local function is_list(value)
  local n = 0
  for key in pairs(value) do
    if math.type(key) ~= "integer" then
      return false
    end
    n = n + 1
  end
  return n == #value
end

--- A list, each item by `item`; min and max are numbers of items; unique.
function M.list(item, given)
  if not is_schema(item) then
    error("validate.list: the item must be a schema", 2)
  end
  local options = read("list", given, { min = "count", max = "count", unique = "boolean" })
  check_bounds("list", options)
  return schema("list", options, function(_, value, walk, field, depth)
    if type(value) ~= "table" or not is_list(value) then
      return nil, "must be a list"
    elseif options.min and #value < options.min then
      return nil, ("must have at least %d items"):format(options.min)
    elseif options.max and #value > options.max then
      return nil, ("must have at most %d items"):format(options.max)
    end
    local result, seen = {}, {}
    for i, each in ipairs(value) do
      local got = apply(item, walk, each, ("%s[%d]"):format(field, i), depth + 1)
      if options.unique and got ~= nil and seen[got] then
        return nil, "must not hold the same twice"
      end
      result[i], seen[got == nil and i or got] = got, true
    end
    return result
  end)
end

local function join(field, key)
  return field == "" and key or field .. "." .. key
end

local function unknown_fields(options, fields, value, result, walk, field)
  local names = {}
  for key in pairs(value) do
    if fields[key] == nil then
      names[#names + 1] = key
    end
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(names) do
    if options.unknown == "refuse" then
      complain(walk, join(field, tostring(key):sub(1, 100)), "is not known here")
    elseif options.unknown == "keep" then
      result[key] = value[key]
    end
  end
end

local function check_fields(fields)
  local names = {}
  for name, each in pairs(fields) do
    if type(name) ~= "string" or not is_schema(each) then
      error(("validate.object: %s must be a schema"):format(tostring(name)), 3)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- Named fields. unknown: "drop" (default), "refuse", "keep".
function M.object(fields, given)
  if type(fields) ~= "table" or is_schema(fields) then
    error("validate.object: a table of schemas by name is wanted", 2)
  end
  local names = check_fields(fields)
  local options = read("object", given, { unknown = { "drop", "refuse", "keep" } })
  local self = schema("object", options, function(_, value, walk, field, depth)
    if type(value) ~= "table" or #value > 0 then
      return nil, "must be an object"
    end
    local result = {}
    for _, name in ipairs(names) do
      result[name] = apply(fields[name], walk, value[name], join(field, name), depth + 1)
    end
    unknown_fields(options, fields, value, result, walk, field)
    return result
  end)
  self.fields = fields
  return self
end

--- check(value[, { text }]) → the values; or nil and a list of { field, message }
function methods.check(self, value, options)
  options = read_options("check", options, { text = "boolean" }, nil, 2)
  local walk = { problems = {}, text = options.text or false }
  local result = apply(self, walk, value, "", 0)
  if walk.failed then
    return nil, walk.problems
  end
  return result
end

---- requests

-- Fields that are lists come from all values of their name.
local function gather(self, plain, list_of)
  local input = {}
  for name, value in pairs(plain) do
    input[name] = value
  end
  for name, each in pairs(self.fields) do
    if each.kind == "list" then
      local list = list_of(name)
      input[name] = #list > 0 and list or nil
    end
  end
  return input
end

local SOURCES = {
  query = function(self, req)
    return gather(self, req.query, function(name) return req:query_list(name) end), true
  end,
  form = function(self, req)
    return gather(self, req:form(), function(name) return req:form_list(name) end), true
  end,
  params = function(_, req) return req.params, true end,
  json = function(_, req) return req:json(), false end,
}

local function source_of(req)
  local kind = (req.headers["Content-Type"] or ""):lower():match "^[^;%s]*"
  if kind == "application/json" or kind:find "%+json$" then
    return "json"
  elseif req.method == "GET" or req.method == "HEAD" then
    return "query"
  end
  return "form" -- and 415 where it is none
end

--- The values of a request by an object schema, or a raised 422. source: "form", "json", "query", "params"; nil: the
--- body by its type, of a GET the query.
function M._request(req, wanted, source)
  if not is_schema(wanted) or not wanted.fields then
    error("validate: the schema must be one of validate.object", 3)
  elseif source ~= nil and not SOURCES[source] then
    error("validate: the source must be form, json, query or params, got " .. tostring(source), 3)
  end
  local input, text = SOURCES[source or source_of(req)](wanted, req)
  local values, problems = wanted:check(input, { text = text })
  if not values then
    error({ status = 422, message = "some fields are not as they should be", errors = problems }, 0)
  end
  return values
end

return M
