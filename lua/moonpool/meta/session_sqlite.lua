---@meta moonpool.session_sqlite

--- A store for sessions in a table of an SQLite database.
---@param db moonpool.sqlite
---@return moonpool.session.store
return function(db) end
