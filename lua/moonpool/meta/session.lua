---@meta moonpool.session

---@class moonpool.session.options
---@field store? moonpool.session.store none: all of it is in the cookie
---@field idle? number seconds without use (1800)
---@field lifetime? number seconds since the login (7 days)
---@field name? string "session"
---@field path? string "/"
---@field domain? string
---@field same_site? "Lax"|"Strict"|"None" "Lax"
---@field secure? boolean over https
---@field persist? boolean outlives the browser
---@field keys? string|string[] secrets of its own

---@class moonpool.session.module
---@overload fun(options?: moonpool.session.options): moonpool.middleware
local session = {}

--- The session of a request; raises where there is none.
---@param req moonpool.request
---@return moonpool.session
function session.get(req) end

--- A store in moonpool.shared.
---@param name? string
---@return moonpool.session.store
function session.shared(name) end

---@class moonpool.session
---@field data table what JSON can hold; may be assigned as a whole
---@field id string
---@field is_new boolean
local s = {}

--- A new id and life for the same data: at every login.
---@async
---@return moonpool.session
function s:regenerate() end

--- No data any more, here, in the store, in the browser.
---@async
function s:destroy() end

--- A message for the next page.
---@param kind string
---@param message string
---@return moonpool.session
function s:flash(kind, message) end

--- All of them; they are gone then.
---@return { kind: string, message: string }[]
function s:flashes() end

--- Writes it now.
---@async
function s:save() end

---@class moonpool.session.store
local store = {}

---@async
---@param id string
---@return string? text
---@return string? message
---@return string? code
function store:load(id) end

---@async
---@param id string
---@param text string
---@param ttl number seconds
---@param existing boolean save it only if it is still there
---@return boolean? saved
---@return string? message
---@return string? code
function store:save(id, text, ttl, existing) end

---@async
---@param id string
---@return boolean? deleted
---@return string? message
---@return string? code
function store:delete(id) end

return session
