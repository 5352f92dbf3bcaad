-- What the kernel says of the device, as /proc has it. A file that is not there leaves its figures out.

local moonpool = require "moonpool"

local M = {}

-- Those files are made when they are read, and wait for nothing.
local function contents(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

local function cpu()
  local user, nice, system, idle, wait = contents("/proc/stat"):match "^cpu%s+(%d+) (%d+) (%d+) (%d+) (%d+)"
  if not user then
    return nil
  end
  local busy, rest = user + nice + system, idle + wait
  return { busy = busy, all = busy + rest }
end

local function memory()
  local text = contents "/proc/meminfo"
  local total, free = text:match "MemTotal:%s+(%d+)", text:match "MemAvailable:%s+(%d+)"
  return total and { total = total * 1024, used = (total - free) * 1024 }
end

-- A name, then eight figures of what was received and eight of what was sent: bytes come first.
local INTERFACE = "(%S+):%s*(%d+)" .. ("%s+%d+"):rep(7) .. "%s+(%d+)"

local function network()
  local list = {}
  for name, received, sent in contents("/proc/net/dev"):gmatch(INTERFACE) do
    list[#list + 1] = { name = name, received = tonumber(received), sent = tonumber(sent) }
  end
  return list
end

local function share(now, before)
  local all = now.all - before.all
  return all > 0 and (now.busy - before.busy) / all or 0
end

local function add_rates(now, before)
  local seconds = now.at - before.at
  local known = {}
  for _, line in ipairs(before.network) do
    known[line.name] = line
  end
  for _, line in ipairs(now.network) do
    local old = known[line.name]
    if old and seconds > 0 then
      line.received_rate = math.max(0, line.received - old.received) / seconds
      line.sent_rate = math.max(0, line.sent - old.sent) / seconds
    end
  end
end

--- What is so now; with what was so `before`, rates too.
function M.look(before)
  local load, processes = contents("/proc/loadavg"):match "^(%S+) %S+ %S+ %d+/(%d+)"
  local now = {
    at = moonpool.now(),
    uptime = tonumber(contents("/proc/uptime"):match "^%S+"),
    load = tonumber(load),
    processes = tonumber(processes),
    cpu = cpu(),
    memory = memory(),
    network = network(),
  }
  if before then
    add_rates(now, before)
    now.busy = now.cpu and before.cpu and share(now.cpu, before.cpu)
  end
  return now
end

return M
