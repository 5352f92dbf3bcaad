---@meta moonpool.auth

---@class moonpool.auth
local auth = {}

---@class moonpool.auth.basic.options
---@field realm? string
---@field users? table<string, string> name → password
---@field check? fun(user: string, password: string, req: moonpool.request): any

---@param options moonpool.auth.basic.options
---@return moonpool.middleware
function auth.basic(options) end

---@class moonpool.auth.bearer.options
---@field realm? string
---@field scope? string
---@field tokens? table<string, any> token → req.ctx.user
---@field check? fun(token: string, req: moonpool.request): any, string?

---@param options moonpool.auth.bearer.options
---@return moonpool.middleware
function auth.bearer(options) end

return auth
