---@meta moonpool.validate

---@class moonpool.validate
local v = {}

---@class moonpool.validate.options
---@field optional? boolean
---@field default? any
---@field message? string instead of ours
---@field check? fun(value: any): boolean, string?

---@class moonpool.validate.string.options: moonpool.validate.options
---@field min? integer characters
---@field max? integer characters
---@field pattern? string as of string.find
---@field trim? boolean
---@field one_line? boolean
---@field bytes? boolean any bytes, instead of valid UTF-8

---@class moonpool.validate.email.options: moonpool.validate.options
---@field max? integer characters

---@class moonpool.validate.number.options: moonpool.validate.options
---@field min? number
---@field max? number

---@class moonpool.validate.list.options: moonpool.validate.options
---@field min? integer items
---@field max? integer items
---@field unique? boolean

---@class moonpool.validate.object.options: moonpool.validate.options
---@field unknown? "drop"|"refuse"|"keep"

---@param options? moonpool.validate.string.options
---@return moonpool.schema
function v.string(options) end

---@param options? moonpool.validate.number.options
---@return moonpool.schema
function v.integer(options) end

---@param options? moonpool.validate.number.options
---@return moonpool.schema
function v.number(options) end

---@param options? moonpool.validate.options
---@return moonpool.schema
function v.boolean(options) end

---@param options? moonpool.validate.email.options
---@return moonpool.schema
function v.email(options) end

---@param values (string|number|boolean)[]
---@param options? moonpool.validate.options
---@return moonpool.schema
function v.enum(values, options) end

---@param item moonpool.schema
---@param options? moonpool.validate.list.options
---@return moonpool.schema
function v.list(item, options) end

---@param fields table<string, moonpool.schema>
---@param options? moonpool.validate.object.options
---@return moonpool.schema
function v.object(fields, options) end

---@class moonpool.schema
local schema = {}

--- The values, or nil and what is wrong.
---@param value any
---@param options? { text?: boolean }
---@return any values
---@return { field: string, message: string }[]? problems
function schema:check(value, options) end

return v
