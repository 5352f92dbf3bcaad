---@meta _

---@alias moonpool.sink "null"|"pipe"|"inherit"|"log"|{ file: string, append?: boolean }

---@class moonpool.spawn.options
---@field [integer] string the command and its arguments
---@field input? string fed to stdin, which is closed then
---@field stdin? "null"|"pipe"|"inherit" "null"
---@field stdout? moonpool.sink
---@field stderr? moonpool.sink|"stdout"
---@field cwd? string
---@field env? table<string, string> replaces the environment
---@field setenv? table<string, string|false> edits it; false removes
---@field timeout? number seconds, then TERM to the group, and KILL after `grace`
---@field grace? number 2
---@field linger? number how long to wait for pipes that a grandchild holds (0.5)
---@field max_output? integer bytes of each stream (16 MiB)
---@field on_limit? "truncate"|"kill"
---@field leave? boolean do not end what is left of the group
---@field session? boolean setsid
---@field detach? boolean it belongs to the worker, not to the request
---@field queue_timeout? number seconds to wait for a place
---@field uid? integer|string
---@field gid? integer|string
---@field nice? integer
---@field rlimit? { cpu?: number, as?: integer, nofile?: integer, core?: integer, data?: integer, fsize?: integer, stack?: integer, nproc?: integer }
---@field check? boolean raises { message, result, code } unless it exits 0

--- May be a `<close>` variable: that stops it.
---@class moonpool.process
---@field pid integer
---@field stdin? moonpool.pipe
---@field stdout? moonpool.pipe
---@field stderr? moonpool.pipe
local p = {}

---@async
---@param timeout? number seconds
---@return moonpool.result? result
---@return string? message
---@return string? code
function p:wait(timeout) end

---@param signal? string|integer "SIGTERM"
---@param group? "group" all of its group
---@return true? sent
---@return string? message
---@return string? code
function p:kill(signal, group) end

--- TERM to the group, `grace` seconds, KILL.
---@async
---@param grace? number
---@return moonpool.result result
function p:stop(grace) end

---@class moonpool.pipe
local pipe = {}

--- What is there, 1 to n bytes, nil at the end; "a": the rest.
---@async
---@param n? integer|"a"
---@return string? bytes
---@return string? message
---@return string? code
function pipe:read(n) end

--- Lines without their end, the unfinished last one too.
---@async
---@return fun(): string?
function pipe:lines() end

--- Waits while the pipe is full.
---@async
---@param bytes string
---@return moonpool.pipe? pipe itself
---@return string? message
---@return string? code
function pipe:write(bytes) end

function pipe:close() end

--- How a process ended; tostring reads "exit 27" or "killed by SIGKILL (timeout 5 s)".
---@class moonpool.result
---@field ok boolean it exited with 0
---@field reason "exit"|"signal"|"lost"
---@field code? integer only with "exit"
---@field signal? integer only with "signal"
---@field signame? string only with "signal"
---@field core? boolean
---@field stdout? string
---@field stderr? string
---@field truncated? "stdout"|"stderr"|"both"
---@field held? boolean a grandchild held the pipes
---@field discarded? integer bytes that nobody read
---@field timed_out? boolean
---@field timeout? number seconds, where that ended it
---@field cancelled? boolean
---@field elapsed number seconds
---@field pid integer
