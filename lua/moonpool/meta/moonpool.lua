---@meta moonpool

-- The server's own module. What is told here in a line stands at length in docs/api.md.

---@class moonpool
---@field cancelled moonpool.cancelled the error value of cancellation
---@field settings table the key `app` of the configuration
---@field worker moonpool.worker this worker
local moonpool = {}

---@class moonpool.cancelled

---@class moonpool.worker
---@field id integer 1 to `--workers`
---@field pid integer
---@field generation integer 1, and one more with each reload
---@field draining? boolean true once it is to leave

--- A new app.
---@return moonpool.app
function moonpool.app() end

---- tasks

--- A task of the caller's request, or a process.
---@async
---@param options moonpool.spawn.options
---@return moonpool.process? process
---@return string? message
---@return string? code
---@overload fun(fn: function, ...: any): moonpool.task
function moonpool.spawn(options) end

--- A task of the worker, whatever becomes of the caller.
---@param fn function
---@param ... any
---@return moonpool.task
function moonpool.background(fn, ...) end

--- Starts a process, collects what it says and waits for its end.
---@async
---@param options moonpool.spawn.options
---@return moonpool.result? result
---@return string? message
---@return string? code
function moonpool.run(options) end

---@alias moonpool.waitable moonpool.task|moonpool.process|moonpool.channel|moonpool.semaphore|moonpool.timer

--- A task's values or its error, a process's result, a channel's next value; `nil, "timeout", "timeout"` in time.
---@async
---@param x moonpool.waitable
---@param timeout? number seconds
---@return any ...
function moonpool.wait(x, timeout) end

--- The first of them to end: its place in the list, and its values.
---@async
---@param list moonpool.waitable[]
---@param timeout? number seconds
---@return integer? index
---@return any ...
function moonpool.wait_any(list, timeout) end

--- All of them: the first value of each. The first error cancels the others and is raised.
---@async
---@param list moonpool.waitable[]
---@param timeout? number seconds
---@return (any[]|{ n: integer })? values
---@return string? message
---@return string? code
function moonpool.wait_all(list, timeout) end

--- Runs `fn(scope)`, and returns its values when all that started in it has ended.
---@async
---@param fn fun(scope: moonpool.scope): any ...
---@param options? { timeout?: number }
---@return any ...
function moonpool.scope(fn, options) end

---@async
---@param seconds number
function moonpool.sleep(seconds) end

--- Monotonic seconds.
---@return number
function moonpool.now() end

--- The wall clock, with fractions.
---@return number
function moonpool.time() end

--- The running task.
---@return moonpool.task?
function moonpool.running() end

---- waiting in turn

---@class moonpool.limit.options
---@field max integer at once in this worker
---@field queue? integer how many may wait (1024)

---@param options moonpool.limit.options
---@return moonpool.limit
function moonpool.limit(options) end

---@param places integer
---@return moonpool.semaphore
function moonpool.semaphore(places) end

--- Holds up to n values; with 0 a send goes on when somebody has received.
---@param n? integer 0
---@return moonpool.channel
function moonpool.channel(n) end

---- timers

--- Again each `seconds`, the first time after as many.
---@param seconds number
---@param fn fun(timer: moonpool.timer)
---@param options? { once?: "pool", name?: string }
---@return moonpool.timer
function moonpool.every(seconds, fn, options) end

---@param seconds number
---@param fn fun(timer: moonpool.timer)
---@return moonpool.timer
function moonpool.after(seconds, fn) end

---- threads

--- A task that runs on one of the worker's threads, in a Lua state of that thread.
---@async
---@param fn function|string a function, or "module.fn"
---@param ... any
---@return moonpool.task
---@overload fun(options: { max_memory?: integer }, fn: function|string, ...: any): moonpool.task
function moonpool.offload(fn, ...) end

--- A thread and a Lua state of its own that requires `module`, and lasts.
---@param module string
---@param options? { max_memory?: integer, grace?: number }
---@return moonpool.service
function moonpool.service(module, options) end

---- the pool

--- A map that all workers share.
---@param name string
---@return moonpool.shared
function moonpool.shared(name) end

--- Every worker hears it that has subscribed.
---@async
---@param topic string
---@param value any what crosses to a thread, but nil
---@param timeout? number seconds to wait for room
---@return true? published
---@return string? message
---@return string? code
function moonpool.publish(topic, value, timeout) end

--- A channel of what is published from now on; it ends with its scope.
---@param topic string
---@param n? integer messages that may lie in it (1024)
---@return moonpool.channel
function moonpool.subscribe(topic, n) end

---- files, text, numbers

---@async
---@param path string
---@return string? bytes
---@return string? message
---@return string? code
function moonpool.read_file(path) end

---@async
---@param path string
---@param bytes string
---@return true? written
---@return string? message
---@return string? code
function moonpool.write_file(path, bytes) end

--- For HTML.
---@param text string
---@return string
function moonpool.escape(text) end

--- n random bytes, in hex.
---@param n integer
---@return string
function moonpool.random(n) end

---@class moonpool.stats
---@field requests integer
---@field in_flight integer
---@field connections integer
---@field tasks integer
---@field task_errors integer
---@field processes integer
---@field processes_queued integer
---@field offloads integer
---@field offloads_queued integer
---@field offloads_oldest number
---@field threads_stuck integer
---@field lua_memory integer bytes
---@field uptime number
---@field errors table<string, integer> those that nobody took, by kind

---@return moonpool.stats
function moonpool.stats() end

---@class moonpool.json
---@field null any
moonpool.json = {}

--- Raises for what JSON cannot hold, and names its path.
---@param value any
---@return string
function moonpool.json.encode(value) end

---@param text string
---@return any value
---@return string? message
function moonpool.json.decode(text) end

--- The table as an array, also when it is empty.
---@generic T: table
---@param list T
---@return T
function moonpool.json.array(list) end

---@class moonpool.url
moonpool.url = {}

---@param text string
---@return string
function moonpool.url.encode(text) end

---@param text string
---@param plus? boolean `+` is a space
---@return string? text
---@return string? message
function moonpool.url.decode(text, plus) end

---@class moonpool.log
moonpool.log = {}

---@param message string
---@param fields? table<string, any>
function moonpool.log.debug(message, fields) end

---@param message string
---@param fields? table<string, any>
function moonpool.log.info(message, fields) end

---@param message string
---@param fields? table<string, any>
function moonpool.log.warn(message, fields) end

---@param message string
---@param fields? table<string, any>
function moonpool.log.error(message, fields) end

return moonpool
