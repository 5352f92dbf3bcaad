-- A device's own console: what it does now, a few commands to look further, its settings.
--
--   app.lua        what is at which address
--   device.lua     what the kernel says of the device
--   commands.lua   the commands that may be run, and with what
--   settings.lua   what is kept: one file, replaced as a whole
--   gate.lua       the password: whoever comes first chooses it
--
-- CONSOLE_STATE names the file of the settings (console.json, where the server was started).

local moonpool = require "moonpool"
local csrf = require "moonpool.csrf"
local commands = require "commands"
local device = require "device"
local gate = require "gate"
local settings = require "settings"

local app = moonpool.app()

app:static("/public", "public")
app:templates "views"

app:use(function(_, res, next)
  res:header("X-Content-Type-Options", "nosniff"):header("Referrer-Policy", "same-origin")
  res:header("Content-Security-Policy", "default-src 'self'; form-action 'self'; frame-ancestors 'none'")
  next()
end)

gate.install(app)

local function show(req, res, vars)
  vars.token, vars.device = csrf.field(req), settings.load().name
  res:header("Cache-Control", "no-store"):render(vars.page, vars)
end

app:get("/", function(req, res)
  show(req, res, { page = "status", now = device.look(), every = settings.load().every })
end)

-- The same, again and again, for as long as somebody looks.
app:get("/live", function(_, res)
  local events = res:sse { retry = 2 }
  local before = device.look()
  while true do
    moonpool.sleep(settings.load().every)
    local now = device.look(before)
    events:send(now)
    before = now
  end
end)

app:get("/commands", function(req, res)
  show(req, res, { page = "commands", commands = commands.list })
end)

app:post("/commands/:name", { max_body = 4096 }, function(req, res)
  local argv, why = commands.argv(req.params.name, req:form().argument)
  if not argv then
    error { status = 422, message = why }
  end
  res:header("Content-Type", "text/plain; charset=utf-8"):header("Cache-Control", "no-store")
  commands.run(argv, function(piece) res:write(piece) end)
end)

app:get("/settings", function(req, res)
  show(req, res, { page = "settings", values = settings.load(), faults = {}, saved = req.query.saved })
end)

app:post("/settings", { max_body = 4096 }, function(req, res)
  local values, faults = settings.read(req:form())
  if next(faults) then
    return show(req, res:status(422), { page = "settings", values = values, faults = faults })
  end
  local saved, why = settings.save(values)
  if not saved then
    faults.file = "This could not be kept: " .. why
    return show(req, res:status(507), { page = "settings", values = values, faults = faults })
  end
  res:redirect("/settings?saved=1", 303)
end)

return app
