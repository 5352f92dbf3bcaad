-- The server's log as it grows: which workers are ready, and lines that nobody expected.
local M = {}
local Log = {}
Log.__index = Log

function M.open(path)
  return setmetatable({
    file = assert(io.open(path, "rb")), rest = "",
    ready = {},      -- pid -> slot, of workers that are ready and were not told to leave
    generation = 0,
    killed = {},     -- pid -> the signal that the mixer sent
    broken = 0,      -- reloads that failed
    decided = 0,     -- reloads that failed, or of which the first worker was ready
    breaking = 0,    -- workers that may yet fail to load
    faults = {},     -- lines that must not be there
    seen = {},       -- "soak: …" -> how often
  }, Log)
end

-- Errors that the mixer provokes, and lines that belong to them.
local function is_expected(log, line)
  if line:find "soak: " then return true end
  if line:find "reload failed, the old workers go on" then return true end
  local pid, how = line:match "worker %d+ %(pid (%d+)%) (.-) after "
  if how == "exited 3" and log.breaking > 0 then
    log.breaking = log.breaking - 1
    return true
  end
  local signal = log.killed[tonumber(pid)]
  return signal == "KILL" and how == "killed by SIGKILL" or signal == "TERM" and (how == "exited 0" or how == "left")
end

local never = {
  "moonpool: bug", "broken invariant", "Sanitizer", "runtime error: ", "not drained in time", "did not leave in time",
  "says what nobody understands", "few descriptors",
}

local function judge_line(log, line)
  for _, word in ipairs(never) do
    if line:find(word, 1, true) then log.faults[#log.faults + 1] = line end
  end
  -- One that was told to leave by the mixer may be gone when the master tells it, too.
  local deaf = line:match "hears nothing any more.* pid=(%d+)"
  if deaf and not log.killed[tonumber(deaf)] then log.faults[#log.faults + 1] = line end
  -- One that was killed before its first answer counts as a death at boot. In a row there are few of those.
  local deaths = line:match "starting it again after a pause.* deaths=(%d+)"
  if deaths and tonumber(deaths) > 4 then log.faults[#log.faults + 1] = line end
  if line:find "^%S+Z %a+ error " and not is_expected(log, line) then log.faults[#log.faults + 1] = line end
end

local function follow_workers(log, line)
  local slot, generation, pid = line:match "worker ready slot=(%d+) gen=(%d+) pid=(%d+)"
  if pid then
    log.ready[tonumber(pid)] = tonumber(slot)
    log.generation = math.max(log.generation, tonumber(generation))
  end
  local gone = line:match "worker left, .* pid=(%d+)" or line:match "worker %d+ %(pid (%d+)%)"
  if gone then log.ready[tonumber(gone)] = nil end
  if line:find "reload failed" then log.broken = log.broken + 1 end
  if line:find "reload failed" or line:find "new generation proven" then log.decided = log.decided + 1 end
end

local function take_line(log, line)
  judge_line(log, line)
  follow_workers(log, line)
  -- Once for each telling: an error's line, not the traceback below it.
  local said = line:find "^%S+Z " and (line:match "soak: kept %d+%. code=%d+" or line:match "soak: %a+ %d+%.")
  if said then
    log.seen[said] = (log.seen[said] or 0) + 1
  end
end

function Log:read()
  local bytes = self.file:read "a"
  if not bytes or bytes == "" then return end
  self.rest = self.rest .. bytes
  local at = 1
  for line, after in self.rest:gmatch "([^\n]*)\n()" do
    take_line(self, line)
    at = after
  end
  self.rest = self.rest:sub(at)
end

-- Workers that are ready, by number.
function Log:workers()
  local pids = {}
  for pid in pairs(self.ready) do pids[#pids + 1] = pid end
  table.sort(pids)
  return pids
end

-- From here on its place is not taken until the next one is ready.
function Log:has_to_go(pid, signal)
  self.killed[pid], self.ready[pid] = signal, nil
end

function Log:all_ready(count) return #self:workers() == count end

return M
