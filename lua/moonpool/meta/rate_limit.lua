---@meta moonpool.rate_limit

---@class moonpool.rate_limit.options
---@field limit integer requests
---@field window number seconds
---@field key? fun(req: moonpool.request): any by what; nil is not counted (the address)
---@field name? string "default"

---@class moonpool.rate_limit
---@overload fun(options: moonpool.rate_limit.options): moonpool.middleware
local rate_limit = {}

return rate_limit
