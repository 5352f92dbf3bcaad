-- One button for each way to fail, and beside it what the server told of it: the suite of "no error is lost", to try.
--
--   curl -i -X POST 127.0.0.1:8080/fail/handler     one of the ways of ways.lua
--   curl 127.0.0.1:8080/reports                     what on_error was told, by all workers, as JSON
--
-- What on_error hears is kept in memory that all workers share, so that the page shows all of it whichever worker
-- answers, and still does when a worker has died.

local moonpool = require "moonpool"
local page = require "page"
local reports = require "reports"
local ways = require "ways"

local app = moonpool.app()

app:on_error(reports.tell)

local function careful(_, res, next)
  res:header("X-Content-Type-Options", "nosniff")
  res:header("Content-Security-Policy", "default-src 'self'; form-action 'self'; frame-ancestors 'none'")
  next()
end

-- Another site's page must not press these buttons.
local function same_origin(req, _, next)
  local origin = req.headers["Origin"]
  if req.method == "POST" and origin and origin:match "^%a+://(.*)$" ~= req.host then
    error { status = 403, message = "these buttons are pressed on this site's own page only" }
  end
  next()
end

app:use(careful)
app:use(same_origin)
app:static("/public", "public")

app:get("/", function(_, res)
  res:html(page.index(ways, reports.latest(50)))
end)

app:get("/reports", function(_, res)
  res:json(moonpool.json.array(reports.latest(200)))
end)

-- The list of the page alone, for the script that keeps it fresh.
app:get("/reports/list", function(_, res)
  res:html(page.reports(reports.latest(50)))
end)

app:get("/reports/live", function(_, res)
  local news = moonpool.subscribe "reports"
  local events = res:sse()
  events:send("ready", { event = "ready" })
  while true do
    local n = news:receive(20)
    if n then
      events:send(tostring(n), { event = "report" })
    else
      events:comment()
    end
  end
end)

app:post("/reports/clear", function(_, res)
  reports.clear()
  res:redirect("/", 303)
end)

app:get("/ways", function(_, res)
  local names = moonpool.json.array {}
  for i, way in ipairs(ways) do
    names[i] = way.name
  end
  res:json(names)
end)

for _, way in ipairs(ways) do
  app:post("/fail/" .. way.name, function(req, res)
    way.run(req, res)
    if not res.sent then
      res:html(page.answer(200, "The request itself went well", "What failed did so beside it. " .. way.about))
    end
  end)
end

app:error_page(function(req, res, e)
  if (req.headers["Accept"] or ""):find("text/html", 1, true) then
    res:html(page.answer(e.status, e.message, "That is all a visitor is told. The log and on_error have the rest."))
  end
end)

return app
