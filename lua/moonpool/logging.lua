-- moonpool.log: debug, info, warn, error.

local core = require "moonpool.core"

local M = {}

for _, level in ipairs { "debug", "info", "warn", "error" } do
  --- moonpool.log.info(message[, fields]): one line.
  M[level] = function(message, fields)
    if type(message) ~= "string" then
      error(("log.%s: the message must be a string, got %s"):format(level, type(message)), 2)
    elseif fields ~= nil and type(fields) ~= "table" then
      error(("log.%s: the fields must be a table, got %s"):format(level, type(fields)), 2)
    end
    core.log(level, message, fields)
  end
end

return M
