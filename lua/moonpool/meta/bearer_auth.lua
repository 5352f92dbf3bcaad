---@meta moonpool.bearer_auth

--- auth.bearer.
---@param options moonpool.auth.bearer.options
---@return moonpool.middleware
return function(options) end
