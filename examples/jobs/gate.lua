-- Who may come in. Without an account everybody who can reach the server: it listens on loopback unless told otherwise.
-- With JOBS_LOGIN=name:password (several in JOBS_LOGIN_FILE, one a line) only who logs in; programs of this machine may
-- still use /api/run, if no proxy stands before them.

local moonpool = require "moonpool"
local csrf = require "moonpool.csrf"
local password = require "moonpool.password"
local session = require "moonpool.session"
local history = require "history"
local page = require "page"

local M = {}

local TRIES, WINDOW = 10, 60 -- of a password, from one address, in so many seconds
local tried = moonpool.shared "jobs.tries"
local accounts = {} -- name → true

local function lines()
  local path = os.getenv "JOBS_LOGIN_FILE"
  if path then
    return assert(moonpool.read_file(path))
  end
  return os.getenv "JOBS_LOGIN" or ""
end

--- Keeps hashes of the passwords, and makes them anew only where they have changed.
function M.open()
  for name, secret in lines():gmatch "([^:\n]+):([^\n]+)" do
    local known = history.hash_of(name)
    if not (known and password.verify(secret, known)) then
      known = assert(password.hash(secret))
      history.set_user(name, known)
    end
    accounts[name] = known
  end
end

function M.is_on()
  return next(accounts) ~= nil
end

--- Who asks, as the history says it.
function M.who(req)
  return M.is_on() and session.get(req).data.user or "-"
end

local function is_local_program(req)
  local h = req.headers
  local near = req.remote:find "^127%." or req.remote:find("[::1]", 1, true) or req.remote:find "^unix:"
  return req.path:find "^/api/run/" and near and not (h["X-Forwarded-For"] or h["Forwarded"] or h["Via"])
end

local OPEN = { ["/login"] = true, ["/style.css"] = true, ["/favicon.svg"] = true }

local function guard(req, res, next)
  if not M.is_on() or OPEN[req.path] or is_local_program(req) or session.get(req).data.user then
    return next()
  end
  if req.method == "GET" and (req.headers["Accept"] or ""):find("text/html", 1, true) then
    return res:redirect("/login", 303)
  end
  error { status = 401, message = "log in first" }
end

local function show_login(req, res, fault)
  res:html(page.login(csrf.field(req), fault))
end

local function log_in(req, res)
  local form = req:form()
  local name, secret = form.name, form.password
  if type(name) ~= "string" or type(secret) ~= "string" then
    return show_login(req, res:status(422), "Name and password, please.")
  end
  if (tried:incr(req.ip, 1, WINDOW) or 0) > TRIES then
    return show_login(req, res:status(429):header("Retry-After", tostring(WINDOW)), "Too many tries; wait a minute.")
  end
  local right, why = password.verify(secret, accounts[name])
  history.audit(name:sub(1, 40), req.ip, right and "login" or "login refused", why or "")
  if not right then
    return show_login(req, res:status(403), "That is not right.")
  end
  session.get(req):regenerate().data.user = name
  res:redirect("/", 303)
end

--- Before the routes that it guards.
function M.install(app)
  app:use(session { name = "jobs", store = session.shared "jobs.sessions", idle = 8 * 3600 })
  app:use(csrf { exempt = { "/run/*", "/api/run/*" } })
  app:use(guard)
  app:get("/login", function(req, res) show_login(req, res) end)
  app:post("/login", log_in)
  app:post("/logout", function(req, res)
    history.audit(M.who(req), req.ip, "logout")
    session.get(req):destroy()
    res:redirect(M.is_on() and "/login" or "/", 303)
  end)
end

return M
