-- Migrations: each step once, in order, whichever worker comes first. The version is SQLite's own, user_version.

local transaction = require "moonpool.sqlite.transaction"

local M = {}

local PATIENCE = 60 -- seconds that the steps of other workers are waited for

function M.check(list, level)
  if type(list) ~= "table" then
    error(("migrate: a list is wanted, got %s"):format(type(list)), level + 1)
  end
  for i, step in ipairs(list) do
    if type(step) ~= "string" and type(step) ~= "function" then
      error(("migrate: step %d must be SQL or a function(tx), got %s"):format(i, type(step)), level + 1)
    end
  end
end

local function run_step(tx, step)
  if type(step) == "string" then
    return tx:exec(step)
  end
  local results = table.pack(step(tx))
  if results.n > 1 and results[1] == nil then
    return nil, tostring(results[2]), results[3]
  end
  return true
end

-- The next step, if there is one: in a transaction of its own, which looks again, for other workers do the same.
-- → the version, and whether that was the last
local function next_step(tx, list)
  local version, message, code = tx:value "PRAGMA user_version"
  if not version then
    return transaction.ROLLBACK, nil, message, code
  elseif version > #list then
    local why = ("the database is at version %d, and %d are known"):format(version, #list)
    return transaction.ROLLBACK, nil, why, "EINVAL"
  elseif version == #list then
    return version, true
  end
  local ok
  ok, message, code = run_step(tx, list[version + 1])
  if ok then
    ok, message, code = tx:exec(("PRAGMA user_version = %d"):format(version + 1))
  end
  if not ok then
    return transaction.ROLLBACK, nil, ("step %d: %s"):format(version + 1, message), code
  end
  return version + 1, version + 1 == #list
end

--- Brings the database to the last version. → that; nil, message, code
function M.run(db, list)
  while true do
    local version, last, code = transaction.run(db, function(tx)
      return next_step(tx, list)
    end, "immediate", PATIENCE)
    if not version then
      return nil, last, code
    elseif last then
      return version
    end
  end
end

return M
