-- The cookies that a client keeps (RFC 6265, section 5): by name, domain and path, until they expire.

local core = require "moonpool.core"
local cookie = require "moonpool.cookie"

local M = {}
local Jar = { __name = "moonpool.test._jar" }
Jar.__index = Jar

function M.new()
  return setmetatable({ list = {} }, Jar)
end

local MONTHS = { jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6, jul = 7, aug = 8, sep = 9, oct = 10, nov = 11,
  dec = 12 }

-- Days since 1970 of a date of the Gregorian calendar.
local function days(year, month, day)
  local y = month <= 2 and year - 1 or year
  local era = y // 400
  local of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
  local of_era = (y - era * 400) * 365 + (y - era * 400) // 4 - (y - era * 400) // 100 + of_year
  return era * 146097 + of_era - 719468
end

-- "Wed, 21 Oct 2015 07:28:00 GMT" → seconds since 1970, or nil
local function read_date(text)
  local day, month, year, h, m, s = text:match("(%d+)[ -](%a%a%a)[ -](%d+) (%d+):(%d+):(%d+)")
  month = month and MONTHS[month:lower()]
  if not month then
    return nil
  end
  year = tonumber(year)
  year = year < 70 and year + 2000 or year < 100 and year + 1900 or year
  return days(year, month, tonumber(day)) * 86400 + tonumber(h) * 3600 + tonumber(m) * 60 + tonumber(s)
end

local function default_path(path)
  return path:match("^(/.*)/[^/]*$") or "/"
end

local function path_matches(path, prefix)
  local below = prefix:sub(-1) == "/" or path:sub(#prefix + 1, #prefix + 1) == "/"
  return path == prefix or path:sub(1, #prefix) == prefix and below
end

local function domain_matches(host, domain)
  return host == domain or host:sub(-#domain - 1) == "." .. domain
end

local function read_attributes(text)
  local attributes = {}
  for part in text:gmatch("[^;]+") do
    local name, value = part:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
    attributes[(name or part:match("^%s*(.-)%s*$")):lower()] = value or true
  end
  return attributes
end

local function expiry_of(attributes)
  local age = tonumber(attributes["max-age"])
  if age then
    return age <= 0 and -math.huge or core.time() + age
  end
  return type(attributes.expires) == "string" and read_date(attributes.expires) or nil
end

function Jar:remove(name, domain, path)
  for i = #self.list, 1, -1 do
    local c = self.list[i]
    if c.name == name and c.domain == domain and c.path == path then
      table.remove(self.list, i)
    end
  end
end

--- A Set-Cookie field of an answer to `url` ({ host, path }). → the cookie, or nil when it is not to be kept
function Jar:take(field, url)
  local name, raw, rest = field:match("^%s*([^=;]-)%s*=%s*([^;]*)(.*)$")
  if not name or name == "" then
    return nil
  end
  local a = read_attributes(rest)
  local path = type(a.path) == "string" and a.path:sub(1, 1) == "/" and a.path or default_path(url.path)
  local domain = type(a.domain) == "string" and a.domain:gsub("^%.", ""):lower() or nil
  if domain and not domain_matches(url.host, domain) then
    return nil
  end
  local c = { name = name, raw = raw:match("^(.-)%s*$"), value = cookie.find(name .. "=" .. raw, name) or raw,
    path = path, domain = domain or url.host, host_only = domain == nil, secure = a.secure == true,
    http_only = a.httponly == true, same_site = a.samesite, expires = expiry_of(a) }
  self:remove(name, c.domain, path)
  table.insert(self.list, c)
  return c
end

local function belongs(c, url, now)
  local host_ok = c.host_only and c.domain == url.host or not c.host_only and domain_matches(url.host, c.domain)
  return host_ok and path_matches(url.path, c.path) and (not c.secure or url.secure)
    and not (c.expires and c.expires <= now)
end

--- The Cookie field for a request, longest path first; nil for none.
function Jar:field(url)
  local parts, now = {}, core.time()
  for i, c in ipairs(self.list) do
    if belongs(c, url, now) then
      parts[#parts + 1] = { text = c.name .. "=" .. c.raw, path = c.path, at = i }
    end
  end
  table.sort(parts, function(x, y)
    return #x.path > #y.path or #x.path == #y.path and x.at < y.at
  end)
  for i, part in ipairs(parts) do
    parts[i] = part.text
  end
  return parts[1] and table.concat(parts, "; ") or nil
end

--- name → value, of those that have not expired.
function Jar:values()
  local values, now = {}, core.time()
  for _, c in ipairs(self.list) do
    if not (c.expires and c.expires <= now) then
      values[c.name] = c.value
    end
  end
  return values
end

return M
