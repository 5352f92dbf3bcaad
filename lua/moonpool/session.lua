-- Sessions: what a server remembers of a browser from one request to the next.
--
--   app:use(require "moonpool.session" { idle = 3600 })
--   local s = req.ctx.session         or session.get(req)
--   s.data.user = 7      s:regenerate()      s:destroy()      s:flash("info", "saved")
--
-- A session is read when it is first touched, and written just before the head of the answer goes out, if it has
-- changed or is a tenth of its idle time old. Without a store all of it is in the cookie, sealed; with one, the cookie
-- has a random id. An id that the store does not know is never taken over.

local core = require "moonpool.core"
local cookie = require "moonpool.cookie"
local cookies = require "moonpool.cookies"
local log = require "moonpool.logging"
local read_options = require("moonpool.options").read
local secret = require "moonpool.secret"
local vary = require "moonpool.vary"

local M = {}
local methods = {}

local KNOWN = {
  store = "table", name = "string", idle = "seconds", lifetime = "seconds", persist = "boolean", secure = "boolean",
  same_site = { "Lax", "Strict", "None" }, path = "string", domain = "string", keys = { "string", "strings" },
}
local DEFAULTS = { name = "session", idle = 1800, lifetime = 7 * 86400, persist = false, same_site = "Lax", path = "/" }

---- records: what is kept of a session

local function fresh()
  local now = core.time()
  return { id = core.random(32), made = now, seen = now, data = {}, flashes = {} }
end

local function encode(self)
  local record = self._record
  return core.json.encode {
    id = record.id, made = record.made, seen = record.seen, data = self.data, csrf = record.csrf,
    flashes = core.json.array(record.flashes),
  }
end

-- What is in it that a save is for: all but when it was used.
local function content(self)
  local record = self._record
  return core.json.encode { id = record.id, data = self.data, csrf = record.csrf,
    flashes = core.json.array(record.flashes) }
end

local function is_empty(self)
  local record = self._record
  return next(self.data) == nil and #record.flashes == 0 and not record.csrf
end

-- A record that was read, if it holds good: nil otherwise.
local function judge(options, text)
  local record = text and core.json.decode(text)
  local now = core.time()
  if type(record) ~= "table" or type(record.data) ~= "table" or type(record.made) ~= "number"
    or type(record.seen) ~= "number" or type(record.id) ~= "string" then
    return nil
  elseif now >= record.seen + options.idle or now >= record.made + options.lifetime then
    log.debug "a session has expired"
    return nil
  end
  record.flashes = type(record.flashes) == "table" and record.flashes or {}
  return record
end

---- where it is kept

local function find_sealed(options, name, field)
  for _, text in ipairs(cookie.all(field, name)) do
    local record = judge(options, cookies.open(name, text, { keys = options.keys }))
    if record then
      return record
    end
  end
end

local function find_stored(options, name, field)
  for _, id in ipairs(cookie.all(field, name)) do
    if #id == 64 and not id:find("%X") then
      local text, message, code = options.store:load(id)
      if text == nil and code then
        log.error("a session cannot be read", { error = tostring(message) })
        error({ status = 503, message = "sessions cannot be read at the moment" }, 0)
      end
      local record = judge(options, text)
      if record and core.same(record.id, id) then
        return record
      end
    end
  end
end

local function cookie_options(self, max_age)
  local options = self._options
  return { path = options.path, domain = options.domain, same_site = options.same_site, secure = self._secure,
    max_age = max_age }
end

local function left(self)
  local options, record = self._options, self._record
  return math.max(1, math.min(options.idle, record.made + options.lifetime - core.time()))
end

local function set_cookie(self, value)
  local options = self._options
  local max_age = options.persist and math.ceil(left(self)) or nil
  local field = cookie.format(self._name, value, cookie_options(self, max_age), 0)
  if #field > cookies._MOST then
    error(("session: its cookie would have %d bytes, and browsers keep %d; keep less, or use a store")
      :format(#field, cookies._MOST), 0)
  end
  self._field = field
end

-- Keeps what is there now. `was`: the store has it already, and if it does not any more, somebody has ended it.
local function keep(self)
  local options, record = self._options, self._record
  record.seen = core.time()
  if not options.store then
    return set_cookie(self, cookies.seal(self._name, encode(self), { max_age = left(self), keys = options.keys }))
  end
  self._failed = true
  local ok, message = options.store:save(record.id, encode(self), left(self), self._stored == record.id)
  self._failed = ok == nil
  if ok == nil then
    log.error("a session cannot be kept", { error = tostring(message) })
    error({ status = 503, message = "sessions cannot be kept at the moment" }, 0)
  elseif ok == false then
    log.debug "a session was ended while it was used"
    self._field = cookie.format(self._name, "", cookie_options(self, 0), 0)
    return
  end
  self._stored = record.id
  set_cookie(self, record.id)
end

---- the object

local function load_session(self)
  if rawget(self, "_record") then
    return self
  end
  local find = self._options.store and find_stored or find_sealed
  local record = find(self._options, self._name, self._sent)
  rawset(self, "_record", record or fresh())
  rawset(self, "_stored", record and record.id or nil)
  rawset(self, "data", self._record.data)
  rawset(self, "_kept", content(self))
  rawset(self, "_had", record ~= nil)
  return self
end

local meta = { __name = "moonpool.session" }

function meta.__index(self, key)
  if key == "data" then
    return rawget(load_session(self), "data")
  elseif key == "id" then
    return load_session(self)._record.id
  elseif key == "is_new" then
    return not load_session(self)._had
  end
  return methods[key]
end

function meta.__newindex(self, key, value)
  if type(key) == "string" and key:sub(1, 1) == "_" then
    rawset(self, key, value)
  elseif key ~= "data" or type(value) ~= "table" then
    error(("session.%s cannot be set; keep what is yours in session.data"):format(tostring(key)), 2)
  else
    rawset(load_session(self), "data", value)
  end
end

--- Writes it now, for a store that has to wait; may be called more than once.
function methods.save(self)
  load_session(self)
  if is_empty(self) and not self._had then
    return
  end
  local now = content(self)
  if now ~= self._kept or core.time() - self._record.seen > self._options.idle / 10 then
    keep(self)
    self._kept, self._had = now, true
  end
end

local function forget(self)
  local store = self._options.store
  if store and self._stored then
    local ok, message = store:delete(self._stored)
    if ok == nil then
      log.error("a session cannot be ended", { error = tostring(message) })
      error({ status = 503, message = "sessions cannot be ended at the moment" }, 0)
    end
  end
  self._stored = nil
end

--- A new id and a new life for the same data: to be called whenever somebody logs in or gets more rights, so that an id
--- that was planted before is worth nothing.
function methods.regenerate(self)
  load_session(self)
  forget(self)
  local record = fresh()
  record.flashes = self._record.flashes
  self._record, self._kept = record, ""
  return self
end

--- Ends it: the data is gone, here and in the store, and so is the cookie.
function methods.destroy(self)
  load_session(self)
  forget(self)
  self._record = fresh()
  rawset(self, "data", {})
  self._kept, self._had = content(self), false
  self._field = cookie.format(self._name, "", cookie_options(self, 0), 0)
end

--- A message for the next page that shows them.
function methods.flash(self, kind, message)
  if type(kind) ~= "string" or type(message) ~= "string" then
    error(("flash: kind and message must be strings, got %s and %s"):format(type(kind), type(message)), 2)
  end
  local flashes = load_session(self)._record.flashes
  flashes[#flashes + 1] = { kind = kind, message = message }
  return self
end

--- All of these messages, oldest first; they are gone then.
---@return { kind: string, message: string }[]
function methods.flashes(self)
  local flashes = load_session(self)._record.flashes
  self._record.flashes = {}
  return flashes
end

--- The secret that a form's token hides (moonpool.csrf): 32 bytes as hex; nil where there is none yet.
function methods._csrf_secret(self)
  return load_session(self)._record.csrf
end

function methods._new_csrf_secret(self)
  local record = load_session(self)._record
  record.csrf = core.random(32)
  return record.csrf
end

-- A word to who has a store that waits, beside the error that this is.
local hint = setmetatable({}, {
  __close = function(_, err)
    if type(err) == "string" and err:find("cannot wait", 1, true) then
      log.error "session: its store waits, and just before the head nothing can; call s:save() before the answer"
    end
  end,
})

-- What could not be kept is not tried again for the answer that says so.
local function before_head(self, res)
  if not rawget(self, "_record") or self._failed then
    return
  end
  local _ <close> = hint
  self:save()
  vary.add(res, "Cookie")
  if self._field then
    res:add_header("Set-Cookie", self._field)
    if not res:header "Cache-Control" then
      res:header("Cache-Control", "private, no-cache")
    end
  end
end

local function check_store(store)
  for _, name in ipairs { "load", "save", "delete" } do
    if type(store[name]) ~= "function" then
      error("session: store has no method " .. name, 4)
    end
  end
end

local function read(given)
  local options = read_options("session", given, KNOWN, DEFAULTS, 3)
  if options.store then
    check_store(options.store)
  else
    options.keys = options.keys and secret.check(options.keys, "session: keys", 3) or nil
    local ok, why = pcall(secret.keys, "sealed cookie", options.keys)
    if not ok then
      error("session: " .. tostring(why), 3)
    end
  end
  if options.same_site == "None" and options.secure == false then
    error("session: same_site = None needs secure", 3)
  end
  cookie.format(options.name, "", { path = options.path, domain = options.domain }, 3)
  return options
end

-- A name that only this host can set, over https (RFC 6265bis, 4.1.3.2): a neighbour cannot plant a cookie under it.
local function name_of(options, is_secure)
  local bound = is_secure and options.path == "/" and not options.domain and options.name:sub(1, 2) ~= "__"
  return (bound and "__Host-" or "") .. options.name
end

--- The middleware.
local function new(given)
  local options = read(given)
  return function(req, res, next)
    local is_secure = options.secure
    if is_secure == nil then
      is_secure = req.scheme == "https" or options.same_site == "None"
    end
    local self = setmetatable({ _options = options, _secure = is_secure, _name = name_of(options, is_secure),
      _sent = req.headers["Cookie"] }, meta)
    req.ctx.session = self
    res:on_head(function() before_head(self, res) end)
    next()
  end
end

--- The session of a request; raises where the middleware has not run.
function M.get(req)
  local self = req.ctx.session
  if getmetatable(self) ~= meta then
    error("session: there is none here; app:use(require \"moonpool.session\" {}) comes first", 2)
  end
  return self
end

---- the store in the memory of the pool

local Shared = { __name = "moonpool.session.store" }
Shared.__index = Shared

function Shared:load(id)
  return self._map:get(id)
end

-- Between the look and the set another worker may end it: then it lives on for that one request's answer, at most
-- until its time is over. The look makes this a matter of microseconds instead of the length of a request.
function Shared:save(id, text, ttl, was)
  if was and self._map:get(id) == nil then
    return false
  end
  return self._map:set(id, text, ttl)
end

function Shared:delete(id)
  local ok, message, code = self._map:delete(id)
  if code then
    return nil, message, code
  end
  return ok or false
end

--- A store in moonpool.shared: all workers see it, a reload keeps it, a restart of the server does not.
---@param name string?
function M.shared(name)
  return setmetatable({ _map = core.shared(name or "moonpool.sessions") }, Shared)
end

return setmetatable(M, { __call = function(_, given) return new(given) end })
