-- moonpool.every(s, fn, { once = "pool" }): in one worker only, whichever that is.
local host = require "host"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local function app(length, options)
  return ([[
local moonpool = require "moonpool"
local app = moonpool.app()
local running = moonpool.shared "once"
moonpool.every(0.1, function()
  local beside = running:incr "n"
  moonpool.log.info(("tick pid=%%d beside=%%d at=%%d"):format(moonpool.worker.pid, beside, moonpool.now() * 1000 // 1))
  local over <close> = setmetatable({}, { __close = function() running:incr("n", -1) end })
  moonpool.sleep(%s)
end, { once = "pool"%s })
app:get("/", function(_, res) res:text "ok" end)
return app
]]):format(length, options or "")
end

describe("a timer of the pool", function()
  local s
  after_each(server.stop_all)

  local function ticks()
    local list = {}
    for pid, beside, at in s:log():gmatch "tick pid=(%d+) beside=(%d+) at=(%d+)" do
      list[#list + 1] = { pid = tonumber(pid), beside = tonumber(beside), at = tonumber(at) }
    end
    return list
  end
  local function wait_ticks(more)
    local n = #ticks() + more
    wait.until_true(function() return #ticks() >= n end, 10, more .. " ticks more")
    return ticks()
  end

  it("fires in one worker only, at its pace", function()
    s = server.start { app = app "0.01", workers = 3 }
    local list = wait_ticks(10)
    for i, tick in ipairs(list) do
      assert.are.equal(list[1].pid, tick.pid)
      assert.are.equal(1, tick.beside)
      if i > 1 then assert.is_true(tick.at - list[i - 1].at >= 80, tick.at - list[i - 1].at) end
    end
  end)

  it("is taken over when that worker dies", function()
    s = server.start { app = app "0", workers = 3 }
    for _ = 1, 3 do
      local list = wait_ticks(3)
      local holder = list[#list]
      host.kill(holder.pid, "KILL")
      wait.until_true(function()
        list = ticks()
        return list[#list].pid ~= holder.pid
      end, 5, "another's tick")
    end
  end)

  it("is taken over at a reload, and never runs beside itself", function()
    s = server.start { app = app "0.25", workers = 2 }
    for generation = 2, 4 do
      local old = s:workers()
      wait_ticks(2)
      s:signal "HUP"
      s:wait_log("worker ready.*gen=" .. generation, 10, 2)
      wait.until_true(function()
        for _, pid in ipairs(s:workers()) do
          if pid == old[1] or pid == old[2] then return false end
        end
        return true
      end, 10, "the old ones' end")
      local list = wait_ticks(2)
      assert.is_true(list[#list].pid ~= old[1] and list[#list].pid ~= old[2])
    end
    for _, tick in ipairs(ticks()) do assert.are.equal(1, tick.beside) end
  end)

  it("is known by its name wherever it is made", function()
    s = server.start { app = app("0.05", ", name = 'the one'"), workers = 2 }
    wait_ticks(2)
    server.write_file(s.app, "-- another line\n-- and one more\n" .. app("0.05", ", name = 'the one'"))
    s:signal "HUP"
    s:wait_log("worker ready.*gen=2", 10, 2)
    wait_ticks(4)
    for _, tick in ipairs(ticks()) do assert.are.equal(1, tick.beside) end
  end)
end)
