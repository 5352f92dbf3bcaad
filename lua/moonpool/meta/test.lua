---@meta moonpool.test

-- For specs that `moonpool test` runs. docs/testing.md tells all of it.

---@class moonpool.test
local test = {}

---@class moonpool.test.client.options
---@field host? string "localhost"
---@field headers? table<string, string> sent with each request
---@field follow? boolean redirects
---@field secure? boolean cookies for https are sent
---@field remote? string the address that asks
---@field strict? boolean
---@field max_body? integer
---@field request_timeout? number
---@field body_timeout? number
---@field compress? boolean

--- A client of an app in this process, or of a server.
---@async
---@param app? string|moonpool.app|moonpool.handler a path ("app.lua"), an address, an app
---@param options? moonpool.test.client.options
---@return moonpool.test.client
function test.client(app, options) end

--- A clock that stands.
---@param options? { time?: number }
---@return moonpool.test.clock
function test.clock(options) end

---@class moonpool.test.process.answer
---@field stdout? string
---@field stderr? string
---@field code? integer
---@field signal? string|integer
---@field delay? number seconds, of the clock
---@field ignore? string a signal that does not end it
---@field reads? boolean false: leaves its stdin alone
---@field error? string it cannot be started: an errno name

--- What would start that program is played.
---@param name string "*" is any command
---@param answer? moonpool.test.process.answer|fun(argv: string[], input: string?, child: moonpool.test.child): moonpool.test.process.answer?
---@param options? { interactive?: boolean }
---@return moonpool.test.process
function test.process(name, answer, options) end

--- Other processes raise from here on.
---@return fun() done ends it
function test.only_fakes() end

--- The real server, on a free port.
---@async
---@param options? { app?: string, workers?: integer, args?: string[], env?: table<string, string>, timeout?: number }
---@return moonpool.test.server
function test.server(options) end

--- Returns when nothing more happens by itself.
---@async
function test.settle() end

---@class moonpool.test.request.options
---@field headers? table<string, string|string[]>
---@field query? table<string, any>
---@field body? string|fun(): string?
---@field json? any
---@field form? table<string, any>
---@field files? table<string, { name: string, type?: string, body: string }>
---@field cookies? table<string, string>
---@field follow? boolean
---@field stream? boolean

---@class moonpool.test.client
---@field errors { error: any, traceback: string, kind: string, request: string?, request_id: string? }[]
local client = {}

---@async
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:get(path, options) end

---@async
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:post(path, options) end

---@async
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:put(path, options) end

---@async
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:patch(path, options) end

---@async
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:delete(path, options) end

---@async
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:head(path, options) end

---@async
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:options(path, options) end

---@async
---@param method string
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.response
function client:request(method, path, options) end

--- A request whose answer is not awaited.
---@async
---@param method string
---@param path string
---@param options? moonpool.test.request.options
---@return moonpool.test.request
function client:send(method, path, options) end

--- Hangs up on all requests under way.
function client:disconnect() end

--- Those it keeps.
---@return table<string, string>
function client:cookies() end

--- Ends the app.
---@async
function client:close() end

---@class moonpool.test.request
local request = {}

--- The answer, once its head is there.
---@async
---@return moonpool.test.response
function request:response() end

--- A piece of the body, of a request that was begun with stream = true.
---@async
---@param bytes string
---@return any
function request:write(bytes) end

--- The end of such a body.
---@async
---@return any
function request:finish() end

--- Hangs up.
function request:disconnect() end

--- Hangs up; by `<close>` too.
function request:close() end

---@class moonpool.test.response
---@field status integer
---@field reason string
---@field version string
---@field headers table<string, string>
---@field body string
---@field cookies table<string, { value: string, path?: string, expires?: any }>
---@field redirects integer how many were followed
---@field method string
---@field path string
local answer = {}

---@param name string
---@return string[]
function answer:header_list(name) end

---@async
---@return any
function answer:json() end

--- The next piece of a stream; nil at its end. Raises when it was cut.
---@async
---@return string?
function answer:read() end

---@class moonpool.test.event
---@field event string
---@field data? string
---@field id? string
---@field retry? number seconds

---@async
---@return moonpool.test.event?
function answer:event() end

---@async
---@return fun(): moonpool.test.event?
function answer:events() end

--- Hangs up.
function answer:close() end

---@class moonpool.test.clock
---@field closed boolean
local clock = {}

--- What falls due meanwhile happens in its order.
---@async
---@param seconds number
function clock:advance(seconds) end

function clock:close() end

---@class moonpool.test.process
---@field calls { argv: string[], input?: string, cwd?: string, env?: table, setenv?: table }[]
local fake = {}

function fake:close() end

---@class moonpool.test.child
local child = {}

--- What comes to its stdin; nil at the end.
---@async
---@return string?
function child:read() end

---@async
---@param bytes string
---@return any
function child:write(bytes) end

---@async
---@param bytes string
---@return any
function child:write_error(bytes) end

---@class moonpool.test.server
---@field url string
---@field port integer
---@field pid integer
local server = {}

--- What it has logged so far.
---@return string
function server:log() end

---@param options? moonpool.test.client.options
---@return moonpool.test.client
function server:client(options) end

--- Raises unless it ended well.
---@async
function server:stop() end

return test
