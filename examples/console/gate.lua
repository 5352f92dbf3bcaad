-- Who may come in: who knows the password. A device out of its box has none; whoever comes first chooses it.

local moonpool = require "moonpool"
local csrf = require "moonpool.csrf"
local password = require "moonpool.password"
local session = require "moonpool.session"
local settings = require "settings"

local M = {}

local SHORTEST = 8
local TRIES, WINDOW = 10, 60 -- of a password, from one address, in so many seconds
local tried = moonpool.shared "console.tries"

local function guard(req, res, next)
  if req.path == "/login" or req.path:find "^/public/" or session.get(req).data.inside then
    return next()
  elseif req.method == "GET" and req.path ~= "/live" then
    return res:redirect("/login", 303)
  end
  error { status = 401, message = "log in first" }
end

local function show(req, res, fault)
  res:header("Cache-Control", "no-store"):render("login", {
    token = csrf.field(req), device = settings.load().name, first = not settings.load().password, fault = fault,
  })
end

local function enter(req, res)
  session.get(req):regenerate().data.inside = true
  res:redirect("/", 303)
end

local function choose(req, res, word)
  if #word < SHORTEST then
    return show(req, res:status(422), ("At least %d characters, please."):format(SHORTEST))
  end
  local hash, why = password.hash(word)
  local saved = hash
  if hash then
    saved, why = settings.save { password = hash }
  end
  if not saved then
    return show(req, res:status(507), "This could not be kept: " .. why)
  end
  enter(req, res)
end

local function log_in(req, res)
  local word = req:form().password
  if type(word) ~= "string" then
    return show(req, res:status(422), "A password, please.")
  elseif (tried:incr(req.ip, 1, WINDOW) or 0) > TRIES then
    return show(req, res:status(429):header("Retry-After", tostring(WINDOW)), "Too many tries; wait a minute.")
  end
  local hash = settings.load().password
  if not hash then
    return choose(req, res, word)
  end
  local right, why = password.verify(word, hash)
  if right == nil then
    error { status = 503, message = why }
  elseif not right then
    return show(req, res:status(403), "That is not right.")
  end
  enter(req, res)
end

--- Before the routes that it guards.
function M.install(app)
  app:use(session { name = "console", store = session.shared "console.sessions", idle = 3600 })
  app:use(csrf {})
  app:use(guard)
  app:get("/login", function(req, res) show(req, res) end)
  app:post("/login", { max_body = 4096 }, log_in)
  app:post("/logout", function(req, res)
    session.get(req):destroy()
    res:redirect("/login", 303)
  end)
end

return M
