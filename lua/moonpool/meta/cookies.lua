---@meta moonpool.cookies

---@class moonpool.cookies
local cookies = {}

---@class moonpool.cookies.options
---@field max_age? number seconds it is valid
---@field keys? string|string[] secrets of its own

---@param name string
---@param value string
---@param options? moonpool.cookies.options
---@return string
function cookies.sign(name, value, options) end

---@param name string
---@param text string
---@param options? { keys?: string|string[] }
---@return string?
function cookies.verify(name, text, options) end

---@param name string
---@param value string
---@param options? moonpool.cookies.options
---@return string
function cookies.seal(name, value, options) end

---@param name string
---@param text string
---@param options? { keys?: string|string[] }
---@return string?
function cookies.open(name, text, options) end

return cookies
