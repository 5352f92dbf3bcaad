---@meta moonpool.password

---@class moonpool.password
local password = {}

--- Text to be kept.
---@async
---@param secret string
---@return string? hash
---@return string? message
---@return string? code
function password.hash(secret) end

--- With `hash` nil false, after as long a time.
---@async
---@param secret string
---@param hash string?
---@return boolean? same
---@return string? message
---@return string? code
function password.verify(secret, hash) end

---@param hash string
---@return boolean
function password.needs_rehash(hash) end

return password
