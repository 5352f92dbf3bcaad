---@meta moonpool.request_id

---@class moonpool.request_id
---@overload fun(options?: { header?: string }): moonpool.middleware
local request_id = {}

return request_id
