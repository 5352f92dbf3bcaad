---@meta moonpool.csrf

---@class moonpool.csrf.options
---@field header? string "X-CSRF-Token"
---@field field? string "csrf_token"
---@field cookie? string "csrf"
---@field trusted? string[] origins
---@field exempt? string[]|fun(req: moonpool.request): boolean?
---@field keys? string|string[] secrets of its own

---@class moonpool.csrf
---@overload fun(options?: moonpool.csrf.options): moonpool.middleware
local csrf = {}

---@param req moonpool.request
---@return string
function csrf.token(req) end

--- A hidden input, as HTML.
---@param req moonpool.request
---@return string
function csrf.field(req) end

return csrf
