-- At most so many jobs at once, in all workers together; the others wait in line.
--
-- A place is a key in memory that all workers share. It is held for a few seconds and prolonged by its worker, so that
-- those of a worker that died are free soon after. A worker's own jobs get places in the order in which they came.

local moonpool = require "moonpool"

local M = {}

local LEASE, LOOK = 5, 0.1 -- seconds that a place outlives its worker; between two looks for a free one
local WAITING = 500        -- in one worker

local shared = moonpool.shared "jobs.places"
local line, held = {}, {}
local mine = moonpool.worker.pid .. "-" .. moonpool.random(4)

M.MOST = math.max(1, math.tointeger(tonumber(os.getenv "JOBS_AT_ONCE")) or 8)

local function take()
  for i = 1, M.MOST do
    if not held[i] and shared:add("place " .. i, mine, LEASE) then
      held[i] = true
      return i
    end
  end
end

local function serve_line()
  while line[1] do
    local place = take()
    if not place then
      return
    end
    if not table.remove(line, 1):send(place, 0) then -- its job was given up
      held[place] = nil
      shared:delete("place " .. place)
    end
  end
end

local function release(permit)
  local place = permit.place
  permit.place = nil
  if place then
    held[place] = nil
    shared:delete("place " .. place)
    serve_line()
  end
end

local permit_meta = { __close = release }

local waiter_meta = {
  -- Who is cancelled leaves the line; the place that came meanwhile goes to the next.
  __close = function(waiter)
    for i, ch in ipairs(line) do
      if ch == waiter.channel then
        table.remove(line, i)
        break
      end
    end
    local place = not waiter.served and waiter.channel:receive(0)
    if place then
      release { place = place }
    end
  end,
}

--- Waits for a place, which is given back at the end of its block: `local place <close> = places.wait(on_wait)`.
--- `on_wait(give_up)` is called when it is not had at once. nil: too many wait, or it was given up.
function M.wait(on_wait)
  local waiter <close> = setmetatable({ channel = moonpool.channel(1) }, waiter_meta)
  if #line >= WAITING then
    return nil
  end
  line[#line + 1] = waiter.channel
  serve_line()
  if #waiter.channel == 0 then
    on_wait(function() waiter.channel:close() end)
  end
  local place = waiter.channel:receive()
  if not place then
    return nil
  end
  waiter.served = true
  return setmetatable({ place = place }, permit_meta)
end

local function prolong()
  for place in pairs(held) do
    shared:set("place " .. place, mine, LEASE)
  end
end

function M.open()
  moonpool.every(1, prolong)
  moonpool.every(LOOK, serve_line)
end

return M
