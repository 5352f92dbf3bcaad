-- A guestbook as its visitors use it, and as those who mean it harm do.
local client = require "spec.support.client"
local server = require "spec.support.server"

local function encode(value)
  return (value:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function encoded(fields)
  local parts = {}
  for name, value in pairs(fields) do parts[#parts + 1] = name .. "=" .. encode(value) end
  return table.concat(parts, "&")
end

-- Keeps its cookie and the token of the last form, as a browser does.
local Visitor = {}
Visitor.__index = Visitor

local function visitor(s) return setmetatable({ s = s }, Visitor) end

function Visitor:ask(method, path, options)
  options = options or {}
  options.headers = options.headers or {}
  options.headers.Cookie = self.cookie
  local answer = client.request(self.s.port, method, path, options)
  self.cookie = (answer.headers["set-cookie"] or ""):match "^[^;]+" or self.cookie
  self.token = answer.body:match 'name="csrf_token" value="([%w_-]+)"' or self.token
  return answer
end

function Visitor:get(path) return self:ask("GET", path) end

function Visitor:send(path, fields)
  return self:ask("POST", path, { body = encoded(fields), headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
end

function Visitor:write(name, text)
  if not self.token then self:get "/" end
  return self:send("/entries", { csrf_token = self.token, name = name, text = text })
end

local function start(options)
  local database = os.tmpname()
  local s = server.start { app = "examples/guestbook", workers = 4,
    env = { GUESTBOOK_DB = database, GUESTBOOK_POSTS = tostring(options and options.posts or 1000) } }
  s.database = database
  return s
end

local function stop(s)
  s:stop()
  for _, suffix in ipairs { "", "-wal", "-shm", "-journal" } do os.remove(s.database .. suffix) end
end

describe("examples/guestbook", function()
  local s

  before_each(function() s = start() end)
  after_each(function() stop(s) end)

  it("takes an entry, says so once, and shows it to everybody", function()
    local me = visitor(s)
    assert.is_truthy(me:get("/").body:find("Nobody has written", 1, true))
    local answer = me:write("Ada", "Hello,\r\nworld")
    assert.are.same({ 303, "/" }, { answer.status, answer.headers.location })
    local page = me:get "/"
    assert.is_truthy(page.body:find("your entry is in the book", 1, true))
    assert.is_truthy(page.body:find("<strong>Ada</strong>", 1, true))
    assert.is_truthy(page.body:find("Hello,\nworld", 1, true))
    assert.is_truthy(page.body:find('name="name" value="Ada"', 1, true), "the name is remembered")
    assert.is_nil(me:get("/").body:find("your entry is in the book", 1, true))
    assert.is_truthy(visitor(s):get("/").body:find("<strong>Ada</strong>", 1, true))
  end)

  it("says at each field what is wrong with it, and keeps what was written", function()
    local me = visitor(s)
    local answer = me:write("", "kept & shown")
    assert.are.equal(422, answer.status)
    assert.is_truthy(answer.body:find('aria%-invalid="true" aria%-describedby="name%-error"'))
    assert.is_truthy(answer.body:find('id="name-error">Please write something here.', 1, true))
    assert.is_nil(answer.body:find("text-error", 1, true))
    assert.is_truthy(answer.body:find("kept &amp; shown</textarea>", 1, true))
    for _, bad in ipairs { { ("x"):rep(41), "a", "name" }, { "a", (" \t\n"):rep(9), "text" }, { "a", ("é"):rep(2001), "text" },
      { "a\nb", "a", "name" }, { "a", "\xFF\xFE", "text" }, { "a", "\27[31m", "text" } } do
      answer = me:write(bad[1], bad[2])
      assert.are.equal(422, answer.status)
      assert.is_truthy(answer.body:find(bad[3] .. "-error", 1, true))
    end
    assert.are.equal(400, me:write("a", "b\0c").status) -- no form at all
    assert.are.equal(303, me:write(("é"):rep(40), ("é"):rep(2000)).status)
  end)

  it("shows what was written as text, wherever it stands", function()
    local me = visitor(s)
    local evil = [["><script>alert(1)</script><img src=x onerror='a'>&lt;]]
    assert.are.equal(422, me:write(evil, "").status)
    assert.are.equal(303, me:write('"><script>alert(1)</script>', evil).status)
    for _, page in ipairs { me:get("/").body, me:write(evil, "").body, me:get("/?page=" .. encode(evil)).body } do
      assert.is_nil(page:find("<script", 1, true))
      assert.is_nil(page:find("<img", 1, true))
      assert.is_truthy(page:find("&lt;script&gt;", 1, true))
    end
    assert.is_truthy(me:get("/").headers["content-security-policy"]:find("default-src 'self'", 1, true))
  end)

  it("takes no form without the token of its visitor", function()
    local me, other = visitor(s), visitor(s)
    me:get "/"
    other:get "/"
    assert.are_not.equal(me.token, other.token)
    assert.are.equal(403, me:send("/entries", { name = "a", text = "b" }).status)
    assert.are.equal(403, me:send("/entries", { csrf_token = other.token, name = "a", text = "b" }).status)
    local stranger = visitor(s)
    assert.are.equal(403, stranger:send("/entries", { csrf_token = me.token, name = "a", text = "b" }).status)
    stranger.cookie = "guest=" .. ("0"):rep(32)
    assert.are.equal(403, stranger:send("/entries", { csrf_token = "", name = "a", text = "b" }).status)
    assert.is_truthy(me:get("/").body:find("Nobody has written", 1, true))
  end)

  it("gives its cookie to the server alone, and a new one for what is none of its own", function()
    local answer = visitor(s):get "/"
    local cookie = answer.headers["set-cookie"]
    assert.is_truthy(cookie:find("HttpOnly", 1, true) and cookie:find("SameSite=Lax", 1, true), cookie)
    local forged = visitor(s)
    forged.cookie = "guest=" .. ("a"):rep(32)
    local set = forged:get("/").headers["set-cookie"]
    assert.is_truthy(set and not set:find(("a"):rep(32), 1, true))
  end)

  it("lets everybody remove what is their own, and nothing else", function()
    local me, other = visitor(s), visitor(s)
    me:write("Ada", "mine")
    other:get "/"
    assert.is_truthy(me:get("/").body:find("/entries/1/delete", 1, true))
    assert.is_nil(other:get("/").body:find("/entries/1/delete", 1, true))
    assert.are.equal(404, other:send("/entries/1/delete", { csrf_token = other.token }).status)
    assert.are.equal(403, me:send("/entries/1/delete", { csrf_token = other.token }).status)
    assert.are.equal(404, me:send("/entries/99999999999999999999/delete", { csrf_token = me.token }).status)
    assert.are.equal(303, me:send("/entries/1/delete", { csrf_token = me.token }).status)
    assert.is_truthy(me:get("/").body:find("Nobody has written", 1, true))
  end)

  it("has ten entries a page, newest first, and takes any number of a page", function()
    local me = visitor(s)
    for i = 1, 23 do assert.are.equal(303, me:write("Ada", ("entry <%d>"):format(i)).status) end
    local function shown(path)
      local list = {}
      for n in me:get(path).body:gmatch "entry &lt;(%d+)&gt;" do list[#list + 1] = tonumber(n) end
      return list
    end
    assert.are.same({ 23, 22, 21, 20, 19, 18, 17, 16, 15, 14 }, shown "/")
    assert.are.same({ 3, 2, 1 }, shown "/?page=3")
    for path, first in pairs { ["/?page=0"] = 23, ["/?page=-1"] = 23, ["/?page=x"] = 23, ["/?page="] = 23, ["/?page=1e9"] = 23,
      ["/?page=99"] = 3, ["/?page=" .. ("9"):rep(40)] = 23 } do
      assert.are.equal(first, shown(path)[1], path)
    end
    local body = me:get("/?page=2").body
    assert.is_truthy(body:find("Page 2 of 3", 1, true))
    assert.is_truthy(body:find('rel="prev" href="/?page=1"', 1, true) and body:find('rel="next" href="/?page=3"', 1, true))
  end)

  it("takes a few entries a minute from one address, in all workers together", function()
    stop(s)
    s = start { posts = 3 }
    local statuses = {}
    for i = 1, 6 do statuses[i] = visitor(s):write("Ada", "hello").status end
    assert.are.same({ 303, 303, 303, 429, 429, 429 }, statuses)
    local answer = visitor(s):write("Ada", "not lost")
    assert.are.equal("60", answer.headers["retry-after"])
    assert.is_truthy(answer.body:find("not lost</textarea>", 1, true))
  end)

  it("keeps its entries when a worker dies, and when it is reloaded", function()
    local me = visitor(s)
    me:write("Ada", "stays")
    s:signal "HUP"
    s:wait_log("worker ready", 10, 8)
    assert.is_truthy(me:get("/").body:find("/entries/1/delete", 1, true), "the visitor is still known")
    assert.are.equal(303, me:write("Ada", "goes on").status)
  end)

  it("loses no entry of many that are written at once", function()
    local me = visitor(s)
    me:get "/"
    local body = encoded { csrf_token = me.token, name = "Ada", text = "at once" }
    local answers = client.at_once(s.port, 60, function()
      return "POST", "/entries", { body = body,
        headers = { Cookie = me.cookie, ["Content-Type"] = "application/x-www-form-urlencoded" } }
    end)
    for _, answer in ipairs(answers) do assert.are.equal(303, answer.status) end
    assert.is_truthy(me:get("/?page=6").body:find("Page 6 of 6", 1, true))
  end)
end)
