-- Processes as /proc shows them.
local host = require "host"
local lfs = require "lfs"

local M = {}

local function slurp(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

-- nil once the process is gone. The name may hold anything, so fields are counted from behind its last parenthesis.
function M.stat(pid)
  local text = slurp(("/proc/%d/stat"):format(pid))
  local rest = text and text:match "^.*%)%s(.*)$"
  if not rest then return nil end
  local state, ppid, group, session = rest:match "^(%S+) (%d+) (%d+) (%d+)"
  if not state then return nil end
  return { pid = pid, state = state, ppid = tonumber(ppid), group = tonumber(group), session = tonumber(session) }
end

-- A zombie is not alive: it has ended and waits to be asked.
function M.alive(pid)
  local stat = M.stat(pid)
  return stat ~= nil and stat.state ~= "Z" and stat.state ~= "X"
end

function M.all()
  local list = {}
  for name in lfs.dir "/proc" do
    local stat = tonumber(name) and M.stat(tonumber(name))
    if stat then list[#list + 1] = stat end
  end
  return list
end

local function pids_where(test)
  local pids = {}
  for _, stat in ipairs(M.all()) do
    if test(stat) then pids[#pids + 1] = stat.pid end
  end
  table.sort(pids)
  return pids
end

function M.children(pid)
  return pids_where(function(stat) return stat.ppid == pid and stat.state ~= "Z" end)
end

function M.zombies(pid)
  return pids_where(function(stat) return stat.ppid == pid and stat.state == "Z" end)
end

-- All below `pid`, itself not included, zombies left out.
function M.descendants(pid)
  local below, found = { [pid] = true }, {}
  local list = M.all()
  repeat
    local grown = false
    for _, stat in ipairs(list) do
      if below[stat.ppid] and not below[stat.pid] then
        below[stat.pid], grown = true, true
        if stat.state ~= "Z" then found[#found + 1] = stat.pid end
      end
    end
  until not grown
  table.sort(found)
  return found
end

function M.command(pid)
  local text = slurp(("/proc/%d/cmdline"):format(pid)) or ""
  return (text:gsub("%z", " "):gsub("%s+$", ""))
end

-- Alive processes whose command line has `text` in it: a child is found again by a word only it was given.
function M.named(text)
  return pids_where(function(stat)
    return stat.state ~= "Z" and stat.pid ~= host.pid() and M.command(stat.pid):find(text, 1, true) ~= nil
  end)
end

-- Descriptor number -> what it points to.
function M.fds(pid)
  local fds = {}
  local ok, iterate, dir = pcall(lfs.dir, ("/proc/%d/fd"):format(pid))
  if not ok then return fds end
  for name in iterate, dir do
    if tonumber(name) then fds[tonumber(name)] = host.readlink(("/proc/%d/fd/%s"):format(pid, name)) end
  end
  return fds
end

function M.count_fds(pid)
  local n = 0
  for _ in pairs(M.fds(pid)) do n = n + 1 end
  return n
end

-- One line of /proc/PID/status, as in field(pid, "SigIgn").
function M.field(pid, name)
  local text = slurp(("/proc/%d/status"):format(pid)) or ""
  return text:match("\n" .. name .. ":%s*([^\n]*)")
end

-- Seconds of CPU that it has used, itself and the kernel for it.
function M.cpu(pid)
  local text = slurp(("/proc/%d/stat"):format(pid)) or ""
  local user, system = text:match "^.*%)%s%S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)"
  return (tonumber(user or 0) + tonumber(system or 0)) / 100 -- USER_HZ, on every Linux
end

-- Memory that is its own and no file's, in KiB.
function M.anonymous(pid)
  return tonumber((M.field(pid, "RssAnon") or ""):match "%d+")
end

-- Resident memory in KiB.
function M.rss(pid)
  return tonumber((M.field(pid, "VmRSS") or ""):match "%d+")
end

return M
