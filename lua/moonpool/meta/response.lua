---@meta _

---@class moonpool.cookie.options
---@field path? string|false "/"
---@field http_only? boolean true
---@field same_site? "Lax"|"Strict"|"None"|false "Lax"
---@field secure? boolean
---@field max_age? number seconds
---@field domain? string

---@class moonpool.secret_cookie.options: moonpool.cookie.options
---@field keys? string|string[] secrets of its own

---@class moonpool.response
---@field sent boolean the head is out
local res = {}

--- Sets the status; without a number, reads it.
---@param status integer
---@return moonpool.response
---@overload fun(self: moonpool.response): integer
function res:status(status) end

--- Replaces a header (a list gives a line each, nil removes); with the name alone, reads it.
---@param name string
---@param value? string|string[]
---@return moonpool.response
---@overload fun(self: moonpool.response, name: string): string?
function res:header(name, value) end

---@param name string
---@param value string
---@return moonpool.response
function res:add_header(name, value) end

---@param name string
---@param value string
---@param options? moonpool.cookie.options
---@return moonpool.response
function res:cookie(name, value, options) end

---@param name string
---@param value string
---@param options? moonpool.secret_cookie.options
---@return moonpool.response
function res:signed_cookie(name, value, options) end

---@param name string
---@param value string
---@param options? moonpool.secret_cookie.options
---@return moonpool.response
function res:encrypted_cookie(name, value, options) end

---@async
---@param text string
function res:text(text) end

---@async
---@param html string
function res:html(html) end

---@async
---@param value any
function res:json(value) end

--- Ends with the page that a template makes.
---@async
---@param name string
---@param vars? table
function res:render(name, vars) end

---@async
---@param url string
---@param status? 301|302|303|307|308 302
function res:redirect(url, status) end

---@class moonpool.file.options
---@field root? string the path is taken below it, and never leaves it
---@field type? string
---@field download? boolean|string
---@field max_age? number seconds

--- Ends with a file.
---@param path string
---@param options? moonpool.file.options
function res:file(path, options) end

--- Streams; waits while the client is slow.
---@async
---@param bytes string
---@return true? written
---@return string? message
---@return string? code
function res:write(bytes) end

--- Ends the answer.
---@async
---@param bytes? string
function res:finish(bytes) end

--- An event stream, its head sent at once.
---@async
---@param options? { keep_alive?: number, retry?: number }
---@return moonpool.events
function res:sse(options) end

--- Just before the head goes out, latest first.
---@param fn fun()
---@return moonpool.response
function res:on_head(fn) end

---@class moonpool.events
local events = {}

--- A message: text, or a table as JSON.
---@async
---@param data string|number|boolean|table|nil
---@param options? { event?: string, id?: string, retry?: number }
---@return true? written
---@return string? message
---@return string? code
function events:send(data, options) end

--- A line that the browser ignores.
---@async
---@param text? string
---@return true? written
---@return string? message
---@return string? code
function events:comment(text) end
