-- When all clients have gone: nothing may be left over.
local client = require "spec.support.client"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local M = {}

local function describe(pids)
  local lines = {}
  for _, pid in ipairs(pids) do
    local stat = proc.stat(pid) or { state = "gone" }
    lines[#lines + 1] = ("%d, %s, child of %s: %s"):format(pid, stat.state, stat.ppid, proc.command(pid))
  end
  return table.concat(lines, "\n")
end

-- All below the master are its workers, and they are as many as asked for. Escapes end by themselves within seconds.
local function only_workers(run, count)
  local workers, below
  local ok, err = pcall(wait.until_true, function()
    run.log:read()
    workers, below = run.log:workers(), run.server:descendants()
    table.sort(below)
    return #workers == count and table.concat(workers, " ") == table.concat(below, " ")
  end, 12 / wait.slow, "nothing but workers") -- before what should have been ended ends by itself
  if not ok then error(err .. "; workers: " .. table.concat(workers, " ") .. "; all that is there:\n" .. describe(below), 0) end
  return workers
end

local function no_zombies(run, workers)
  local function look()
    local list = proc.zombies(run.server.pid)
    for _, pid in ipairs(workers) do
      for _, zombie in ipairs(proc.zombies(pid)) do list[#list + 1] = zombie end
    end
    return list
  end
  local list
  if not pcall(wait.until_true, function()
    list = look()
    return #list == 0
  end, 2) then error("zombies: " .. describe(list), 0) end
end

local function parse(text)
  local fields = {}
  for name, value in text:gmatch "(%S+)=(%S+)" do fields[name] = tonumber(value) end
  return fields
end

-- Every worker's own counters: while one is held the next connection goes to another.
local function all_stats(run, workers)
  local found, n = {}, 0
  for attempt = 1, 60 do
    local hold = ("/stats?collect=1&hold=%g"):format(0.02 * math.min(attempt, 10))
    local answers = client.at_once(run.server.port, #workers + 1, function() return "GET", hold end)
    for _, r in ipairs(answers) do
      local pid = tonumber(r.headers["x-pid"])
      if not found[pid] then n = n + 1 end
      found[pid] = parse(r.body)
    end
    if n >= #workers then return found end
  end
  error("not every worker answers: " .. n .. " of " .. #workers, 0)
end

-- Our own requests are still in there: those of one worker, as many as there were at most.
local function at_rest(stats, most)
  for _, name in ipairs { "in_flight", "tasks", "connections" } do
    if stats[name] and stats[name] > most then return false, ("%s=%d"):format(name, stats[name]) end
  end
  for _, name in ipairs { "processes", "processes_queued", "offloads", "offloads_queued" } do
    if stats[name] and stats[name] ~= 0 then return false, ("%s=%d"):format(name, stats[name]) end
  end
  return true
end

local function counters_at_rest(run, workers)
  local found, why
  local ok = pcall(wait.until_true, function()
    found = all_stats(run, workers)
    for pid, stats in pairs(found) do
      local rests, what = at_rest(stats, #workers + 1)
      if not rests then
        why = ("worker %d: %s"):format(pid, what)
        return false
      end
    end
    return true
  end, 8)
  if not ok then error("not at rest: " .. tostring(why), 0) end
  return found
end

-- Descriptors of a worker: never more than at its first rest, and the same in all of them.
local function descriptors(run, workers)
  run.fds = run.fds or {}
  for _, pid in ipairs(workers) do
    local n
    local ok = pcall(wait.until_true, function()
      n = proc.count_fds(pid)
      run.fds.least = math.min(run.fds.least or n, n)
      return n <= run.fds.least
    end, 20 / wait.slow) -- files that were served stay open for some seconds
    if not ok then
      local list = {}
      for fd, target in pairs(proc.fds(pid)) do list[#list + 1] = fd .. " " .. target end
      error(("worker %d has %d descriptors, %d is enough:\n%s"):format(pid, n, run.fds.least, table.concat(list, "\n")), 0)
    end
  end
  local master = proc.count_fds(run.server.pid)
  run.fds.master = run.fds.master or master
  if master > run.fds.master then
    error(("the master has %d descriptors, it had %d"):format(master, run.fds.master), 0)
  end
end

-- What must have been told once; a worker that was killed may have taken it along.
local function tidings(run)
  local missing
  local function all_told()
    run.log:read()
    for text, expected in pairs(run.expected or {}) do
      local lost = run.kills > expected.kills or expected.worker and not run.log.ready[expected.worker]
      local least = lost and 0 or expected.least
      local n = run.log.seen[text] or 0
      if n > 1 then error(("told %d times: %s"):format(n, text), 0) end
      missing = text
      if n < least then return false end
    end
    return true
  end
  local ok, err = pcall(wait.until_true, all_told, 5, "a line")
  if not ok then error(tostring(err):find "told" and err or "never told: " .. missing, 0) end
  run.log.seen = {}
end

local function remember_memory(run, stats)
  run.memory, run.master_rss = run.memory or {}, run.master_rss or {}
  run.master_rss[#run.master_rss + 1] = proc.rss(run.server.pid)
  for pid, s in pairs(stats) do
    run.memory[pid] = run.memory[pid] or {}
    table.insert(run.memory[pid], { rss = proc.rss(pid), lua = s.lua_memory // 1024, requests = s.requests })
  end
end

-- Temporary files of forms, and what handlers made and removed again. A worker that was killed leaves its own behind.
local function no_files(run)
  local left
  local function look()
    left = {}
    for name in lfs.dir(run.temporary) do
      if name ~= "." and name ~= ".." then left[#left + 1] = name end
    end
    return #left == 0
  end
  local ok = pcall(wait.until_true, look, 2)
  if not ok and run.kills == run.kills_at_rest then error("files are left: " .. table.concat(left, " "), 0) end
  for _, name in ipairs(left) do os.remove(run.temporary .. "/" .. name) end
end

function M.judge(run, count)
  local workers = only_workers(run, count)
  no_zombies(run, workers)
  local stats = counters_at_rest(run, workers)
  descriptors(run, workers)
  tidings(run)
  no_files(run)
  run.kills_at_rest = run.kills
  local strangers = server.strangers()
  if #strangers > 0 then error("left to us:\n" .. describe(strangers), 0) end
  if #run.log.faults > 0 then error("the log has what nobody expected:\n" .. table.concat(run.log.faults, "\n"), 0) end
  remember_memory(run, stats)
  run.settled = run.version
end

-- From a worker's second rest on, when its buffers have met every operation: flat, but for what chance makes of it.
local function is_flat(what, first, last, slack)
  if last > first * 1.25 + slack then error(("%s grows: %d KiB, then %d KiB"):format(what, first, last), 0) end
end

local function each_lasting(run, fn)
  for pid, list in pairs(run.memory) do
    if #list >= 4 then fn(pid, list, list[math.max(2, #list // 3)], list[#list]) end
  end
end

function M.judge_memory(run)
  local slack = wait.slow > 1 and 65536 or 4096 -- a sanitizer keeps what was freed for a while
  each_lasting(run, function(pid, _, first, last)
    is_flat("the memory of worker " .. pid, first.rss, last.rss, slack)
    is_flat("the Lua memory of worker " .. pid, first.lua, last.lua, 512)
  end)
  local list = run.master_rss
  is_flat("the master's memory", list[math.max(1, #list // 3)], list[#list], slack)
end

function M.summary(run)
  local lines = {}
  each_lasting(run, function(pid, list, first, last)
    lines[#lines + 1] = ("worker %d: %d requests, RSS %d KiB, then %d, then %d; Lua %d KiB, then %d"):format(
      pid, last.requests, list[1].rss, first.rss, last.rss, first.lua, last.lua)
  end)
  local list = run.master_rss
  lines[#lines + 1] = ("master: RSS %d KiB, then %d; %d descriptors; a worker %d"):format(list[1], list[#list],
    run.fds.master, run.fds.least)
  return table.concat(lines, "\n")
end

return M
