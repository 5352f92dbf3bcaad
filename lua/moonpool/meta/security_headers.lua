---@meta moonpool.security_headers

---@class moonpool.security_headers.options
---@field csp? string|boolean `{nonce}` in it becomes the request's
---@field csp_report_only? boolean
---@field frame_ancestors? string|boolean "'none'"
---@field hsts? number|boolean seconds
---@field include_subdomains? boolean
---@field preload? boolean
---@field nosniff? boolean
---@field referrer_policy? string|boolean
---@field permissions_policy? string|boolean
---@field opener_policy? string|boolean
---@field resource_policy? string|boolean

---@class moonpool.security_headers
---@overload fun(options?: moonpool.security_headers.options): moonpool.middleware
local security_headers = {}

--- The request's, for inline scripts and styles.
---@param req moonpool.request
---@return string
function security_headers.nonce(req) end

return security_headers
