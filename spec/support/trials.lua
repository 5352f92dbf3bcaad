-- What a pool must bear, in any size: small in spec/pool/trials_spec.lua, whole by bench/pool.
-- Each trial starts a server of its own, returns its figures, and raises when the pool did not bear it.
local client = require "spec.support.client"
local host = require "host"
local proc = require "spec.support.proc"
local rush = require "spec.support.rush"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local M = {}

local function version(n)
  return ([[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/", function(_, res) res:text("%d " .. moonpool.worker.pid) end)
app:get("/short", function(_, res) moonpool.sleep(0.002) res:text "short" end)
app:get("/deaf", function()
  moonpool.log.info "deaf begun"
  moonpool.run { "sh", "-c", "trap '' TERM; setsid sleep 3617 & while :; do sleep 0.07; done" }
end)
app:get("/flood", function(_, res)
  local piece = ("x"):rep(65536)
  moonpool.log.info "flood begun"
  while true do res:write(piece) end
end)
app:get("/stuck", function()
  moonpool.log.info "stuck begun"
  while true do end
end)
return app
]]):format(n)
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- Under `load`, which is stopped whatever happens.
local function under(load, fn)
  local ok, err = pcall(fn)
  local done, failures, failed = load:stop()
  if not ok then error(err, 0) end
  return done, failures, failed
end

local function none(failures, what)
  if #failures > 0 then
    error(("%s: %d failed requests:\n%s"):format(what, #failures, table.concat(failures, "\n", 1, math.min(20, #failures))), 0)
  end
end

-- `count` reloads, each once every slot has the generation before; then one of a broken app.
function M.reloads(count, keep, once)
  local s = server.start { app = version(1), workers = 2 }
  local took, seconds = {}, nil
  local done, failures = under(rush.start(s.port, keep, once, "/"), function()
    local from = wait.now()
    for n = 2, count + 1 do
      server.write_file(s.app, version(n))
      local began = wait.now()
      s:signal "HUP"
      s:wait_log("reloaded gen=" .. n .. "$", 10)
      took[#took + 1] = wait.now() - began
    end
    seconds = wait.now() - from
  end)
  none(failures, count .. " reloads")
  local broken_done, broken_failures = under(rush.start(s.port, keep, once, "/"), function()
    server.write_file(s.app, "local x = = 1\n")
    s:signal "HUP"
    s:wait_log "reload failed, the old workers go on"
    wait.sleep(0.3)
  end)
  none(broken_failures, "a reload of a broken app")
  assert(s:count_log "app%.lua:1" == 1, "the broken app is not named once")
  assert(s:get("/").body:find("^" .. count + 1 .. " "), "the last good version does not answer")
  s:stop()
  return { reloads = count, requests = done, seconds = seconds, median_reload_ms = median(took) * 1000,
           broken_requests = broken_done }
end

local function sockets(pid)
  local n = 0
  for _, target in pairs(proc.fds(pid)) do
    if target:find "^socket:" then n = n + 1 end
  end
  return n
end

-- Ends it between two instructions: what it had accepted then is what may be lost, and is counted.
local function kill_counted(pid, own_sockets)
  host.kill(pid, "STOP")
  wait.until_true(function()
    local stat = proc.stat(pid)
    return not stat or stat.state == "T" or stat.state == "Z"
  end, 5, "a worker to stop")
  local accepted = sockets(pid) - own_sockets
  host.kill(pid, "KILL")
  return math.max(accepted, 0)
end

local function seconds_of_day(line)
  local h, m, s = line:match "T(%d+):(%d+):([%d.]+)Z"
  return (tonumber(h) * 60 + tonumber(m)) * 60 + tonumber(s)
end

-- From the line of a killed worker's end to that of its successor, in milliseconds; the master hears at once of both.
local function respawns(log)
  local died, list = {}, {}
  for line in log:gmatch "[^\n]+" do
    local slot = line:match "slot=(%d+)"
    if line:find "killed by SIGKILL" then died[slot] = seconds_of_day(line) end
    if line:find "worker ready" and died[slot] then
      list[#list + 1] = (seconds_of_day(line) - died[slot]) % 86400 * 1000
      died[slot] = nil
    end
  end
  return list
end

-- One of those that are ready.
local function pick(s)
  local ready = {}
  for pid in s:log():gmatch "worker ready[^\n]*pid=(%d+)" do ready[tonumber(pid)] = true end
  local list = {}
  for _, pid in ipairs(s:workers()) do
    if ready[pid] then list[#list + 1] = pid end
  end
  return list[math.random(#list)]
end

-- A worker killed each 0.3 s. No more may fail than the killed ones had accepted and not answered.
function M.kills(seconds, workers, once)
  local s = server.start { app = version(1), workers = workers }
  local own_sockets, kills, at_risk = sockets(s:worker()), 0, 0
  local done, failures, failed = under(rush.start(s.port, 0, once, "/short"), function()
    local from = wait.now()
    while wait.now() - from < seconds do
      wait.sleep(0.3)
      local pid = wait.until_true(function() return pick(s) end, 5, "a worker that is ready")
      at_risk = at_risk + kill_counted(pid, own_sockets)
      kills = kills + 1
    end
    wait.until_true(function() return #respawns(s:log()) >= kills end, 5, "the last successor")
  end)
  local took = respawns(s:log())
  s:stop()
  if failed > at_risk then
    error(("%d requests failed, %d were in the killed workers:\n%s"):format(failed, at_risk,
      table.concat(failures, "\n", 1, math.min(20, #failures))), 0)
  end
  return { kills = kills, requests = done, failed = failed, at_risk = at_risk, median_respawn_ms = median(took),
           worst_respawn_ms = took[#took] }
end

-- Connections of each worker, by its pid, as those that hold them are answered.
local function spread(s, count)
  local list, by_pid = {}, {}
  for i = 1, count do list[i] = s:connect() end
  wait.sleep(1)
  for i = 1, count do
    local pid = tonumber(list[i]:ask("GET", "/").body:match " (%d+)$")
    by_pid[pid] = (by_pid[pid] or 0) + 1
  end
  for i = 1, count do list[i]:close() end
  return by_pid
end

local function apart(s, by_pid, but)
  local least, most = math.maxinteger, 0
  for _, pid in ipairs(s:workers()) do
    local n = by_pid[pid] or 0
    if pid ~= but then least, most = math.min(least, n), math.max(most, n) end
  end
  return most - least
end

-- `count` connections, `rounds` times; then with a worker that is stuck.
function M.shares(workers, count, rounds)
  local s, worst = server.start { app = version(1), workers = workers }, 0
  for _ = 1, rounds do
    local n = apart(s, spread(s, count))
    if n > 4 then error(("%d connections on %d workers were %d apart"):format(count, workers, n), 0) end
    worst = math.max(worst, n)
    wait.sleep(0.1)
  end
  local stuck = s:connect()
  stuck:send(client.bytes("GET", "/stuck"))
  s:wait_log "stuck begun"
  wait.sleep(0.3)
  local by_pid, busy = spread(s, count), 0
  for _, pid in ipairs(s:workers()) do
    if not by_pid[pid] then busy = pid end
  end
  if busy == 0 then error("the worker that is stuck was given connections", 0) end
  local beside = apart(s, by_pid, busy)
  if beside > 4 then error(("with one stuck, the others were %d apart"):format(beside), 0) end
  stuck:close()
  s:signal "QUIT"
  s:finish("exit", 0)
  return { workers = workers, connections = count, rounds = rounds, most_apart = worst, most_apart_beside_stuck = beside }
end

-- TERM with a child that ignores it, one that has left its group, and a client that reads nothing: over within
-- --graceful-timeout and a second, and nothing is left.
function M.stops(times)
  local list = {}
  for _ = 1, times do
    local s = server.start { app = version(1), workers = 2, args = { "--graceful-timeout", "1" } }
    local deaf, flood = s:connect(), s:connect()
    deaf:send(client.bytes("GET", "/deaf"))
    flood:send(client.bytes("GET", "/flood"))
    s:wait_log "deaf begun"
    s:wait_log "flood begun"
    wait.until_true(function() return #proc.named "sleep 3617" > 0 end, 3, "the child")
    wait.sleep(0.1)
    local below = s:descendants()
    s:signal "TERM"
    list[#list + 1] = wait.took(s.wait_exit, s, 20)
    for _, pid in ipairs(below) do assert(not proc.alive(pid), "something is left: " .. pid) end
    s:finish("exit", 0)
    deaf:close()
    flood:close()
  end
  local worst = math.max(table.unpack(list))
  if worst > 2 + (wait.slow - 1) * 0.2 then error(("a stop took %.2f s"):format(worst), 0) end
  return { stops = times, median_s = median(list), worst_s = worst }
end

return M
