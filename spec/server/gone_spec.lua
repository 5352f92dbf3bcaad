-- A client that goes away while it is told events, or while a query runs for it: both end within a second, and leave
-- nothing: no task, thread, process, descriptor, statement or processor time.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local APP = [[
local moonpool = require "moonpool"
local sqlite = require "moonpool.sqlite"
local app = moonpool.app()
local db = sqlite.open "gone.db"
local SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000000000) SELECT max(x) FROM c"
local left = 0

app:on_start(function()
  assert(db:exec "CREATE TABLE t(n)")
  assert(db:exec "INSERT INTO t VALUES(1)")
end)

local function leaving()
  return setmetatable({}, { __close = function() left = left + 1 end })
end

app:get("/events", function(_, res)
  local _ <close> = leaving()
  local events, news = res:sse { keep_alive = 0.1 }, moonpool.subscribe "news"
  moonpool.spawn(function() moonpool.sleep(60) end)
  local process <close> = moonpool.spawn { "sleep", "60" }
  for text in news:values() do events:send(text) end
end)
app:get("/query", function(_, res)
  local _ <close> = leaving()
  res:text(tostring(db:value(SLOW)))
end)
app:get("/stream/query", function(_, res)
  local _ <close> = leaving()
  local events = res:sse()
  for row in db:rows "SELECT n FROM t" do events:send(tostring(row.n)) end
  events:send(tostring(db:value(SLOW)))
end)
app:get("/left", function(_, res)
  local stats = moonpool.stats()
  res:text(("%d left, %d in flight, %d tasks, %d processes"):format(left, stats.in_flight, stats.tasks, stats.processes))
end)
-- With everything of it written back, no reader stands in the way.
app:post("/checkpoint", function(_, res)
  assert(db:exec "UPDATE t SET n = n + 1")
  res:json(assert(db:row "PRAGMA wal_checkpoint(TRUNCATE)"))
end)
return app
]]

describe("a client that goes away", function()
  local s
  before_each(function() s = server.start { app = APP } end)
  after_each(server.stop_all)

  local function begin(path)
    local c = s:connect()
    c:send(client.bytes("GET", path))
    return c
  end

  local function footprint()
    local pid = s:worker()
    return { threads = proc.field(pid, "Threads"), fds = proc.count_fds(pid), children = #proc.descendants(pid) }
  end

  local function comes_back_to(before)
    wait.until_true(function() return pcall(assert.same, before, footprint()) end, 2, "the worker's footprint of before")
  end

  -- The processor time of a worker that does nothing stands still.
  local function rests()
    local pid = s:worker()
    local before = proc.cpu(pid)
    wait.sleep(0.2)
    return proc.cpu(pid) - before < 0.05
  end

  local function ended(count)
    return s:get("/left").body == ("%d left, 1 in flight, 1 tasks, 0 processes"):format(count)
  end

  -- Once to have the threads that stay, then again and again.
  local function comes_and_goes(path, starts)
    local before
    for round, how in ipairs { "close", "rst", "close", "rst" } do
      local c = begin(path)
      starts(c)
      c[how](c)
      local took = wait.took(function()
        wait.until_true(function() return ended(round) end, 5, "the end of the request; " .. s:get("/left").body)
      end)
      assert.is_true(took < 1, how .. " took " .. took)
      wait.until_true(rests, 5, "the worker's rest")
      before = before or footprint()
    end
    comes_back_to(before)
  end

  local function head_came(c) assert.equal(200, c:head().status) end

  it("ends its stream of events, with the tasks and processes of that", function()
    comes_and_goes("/events", function(c)
      head_came(c)
      wait.until_true(function() return #proc.descendants(s:worker()) > 0 end, 5, "the process")
    end)
  end)

  it("ends its query", function()
    comes_and_goes("/query", function() wait.until_true(function() return not rests() end, 5, "the query") end)
    assert.matches('"busy":0', s:post("/checkpoint", "").body, 1, true)
  end)

  it("ends the query within its stream of events", function()
    comes_and_goes("/stream/query", function(c)
      head_came(c)
      wait.until_true(function() return not rests() end, 5, "the query")
    end)
    assert.matches('"busy":0', s:post("/checkpoint", "").body, 1, true)
  end)

  it("is one of sixty: all their streams end within a second, and the worker is as it was", function()
    begin("/events"):close()
    wait.until_true(function() return ended(1) end, 5, "the end of the first")
    wait.until_true(rests, 5, "the worker's rest")
    local before, many = footprint(), {}
    for i = 1, 60 do
      many[i] = begin "/events"
      head_came(many[i])
    end
    for _, c in ipairs(many) do c:close() end
    local took = wait.took(function() wait.until_true(function() return ended(61) end, 10, "the end of all") end)
    assert.is_true(took < 1, "it took " .. took)
    comes_back_to(before)
  end)
end)
