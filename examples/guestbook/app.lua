-- A guestbook: a form, a database, a session, and nothing that needs JavaScript.
--
--   app.lua       what is at which address
--   entries.lua   the entries, in SQLite
--   fields.lua    what may be in the form
--   view.lua      the HTML
--
-- GUESTBOOK_DB names the database, GUESTBOOK_POSTS how many entries an address may write in a minute.

local moonpool = require "moonpool"
local csrf = require "moonpool.csrf"
local session = require "moonpool.session"
local entries = require "entries"
local fields = require "fields"
local view = require "view"

local DAYS = 30 * 24 * 3600
local POSTS, WINDOW = tonumber(os.getenv "GUESTBOOK_POSTS") or 5, 60
local written = moonpool.shared "guestbook.written"

local app = moonpool.app()

app:on_start(entries.open)
app:static("/public", "public")

app:use(function(_, res, next)
  res:header("X-Content-Type-Options", "nosniff"):header("Referrer-Policy", "same-origin")
  res:header("Content-Security-Policy", "default-src 'self'; form-action 'self'; frame-ancestors 'none'")
  next()
end)

-- All workers know a visitor, and a reload keeps them; a restart forgets them, but not what they wrote.
app:use(session {
  name = "guest", store = session.shared "guestbook.visitors", idle = DAYS, lifetime = DAYS, persist = true,
})
app:use(csrf {})

app:error_page(function(req, res, e)
  if (req.headers["Accept"] or ""):find("text/html", 1, true) then
    res:html(view.failure(e.status, e.message))
  end
end)

-- What a visitor is to the entries: a name that nobody else knows.
local function owner(me)
  me.data.who = me.data.who or moonpool.random(8)
  return me.data.who
end

-- One address gets so many entries a minute, whichever worker it meets.
local function too_many(req)
  local count = written:incr(req.ip, 1, WINDOW)
  return count and count > POSTS
end

-- Pages are numbered from 1; what is no number is the first, what is too large the last.
local function page_of(req, last)
  local wanted = math.tointeger(tonumber((req.query.page or ""):match "^%d+$")) or 1
  return math.max(1, math.min(wanted, last))
end

local function show(req, res, form)
  local me = session.get(req)
  local last = math.max(1, math.ceil(entries.count() / entries.PER_PAGE))
  local page = page_of(req, last)
  res:header("Cache-Control", "no-store")
  res:html(view.book {
    list = entries.page(page), page = page, last = last,
    who = me.data.who, token = csrf.field(req), flashes = me:flashes(),
    form = form or { values = { name = me.data.name or "" }, errors = {} },
  })
end

app:get("/", function(req, res)
  show(req, res)
end)

app:post("/entries", { max_body = 32 << 10 }, function(req, res)
  local me = session.get(req)
  local form = fields.read(req:form())
  if not form.ok then
    return show(req, res:status(422), form)
  end
  if too_many(req) then
    form.errors.text = ("That was quick: at most %d entries a minute. Please wait a little."):format(POSTS)
    return show(req, res:status(429):header("Retry-After", tostring(WINDOW)), form)
  end
  entries.add(owner(me), form.values.name, form.values.text)
  me.data.name = form.values.name
  me:flash("info", "Thank you, your entry is in the book.")
  res:redirect("/", 303)
end)

app:post("/entries/:id/delete", { max_body = 32 << 10 }, function(req, res)
  local me = session.get(req)
  local id = math.tointeger(tonumber(req.params.id:match "^%d+$"))
  if not id or not entries.remove(id, owner(me)) then
    error { status = 404, message = "there is no such entry of yours" }
  end
  me:flash("info", "Your entry has been removed.")
  res:redirect("/", 303)
end)

return app
