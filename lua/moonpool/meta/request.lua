---@meta _

--- Name → value, the name in any case; `pairs` walks them.
---@class moonpool.headers
---@field [string] string

---@class moonpool.request
---@field method string
---@field target string as sent
---@field path string decoded
---@field version string "1.1"
---@field params table<string, string> of the route
---@field base string the prefix of the mount, or ""
---@field query table<string, string> name → first value
---@field headers moonpool.headers
---@field remote string "ip:port"
---@field ip string
---@field scheme "http"|"https"
---@field host string as sent
---@field id string
---@field ctx table of your own
local req = {}

--- All values of a name in the query.
---@param name string
---@return string[]
function req:query_list(name) end

--- All lines of that header.
---@param name string
---@return string[]
function req:header_list(name) end

--- All of the body. Raises 413, 408, 400.
---@async
---@return string
function req:body() end

--- The next piece of the body; nil at the end.
---@async
---@return string?
function req:read() end

--- The body as JSON; raises 400 when it is none.
---@async
---@return any
function req:json() end

--- Name → first value. Raises 415, 400, 413.
---@async
---@return table<string, string|moonpool.file>
function req:form() end

--- All values of a name in the form.
---@async
---@param name string
---@return (string|moonpool.file)[]
function req:form_list(name) end

--- The parts of a multipart body, as they come.
---@async
---@return fun(): moonpool.part?
function req:parts() end

--- The body to a file, under its name only once it is whole.
---@async
---@param path string
---@return true? saved
---@return string? message
---@return string? code
function req:save(path) end

---@param name string
---@return string?
function req:cookie(name) end

--- The value that res:signed_cookie was given.
---@param name string
---@param options? { keys?: string|string[] }
---@return string?
function req:signed_cookie(name, options) end

--- The value that res:encrypted_cookie was given.
---@param name string
---@param options? { keys?: string|string[] }
---@return string?
function req:encrypted_cookie(name, options) end

--- What the client sent, as the schema describes it; raises 422.
---@async
---@param schema moonpool.schema
---@param source? "form"|"json"|"query"|"params"
---@return table
function req:validate(schema, source) end

--- A client that goes away cancels nothing of this request.
function req:keep() end

--- An uploaded file.
---@class moonpool.file
---@field name string the client's word, never a path
---@field type string the client's word
---@field size integer
---@field path string
local file = {}

--- Moves it there, whole or not at all.
---@async
---@param path string
---@return true? saved
---@return string? message
---@return string? code
function file:save(path) end

---@class moonpool.part
---@field name string
---@field filename? string
---@field type? string
local part = {}

--- The next piece; nil at the end.
---@async
---@return string?
function part:read() end

--- All of it; raises 413 for more than `max` bytes (2 MiB).
---@async
---@param max? integer
---@return string
function part:body(max) end

---@async
---@param path string
---@return true? saved
---@return string? message
---@return string? code
function part:save(path) end
