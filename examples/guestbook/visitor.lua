-- Who is here: a random name in a cookie, and what is remembered of its owner where all workers see it. It is forgotten
-- when the server is started anew; entries stay.

local moonpool = require "moonpool"

local M = {}

local COOKIE, DAYS = "guest", 30 * 24 * 3600
local known = moonpool.shared "guestbook.visitors"

local function save(me)
  local saved, why = known:set(me.id, moonpool.json.encode {
    token = me.token, who = me.who, name = me.name, flash = me.flash,
  }, DAYS)
  if not saved then
    moonpool.log.warn("a visitor is not remembered", { why = why })
  end
end

-- Only a name that we gave is one: a cookie that somebody else has set names nobody.
local function find(req)
  local id = req:cookie(COOKIE)
  local saved = id and #id == 32 and known:get(id)
  local me = saved and moonpool.json.decode(saved)
  if me then
    me.id = id
  end
  return me
end

local function welcome(req, res)
  local me = { id = moonpool.random(16), token = moonpool.random(16), who = moonpool.random(8) }
  res:cookie(COOKIE, me.id, { max_age = DAYS, secure = req.scheme == "https" })
  save(me)
  return me
end

--- The visitor of a request, a new one if need be; the same table all through the request.
function M.of(req, res)
  local me = req.ctx.visitor or find(req) or welcome(req, res)
  req.ctx.visitor = me
  return me
end

--- The visitor whose form this is. Another site can send a form here, but cannot know the token of its visitor.
function M.check(req, res)
  local me = M.of(req, res)
  if req:form().token ~= me.token then
    error { status = 403, message = "this form is too old; please go back, reload the page, and send it again" }
  end
  return me
end

--- Says `text` on the next page that this visitor sees, once.
function M.flash(me, text)
  me.flash = text
  save(me)
end

function M.take_flash(me)
  local text = me.flash
  if text then
    me.flash = nil
    save(me)
  end
  return text
end

return M
