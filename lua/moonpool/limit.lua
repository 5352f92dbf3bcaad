-- moonpool.limit: at most so many processes and tasks at once in this worker; who comes later waits in turn, and who
-- finds the queue full is told so.

local core = require "moonpool.core"

local M = {}

local QUEUE = 1024 -- how many wait, unless the limit says so

local methods = {}
local meta = { __name = "moonpool.limit", __index = methods }

function meta:__tostring()
  return ("limit (%d at once, %d may wait)"):format(self._max, self._queue)
end

local function whole(name, value, least)
  value = math.tointeger(value)
  if not value or value < least then
    error(("limit: %s must be a whole number from %d"):format(name, least), 4)
  end
  return value
end

--- limit{ max, queue }: both by name, or in this order.
---@param options { max: integer, queue?: integer }
function M.new(options)
  if type(options) ~= "table" then
    error(("limit: a table is needed, not %s"):format(type(options)), 2)
  end
  for key in pairs(options) do
    if key ~= "max" and key ~= "queue" and key ~= 1 and key ~= 2 then
      error(("limit: unknown option %s"):format(tostring(key)), 2)
    end
  end
  local function option(name, at, least, default)
    local value = options[name]
    if value == nil then
      value = options[at]
    end
    return whole(name, value == nil and default or value, least)
  end
  local max, queue = option("max", 1, 1), option("queue", 2, 0, QUEUE)
  return setmetatable({ _max = max, _queue = queue, _gate = core.gate(max, queue) }, meta)
end

-- A permit, or nil, message, "EAGAIN". A process that would not wait longer for a place among all the worker's waits no
-- longer for one of these.
local function enter(limit, spec, what)
  if type(spec) ~= "table" then
    error(("limit: %s needs a table, not %s"):format(what, type(spec)), 3)
  end
  local patience = spec.queue_timeout
  local permit, message, code = core.gate_enter(limit._gate, type(patience) == "number" and patience or nil)
  if code == "timeout" then
    return nil, ("limit: no free place among %d within %g s"):format(limit._max, patience), "EAGAIN"
  end
  return permit, message, code
end

--- limit:run{…}: as moonpool.run, when its turn has come.
function methods:run(spec)
  local permit <close>, message, code = enter(self, spec, "run")
  if not permit then
    return nil, message, code
  end
  return core.run(spec)
end

--- limit:spawn{…} waits for its turn, then is as moonpool.spawn; the place is free again when the process has ended.
--- limit:spawn(fn, …) gives a task at once, which begins when its turn has come.
function methods:spawn(spec, ...)
  if type(spec) == "function" then
    return core.gate_spawn(self._gate, spec, ...)
  end
  local permit <close>, message, code = enter(self, spec, "spawn")
  if not permit then
    return nil, message, code
  end
  local process
  process, message, code = core.spawn(spec)
  if not process then
    return nil, message, code
  end
  core.gate_hold(permit, process) -- from here on its end gives the place back, not that of this block
  return process
end

return M
