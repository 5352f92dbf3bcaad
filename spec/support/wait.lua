-- Waiting for a fact, not for a while.
local host = require "host"

local M = {}

-- Sanitizers are allowed ten times as long.
M.slow = tonumber(os.getenv "SPEC_SLOW" or "1")

M.now = host.now
M.sleep = host.sleep

-- Asks `fact` until it says something true, which is returned; raises when `timeout` (seconds, times M.slow) is over.
function M.until_true(fact, timeout, what)
  local deadline = host.now() + (timeout or 5) * M.slow
  local pause = 0.002
  while true do
    local value = fact()
    if value then return value end
    if host.now() > deadline then
      error(("waited %g s in vain for %s"):format((timeout or 5) * M.slow, what or "a fact"), 2)
    end
    host.sleep(pause)
    pause = math.min(pause * 1.5, 0.05)
  end
end

-- Raises when `fact` turns true within `seconds`; for what must not happen.
function M.never(fact, seconds, what)
  local deadline = host.now() + seconds
  repeat
    if fact() then error((what or "it") .. " happened", 2) end
    host.sleep(0.01)
  until host.now() > deadline
end

-- Seconds that `fn` took, then what it returned.
function M.took(fn, ...)
  local started = host.now()
  local results = table.pack(fn(...))
  return host.now() - started, table.unpack(results, 1, results.n)
end

return M
