-- What the programs in this folder ask for: one route a scenario.
local moonpool = require "moonpool"
local app = moonpool.app()

app:get("/hello", function(_, res) res:text("hello world") end)

app:get("/users/:id", function(req, res)
  res:header("X-User", req.params.id):header("X-Trace", req.headers["x-trace"])
  res:text("user " .. req.params.id .. " verbose=" .. (req.query.verbose or ""))
end)

app:get("/json", function(_, res) res:json { message = "Hello, World!", n = 123 } end)

app:post("/echo", function(req, res)
  res:header("Content-Type", "application/octet-stream")
  res:finish(req:body())
end)

app:get("/events", function(_, res)
  local events, news = res:sse(), moonpool.subscribe "news"
  for text in news:values() do events:send(text) end
end)
app:get("/say", function(_, res)
  assert(moonpool.publish("news", "something new"))
  res:text "said"
end)

app:get("/spawn", function(_, res)
  local r = moonpool.run { "/bin/true" }
  res:text(tostring(r))
end)

local root = os.getenv "BENCH_ROOT" -- a folder with files
if root then
  app:get("/file/:name", function(req, res) res:file(req.params.name, { root = root }) end)
  app:static("/static", root)
end

return app
