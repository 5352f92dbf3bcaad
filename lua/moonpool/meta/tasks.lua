---@meta _

---@class moonpool.task
---@field cancelled boolean asked to stop
---@field reason any what task:cancel was given
---@field name? string may be set
local task = {}

--- Its values, or its error raised again.
---@async
---@param timeout? number seconds
---@return any ...
function task:wait(timeout) end

---@param reason? any
function task:cancel(reason) end

---@return "running"|"done"|"failed"|"cancelled"
function task:status() end

--- Where its error was raised, or where it waits.
---@return string?
function task:traceback() end

---@class moonpool.scope
---@field cancelled boolean
---@field reason any
local scope = {}

--- A task or a process of this scope.
---@async
---@param options moonpool.spawn.options
---@return moonpool.process? process
---@return string? message
---@return string? code
---@overload fun(self: moonpool.scope, fn: function, ...: any): moonpool.task
function scope:spawn(options) end

---@async
---@param options moonpool.spawn.options
---@return moonpool.result? result
---@return string? message
---@return string? code
function scope:run(options) end

--- Cancels all of it.
---@param reason? any
function scope:cancel(reason) end

---@class moonpool.limit
local limit = {}

--- As moonpool.run, in its turn; "EAGAIN" when too many wait.
---@async
---@param options moonpool.spawn.options
---@return moonpool.result? result
---@return string? message
---@return string? code
function limit:run(options) end

--- As moonpool.spawn, in its turn; of a function, a task at once that begins in its turn.
---@async
---@param options moonpool.spawn.options
---@return moonpool.process? process
---@return string? message
---@return string? code
---@overload fun(self: moonpool.limit, fn: function, ...: any): moonpool.task?, string?, string?
function limit:spawn(options) end

---@class moonpool.semaphore
local semaphore = {}

---@async
---@param timeout? number seconds; 0 never waits
---@return moonpool.permit? permit
---@return string? message
---@return string? code
function semaphore:acquire(timeout) end

--- May be a `<close>` variable.
---@class moonpool.permit
local permit = {}

--- Gives the place back, once.
function permit:release() end

--- `#channel` is how many values it holds; may be a `<close>` variable.
---@class moonpool.channel
---@operator len: integer
local channel = {}

---@async
---@param value any not nil
---@param timeout? number seconds; 0 never waits
---@return true? sent
---@return string? message
---@return string? code
function channel:send(value, timeout) end

---@async
---@param timeout? number seconds; 0 never waits
---@return any value
---@return string? message
---@return string? code
function channel:receive(timeout) end

function channel:close() end

--- Until it is closed and empty.
---@async
---@return fun(): any
function channel:values() end

--- May be a `<close>` variable.
---@class moonpool.timer
local timer = {}

--- It fires no more.
function timer:cancel() end

--- A state on a thread of its own.
---@class moonpool.service
local service = {}

--- Calls run one at a time, in order.
---@async
---@param fn string
---@param ... any
---@return moonpool.task
function service:call(fn, ...) end

function service:stop() end

---@return "starting"|"ready"|"down"|"stopped"
function service:status() end

--- A map that all workers share.
---@class moonpool.shared
local shared = {}

---@alias moonpool.shared.value string|number|boolean

---@param key string
---@return moonpool.shared.value? value
---@return string? message
---@return string? code
function shared:get(key) end

---@param key string
---@param value moonpool.shared.value
---@param ttl? number seconds
---@return true? set
---@return string? message
---@return string? code
function shared:set(key, value, ttl) end

--- Only where nothing is; else "EEXIST".
---@param key string
---@param value moonpool.shared.value
---@param ttl? number seconds
---@return true? added
---@return string? message
---@return string? code
function shared:add(key, value, ttl) end

--- The sum. `ttl` is set only by the call that makes the key.
---@param key string
---@param n? number 1
---@param ttl? number seconds
---@return number? sum
---@return string? message
---@return string? code
function shared:incr(key, n, ttl) end

---@param key string
---@return boolean? deleted
---@return string? message
---@return string? code
function shared:delete(key) end

--- Seconds it has left; math.huge if it lasts.
---@param key string
---@return number? seconds
---@return string? message
---@return string? code
function shared:ttl(key) end

--- In no order; walks the whole memory.
---@param prefix? string
---@return string[]? keys
---@return string? message
---@return string? code
function shared:keys(prefix) end
