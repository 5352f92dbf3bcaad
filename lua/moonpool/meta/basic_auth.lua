---@meta moonpool.basic_auth

--- auth.basic.
---@param options moonpool.auth.basic.options
---@return moonpool.middleware
return function(options) end
