---@meta _

---@alias moonpool.handler fun(req: moonpool.request, res: moonpool.response)
---@alias moonpool.middleware fun(req: moonpool.request, res: moonpool.response, next: fun())

---@class moonpool.route.options
---@field name? string for app:url
---@field keep? boolean as req:keep()
---@field max_body? integer bytes, instead of --max-body
---@field timeout? number seconds, instead of --request-timeout

---@class moonpool.app
local app = {}

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:get(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:post(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:put(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:patch(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:delete(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:head(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:options(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.app
---@overload fun(self: moonpool.app, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.app
function app:any(pattern, ...) end

--- Middleware around every route at or below the prefix.
---@param prefix string
---@param fn moonpool.middleware
---@return moonpool.app
---@overload fun(self: moonpool.app, fn: moonpool.middleware): moonpool.app
function app:use(prefix, fn) end

--- Everything at or below the prefix that no route of this app takes.
---@param prefix string
---@param target moonpool.app|moonpool.handler
---@return moonpool.app
function app:mount(prefix, target) end

---@class moonpool.static.options
---@field index? string|false "index.html"
---@field max_age? number seconds
---@field fallback? string a file of the folder
---@field dotfiles? boolean

--- Files, for what no route takes.
---@param prefix string
---@param folder string
---@param options? moonpool.static.options
---@return moonpool.app
function app:static(prefix, folder, options) end

--- Where res:render takes its templates from.
---@param folder string
---@param options? moonpool.templates.options
---@return moonpool.app
function app:templates(folder, options) end

---@class moonpool.error
---@field status integer
---@field message string
---@field headers? table<string, string>
---@field [string] any whatever else was raised

--- Writes every error answer.
---@param page fun(req: moonpool.request, res: moonpool.response, e: moonpool.error)
---@return moonpool.app
function app:error_page(page) end

---@class moonpool.origin
---@field kind "handler"|"task"|"timer"|"offload"|"service"|"process"|"load"
---@field request? string
---@field request_id? string
---@field spawned_at? string
---@field worker integer

--- Told once of every error that nobody took.
---@param fn fun(err: any, traceback: string?, what: moonpool.origin)
---@return moonpool.app
function app:on_error(fn) end

--- Once in each worker, before its first request; may wait.
---@param fn async fun()
---@return moonpool.app
function app:on_start(fn) end

--- Once in each worker, after its last request; may wait.
---@param fn async fun()
---@return moonpool.app
function app:on_stop(fn) end

--- Routes with a prefix and middleware of their own.
---@param prefix string
---@param ... moonpool.middleware|fun(group: moonpool.group) the last one defines
---@return moonpool.app
function app:group(prefix, ...) end

--- The path of the route with that name.
---@param name string
---@param params? table<string, string|number>
---@param query? table<string, string|number>
---@return string
function app:url(name, params, query) end

---@class moonpool.group
local group = {}

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:get(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:post(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:put(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:patch(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:delete(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:head(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:options(pattern, ...) end

---@param pattern string
---@param ... moonpool.handler|moonpool.middleware the last one answers
---@return moonpool.group
---@overload fun(self: moonpool.group, pattern: string, options: moonpool.route.options, ...: moonpool.handler|moonpool.middleware): moonpool.group
function group:any(pattern, ...) end

--- Middleware for the group's routes that follow.
---@param fn moonpool.middleware
---@return moonpool.group
function group:use(fn) end

---@param prefix string
---@param ... moonpool.middleware|fun(group: moonpool.group) the last one defines
---@return moonpool.group
function group:group(prefix, ...) end
