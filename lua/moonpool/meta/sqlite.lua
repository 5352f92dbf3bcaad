---@meta moonpool.sqlite

---@class moonpool.sqlite.module
---@field null any NULL in a table of parameters
local sqlite = {}

---@class moonpool.sqlite.options
---@field busy_timeout? number seconds to wait for a lock (5)
---@field timeout? number seconds for one query (0: none)
---@field readers? integer connections for queries that only read (2)
---@field cursors? integer loops over rows at once (16)
---@field max_rows? integer of one result (10 000)
---@field max_bytes? integer of one result (16 MiB)
---@field statements? integer prepared ones that are kept (100)
---@field journal? "wal"|"delete"|"truncate"|"persist"|"memory"|"off"
---@field synchronous? "off"|"normal"|"full"|"extra"
---@field foreign_keys? boolean true
---@field readonly? boolean

---@async
---@param path string
---@param options? moonpool.sqlite.options
---@return moonpool.sqlite? db
---@return string? message
---@return string? code
function sqlite.open(path, options) end

--- What SQLite takes as bytes instead of text.
---@param bytes string
---@return moonpool.sqlite.blob
function sqlite.blob(bytes) end

---@class moonpool.sqlite.blob

---@alias moonpool.sqlite.row table<string, any>

--- A database; may be a `<close>` variable.
---@class moonpool.sqlite
---@field path string
local db = {}

--- A list of rows.
---@async
---@param sql string
---@param ... any values for `?`, or one table of values by name
---@return moonpool.sqlite.row[]? rows
---@return string? message
---@return string? code
function db:query(sql, ...) end

--- The first row, or nil.
---@async
---@param sql string
---@param ... any
---@return moonpool.sqlite.row? row
---@return string? message
---@return string? code
function db:row(sql, ...) end

--- The first column of the first row, or nil.
---@async
---@param sql string
---@param ... any
---@return any value
---@return string? message
---@return string? code
function db:value(sql, ...) end

---@async
---@param sql string
---@param ... any
---@return { changes: integer, last_id?: integer }? done
---@return string? message
---@return string? code
function db:exec(sql, ...) end

--- The rows, some at a time; what goes wrong raises { message, code }.
---@async
---@param sql string
---@param ... any
---@return fun(): moonpool.sqlite.row?
function db:rows(sql, ...) end

--- Committed when `fn(tx)` returns, rolled back when it raises.
---@async
---@param fn fun(tx: moonpool.sqlite.transaction): any ...
---@param mode? "immediate"|"deferred"|"exclusive"
---@return any ... what fn returned, or true
function db:transaction(fn, mode) end

--- Brings a database from its version to the last step: SQL, or a function(tx).
---@async
---@param list (string|fun(tx: moonpool.sqlite.transaction))[]
---@return integer? version
---@return string? message
---@return string? code
function db:migrate(list) end

--- After what was asked for before.
function db:close() end

---@class moonpool.sqlite.transaction
local tx = {}

--- A list of rows.
---@async
---@param sql string
---@param ... any values for `?`, or one table of values by name
---@return moonpool.sqlite.row[]? rows
---@return string? message
---@return string? code
function tx:query(sql, ...) end

--- The first row, or nil.
---@async
---@param sql string
---@param ... any
---@return moonpool.sqlite.row? row
---@return string? message
---@return string? code
function tx:row(sql, ...) end

--- The first column of the first row, or nil.
---@async
---@param sql string
---@param ... any
---@return any value
---@return string? message
---@return string? code
function tx:value(sql, ...) end

---@async
---@param sql string
---@param ... any
---@return { changes: integer, last_id?: integer }? done
---@return string? message
---@return string? code
function tx:exec(sql, ...) end

--- The rows, some at a time; what goes wrong raises { message, code }.
---@async
---@param sql string
---@param ... any
---@return fun(): moonpool.sqlite.row?
function tx:rows(sql, ...) end

--- A savepoint.
---@async
---@param fn fun(tx: moonpool.sqlite.transaction): any ...
---@return any ...
function tx:transaction(fn) end

return sqlite
