-- What on_error was told, kept for an hour where every worker sees it.

local moonpool = require "moonpool"

local M = {}

local KEPT, MOST, LONGEST = 3600, 200, 4000 -- seconds, records, bytes of a traceback
local records = moonpool.shared "reports"
local counters = moonpool.shared "reports.counters"

local function key(n)
  return ("%015d"):format(n)
end

local function text_of(err)
  if type(err) == "table" and err.message then
    return tostring(err.message)
  end
  return tostring(err)
end

-- Bytes of an error may be no text, and JSON holds text alone.
local function as_text(bytes)
  return utf8.len(bytes) and bytes or (bytes:gsub("[\x80-\xFF]", "?"))
end

--- For app:on_error. It cannot wait: memory and publish do not.
function M.tell(err, traceback, what)
  local n = counters:incr "told"
  if not n then
    return moonpool.log.warn "no room for the report of an error"
  end
  local kept, why = records:set(key(n), moonpool.json.encode {
    n = n,
    at = os.date "!%Y-%m-%dT%H:%M:%SZ",
    kind = what.kind,
    text = as_text(text_of(err)),
    traceback = traceback and as_text(tostring(traceback):sub(1, LONGEST)) or nil,
    request = what.request,
    request_id = what.request_id,
    spawned_at = what.spawned_at,
    worker = what.worker,
  }, KEPT)
  if not kept then
    moonpool.log.warn("the report of an error was not kept", { why = why })
  end
  records:delete(key(n - MOST))
  moonpool.publish("reports", n) -- who misses it reads the list at the next one
end

--- The latest `n` records, newest first.
function M.latest(n)
  local keys = records:keys()
  table.sort(keys, function(a, b) return a > b end)
  local list = {}
  for i = 1, math.min(n, #keys) do
    local record = records:get(keys[i])
    if record then
      list[#list + 1] = moonpool.json.decode(record)
    end
  end
  return list
end

function M.clear()
  for _, name in ipairs(records:keys()) do
    records:delete(name)
  end
end

return M
