-- The service manager's side: the socket that it names to a service, and what has come there.
local manager = require "manager"
local wait = require "spec.support.wait"

local M = {}
local Manager = {}
Manager.__index = Manager

-- `address`: a path, or "@name".
function M.open(address)
  return setmetatable({ fd = assert(manager.open(address)), address = address, messages = {} }, Manager)
end

-- Every message so far: { text, pid, at }.
function Manager:all()
  while true do
    local text, pid = manager.receive(self.fd)
    if not text then return self.messages end
    self.messages[#self.messages + 1] = { text = text, pid = pid, at = wait.now() }
  end
end

-- A message is lines of NAME=value; how many have this line (a pattern).
function Manager:count(line)
  local n = 0
  for _, message in ipairs(self:all()) do
    if ("\n" .. message.text .. "\n"):find("\n" .. line .. "\n") then n = n + 1 end
  end
  return n
end

-- Waits for the `nth` (1) message with that line; the line's captures, then the message.
function Manager:wait(line, nth, timeout)
  local found
  wait.until_true(function()
    local n = 0
    for _, message in ipairs(self:all()) do
      local captures = table.pack(("\n" .. message.text .. "\n"):match("\n(" .. line .. ")\n"))
      if captures[1] then n = n + 1 end
      if captures[1] and n == (nth or 1) then
        found = table.pack(table.unpack(captures, captures.n > 1 and 2 or 1))
        found.message = message
        return true
      end
    end
  end, timeout or 10, ("%q from the service; there were:\n%s"):format(line, self:text()))
  local message = found.message
  return found[1], message
end

function Manager:text()
  local lines = {}
  for _, message in ipairs(self:all()) do lines[#lines + 1] = message.pid .. " " .. message.text:gsub("\n", " ") end
  return table.concat(lines, "\n")
end

function Manager:close() manager.close(self.fd) end

return M
