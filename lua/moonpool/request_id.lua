-- The request's id in its answer, so that a user can name it and the log has it. Whether an id that came with the
-- request is taken over is decided by --trusted-proxies.

local read_options = require("moonpool.options").read

local M = {}

--- request_id{ header }
local function new(given)
  local options = read_options("request_id", given, { header = "string" }, { header = "X-Request-Id" }, 2)
  if not options.header:find "^[%w_-]+$" then
    error("request_id: header must be the name of a field", 2)
  end
  return function(req, res, next)
    res:header(options.header, req.id)
    next()
  end
end

return setmetatable(M, { __call = function(_, given) return new(given) end })
