---@meta moonpool.cors

---@class moonpool.cors.options
---@field origins "*"|string[]|fun(origin: string, req: moonpool.request): boolean?
---@field methods? string[]
---@field headers? "*"|string[]
---@field expose? string[]
---@field credentials? boolean
---@field max_age? number seconds

---@class moonpool.cors
---@overload fun(options: moonpool.cors.options): moonpool.middleware
local cors = {}

return cors
