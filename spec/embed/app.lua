local moonpool = require "moonpool"
local host = require "host"
local app = moonpool.app()

app:get("/hello", function(_, res) res:text("hello " .. moonpool.worker.generation) end)
app:get("/kinds", function(_, res) res:json { host.kinds(nil, true, 1, 1.5, "x", {}) } end)
app:get("/add", function(_, res) res:json { host.add(1, 2), host.add(1.5, 2) } end)
app:get("/raise", function(_, res) res:text(select(2, pcall(function() host.add("1", 2) end))) end)
app:get("/bytes", function(_, res) res:json { #host.bytes("a\0b"), select(2, host.bytes("", 1)) } end)
app:get("/fail", function(_, res) res:json { select("#", host.bytes(5)), select(2, host.bytes(5)) } end)
app:get("/table", function(_, res)
  local t, yes = host.table()
  res:json { t.name, t.values[1], t.values[2] == nil, t.values[3] == math.mininteger, yes }
end)
app:get("/broken", function(_, res) res:text(select(2, pcall(host.broken))) end)
app:get("/quick-hold", function(_, res) res:text(tostring(host.quick_hold())) end)
app:get("/later", function(_, res) res:json { host.later(7, 20) } end)
app:get("/at-once", function(_, res) res:text(host.at_once()) end)
app:get("/where", function(_, res)
  local ok, why = pcall(table.sort, { 1, 2 }, function() return host.later(1, 1) end)
  res:text(tostring(ok) .. " " .. tostring(why))
end)
app:get("/never", function(_, res) res:text(tostring(host.never())) end)
app:get("/timeout", function(_, res)
  local ok, why = pcall(moonpool.scope, function() host.never() end, { timeout = 0.05 })
  res:text(tostring(ok) .. " " .. tostring(why))
end)
app:get("/many", function(_, res)
  local tasks, sum = {}, 0
  for i = 1, 50 do tasks[i] = moonpool.spawn(host.later, i, i % 7) end
  for _, value in ipairs(moonpool.wait_all(tasks)) do sum = sum + value end
  res:text(tostring(sum))
end)
app:get("/counts", function(_, res)
  local cancelled, completed, answer, pid = host.counts()
  res:json { cancelled = cancelled, completed = completed, answer = answer, pid = pid }
end)
app:get("/run", function(_, res)
  local r = moonpool.run { "sh", "-c", "echo out; exit 27" }
  res:json { code = r.code, out = r.stdout, nope = select(3, moonpool.run { "/nope" }) }
end)
app:get("/escape", function(_, res) -- a daemon on its way
  res:text(moonpool.run({ "sh", "-c", "setsid sleep 61.7 >/dev/null 2>&1 & echo $!" }).stdout)
end)
app:get("/child", function(_, res)
  moonpool.spawn { "sleep", "61.3" }
  res:text "started"
  moonpool.sleep(60)
end)
app:get("/offload", function(_, res)
  res:text(tostring(moonpool.wait(moonpool.offload(function()
    local n = 0
    for i = 1, 100000 do n = n + i end
    return n
  end))))
end)
app:get("/offload-spin", function(_, res)
  local task = moonpool.offload(function() while true do end end)
  moonpool.sleep(0.05)
  task:cancel()
  res:text(tostring(select(2, pcall(moonpool.wait, task, 5))))
end)
app:get("/spin", function() while true do end end)
app:get("/shared", function(_, res) res:text(tostring(moonpool.shared("n"):incr("k", 1))) end)
app:get("/setting", function(_, res) res:json(moonpool.settings) end)
app:get("/print", function(_, res)
  print "line of the app"
  res:text "ok"
end)
app:get("/wait", function(req, res)
  moonpool.sleep(tonumber(req.query.s))
  res:text "waited"
end)
app:post("/body", function(req, res) res:text(tostring(#req:body())) end)

app:static("/files", ".")

return app
