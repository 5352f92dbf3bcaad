-- moonpool.settings: { calls = N }. Tasks call the host by turns; each call must come back with its own value.
local moonpool = require "moonpool"
local flood = require "flood"
local app = moonpool.app()

local TASKS = 1000

local function call_often(n)
  for i = 1, n do
    local value, message, code = flood.call(i)
    while code == "EAGAIN" do
      moonpool.sleep(0)
      value, message, code = flood.call(i)
    end
    if value ~= i + 1 then error(("call %d came back with %s %s"):format(i, value, message)) end
  end
  return n
end

app:on_start(function()
  moonpool.background(function()
    local tasks, n = {}, moonpool.settings.calls // TASKS
    for i = 1, TASKS do tasks[i] = moonpool.spawn(call_often, n) end
    local sum = 0
    for _, done in ipairs(moonpool.wait_all(tasks)) do sum = sum + done end
    for i = 1, 200 do moonpool.spawn(flood.call, i) end -- under way when the server stops
    moonpool.sleep(0)
    flood.finished(sum == n * TASKS)
  end)
end)

return app
