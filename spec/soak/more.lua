-- The server's side, second half: scopes, channels, timers, threads, files and forms. Routes of what a build lacks are
-- not asked for.
local moonpool = require "moonpool"

local function child(n, seconds)
  return assert(moonpool.spawn { "sh", "-c", ('sleep "$1"; exit "$2"'), "soak", tostring(seconds or 0), tostring(n) })
end

local scopes = {}
function scopes.values(q)
  local n = tonumber(q.n)
  local sum = 0
  local a, b, c = moonpool.scope(function(scope)
    for i = 1, n do
      scope:spawn(function()
        moonpool.sleep(i % 5 / 1000)
        sum = sum + i
      end)
    end
    moonpool.spawn(function()
      local code = child(7):wait().code -- before sum is read: others add to it meanwhile
      sum = sum + code
    end)
    return "v", nil, 3
  end)
  return ("%s %s %s %d"):format(a, b, c, sum)
end
function scopes.first_error(q)
  local p
  local ok, err = pcall(moonpool.scope, function(scope)
    scope:spawn(function()
      p = child(0, 20)
      p:wait()
    end)
    scope:spawn(function()
      moonpool.sleep(0.01)
      error("soak: " .. q.id, 0)
    end)
    moonpool.sleep(20)
  end)
  return ("%s %s %s"):format(ok, err, p and p:wait(0).reason)
end
function scopes.deadline(q)
  local ok, err = pcall(moonpool.scope, function(scope)
    scope:spawn { "sleep", "20" }
    scope:spawn(function() pcall(moonpool.sleep, 20) end)
    moonpool.sleep(20)
  end, { timeout = tonumber(q.timeout) })
  return ("%s %s"):format(ok, err)
end
function scopes.cancel()
  local ok, err = pcall(moonpool.scope, function(scope)
    scope:spawn(function()
      moonpool.sleep(0.005)
      scope:cancel "soak"
    end)
    moonpool.run { "sleep", "20" }
  end)
  return ("%s %s"):format(ok, err == moonpool.cancelled)
end

local channels = {}
function channels.many(q)
  local n, writers, readers = tonumber(q.n), tonumber(q.writers), tonumber(q.readers)
  local ch, sum, count = moonpool.channel(tonumber(q.room)), 0, 0
  local sending, receiving = {}, {}
  for i = 1, writers do
    sending[i] = moonpool.spawn(function()
      for v = 1, n do
        assert(ch:send(v))
        if v % 7 == 0 then moonpool.sleep(0) end
      end
    end)
  end
  for i = 1, readers do
    receiving[i] = moonpool.spawn(function()
      for v in ch:values() do sum, count = sum + v, count + 1 end
    end)
  end
  moonpool.wait_all(sending)
  ch:close()
  moonpool.wait_all(receiving)
  return ("%d %d"):format(count, sum)
end
function channels.patience()
  local ch = moonpool.channel()
  local _, why = ch:receive(0.002)
  local _, still = ch:send(1, 0.002)
  local t = moonpool.spawn(ch.receive, ch)
  moonpool.sleep(0)
  ch:close()
  local _, closed = t:wait()
  return ("%s %s %s"):format(why, still, closed)
end
function channels.cancel()
  local ch = moonpool.channel()
  local gone = moonpool.spawn(ch.receive, ch)
  moonpool.sleep(0)
  gone:cancel()
  local t = moonpool.spawn(ch.receive, ch)
  assert(ch:send "for who is there")
  pcall(gone.wait, gone)
  return t:wait()
end

local turns = {}
function turns.semaphore(q)
  local n, most = tonumber(q.n), 0
  local semaphore, inside, list = moonpool.semaphore(n), 0, {}
  for i = 1, n * 4 do
    list[i] = moonpool.spawn(function()
      local permit <close> = semaphore:acquire() -- luacheck: ignore permit
      inside = inside + 1
      most = math.max(most, inside)
      moonpool.sleep(0.002)
      inside = inside - 1
      if i % 5 == 0 then error("soak", 0) end
    end)
  end
  for _, t in ipairs(list) do pcall(t.wait, t) end
  return ("%d %d"):format(most, inside)
end
function turns.limit(q)
  local limit = moonpool.limit { max = tonumber(q.max), queue = tonumber(q.queue) }
  local right, full, list = 0, 0, {}
  for i = 1, tonumber(q.n) do
    list[i] = moonpool.spawn(function()
      local r, _, code = limit:run { "sh", "-c", "sleep 0.01; exit " .. i % 256 }
      if not r and code == "EAGAIN" then full = full + 1 end
      if r and r.code == i % 256 then right = right + 1 end
    end)
  end
  moonpool.wait_all(list)
  return ("%d %d"):format(right, full)
end

local timers = {}
function timers.after(q)
  moonpool.after(0.01, function() moonpool.log.info("soak: fired " .. q.id .. ".") end)
  return "ok"
end
function timers.fails(q)
  moonpool.after(0.001, function()
    moonpool.run { "true" }
    error("soak: fired " .. q.id .. ".", 0)
  end)
  return "ok"
end
function timers.every(q)
  local n, done = 0, nil
  local here = moonpool.spawn(function()
    while not done do moonpool.sleep(0.002) end
  end)
  local timer = moonpool.every(0.002, function(timer)
    n = n + 1
    if n == tonumber(q.n) then
      timer:cancel()
      done = true
    end
  end)
  here:wait()
  moonpool.sleep(0.01)
  timer:cancel()
  return tostring(n)
end
function timers.cancelled(q)
  local timer = moonpool.after(0.005, function() moonpool.log.error("soak fired though cancelled " .. q.id) end)
  timer:cancel()
  return "ok"
end

local files = {}
function files.round_trip(q)
  local path, bytes = ("file-%s.bin"):format(q.id), ("f"):rep(tonumber(q.size))
  assert(moonpool.write_file(path, bytes))
  local back = assert(moonpool.read_file(path))
  os.remove(path)
  local _, _, code = moonpool.read_file(path)
  return ("%s %s"):format(back == bytes, code)
end

local threads = {}
function threads.sum(q)
  local n, offset = tonumber(q.n), 10
  local t = moonpool.offload(function(list)
    local sum = offset
    for _, v in ipairs(list) do sum = sum + v end
    return sum, nil, { kept = list[#list] }
  end, { 1, 2, n })
  local sum, none, back = t:wait()
  return ("%d %s %d"):format(sum, none, back.kept)
end
function threads.fails(q)
  local t = moonpool.offload(function(id) error { id = id } end, q.id)
  local ok, err = pcall(t.wait, t)
  return ("%s %s"):format(ok, err.id)
end
function threads.endless()
  local t = moonpool.offload(function()
    while true do end -- luacheck: ignore
  end)
  moonpool.sleep(0.01)
  t:cancel()
  local ok, err = pcall(t.wait, t)
  return ("%s %s"):format(ok, err == moonpool.cancelled)
end
function threads.crowd(q)
  local list = {}
  for i = 1, tonumber(q.n) do list[i] = moonpool.offload(function(x) return x * x end, i) end
  local sum = 0
  for _, v in ipairs(moonpool.wait_all(list)) do sum = sum + v end
  return tostring(sum)
end

local function by_name(app, prefix, list)
  app:get(prefix .. "/:what", function(req, res) res:text(list[req.params.what](req.query)) end)
end

return function(app)
  by_name(app, "/scope", scopes)
  by_name(app, "/channel", channels)
  by_name(app, "/turn", turns)
  by_name(app, "/timer", timers)
  by_name(app, "/whole", files)
  by_name(app, "/thread", threads)
  if app.static then app:static("/files", "public", { max_age = 5 }) end
  app:get("/file/:name", function(req, res) res:file(req.params.name, { root = "public" }) end)
  app:post("/form", function(req, res)
    local form = req:form()
    local said = { "title=" .. tostring(form.title) }
    local file = form.file
    if type(file) == "table" then
      said[#said + 1] = ("size=%d name=%s"):format(file.size, file.name)
      if req.query.save then
        local path = ("saved-%s.bin"):format(req.query.id)
        assert(file:save(path))
        local f = assert(io.open(path, "rb"))
        said[#said + 1] = "saved=" .. f:seek "end"
        f:close()
        os.remove(path)
      end
    end
    res:text(table.concat(said, " "))
  end)
  app:post("/save", function(req, res)
    local path = ("body-%s.bin"):format(req.query.id)
    assert(req:save(path))
    local f = assert(io.open(path, "rb"))
    local size = f:seek "end"
    f:close()
    os.remove(path)
    res:text(tostring(size))
  end)
end
