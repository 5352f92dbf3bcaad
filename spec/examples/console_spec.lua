-- The console of a device as its owner uses it, from a folder and as a bundle.
local client = require "spec.support.client"
local lfs = require "lfs"
local server = require "spec.support.server"

local FORM = "application/x-www-form-urlencoded"

local function encode(value)
  return (value:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- Keeps its cookie and the token of the last form, as a browser does.
local Owner = {}
Owner.__index = Owner

local function owner(s) return setmetatable({ s = s }, Owner) end

function Owner:ask(method, path, options)
  options = options or {}
  options.headers = options.headers or {}
  options.headers.Cookie = self.cookie
  local answer = client.request(self.s.port, method, path, options)
  self.cookie = (answer.headers["set-cookie"] or ""):match "^[^;]+" or self.cookie
  self.token = answer.body:match 'name="csrf_token" value="([%w_-]+)"' or self.token
  return answer
end

function Owner:get(path) return self:ask("GET", path) end

function Owner:send(path, fields)
  local parts = { "csrf_token=" .. self.token }
  for name, value in pairs(fields or {}) do parts[#parts + 1] = name .. "=" .. encode(value) end
  return self:ask("POST", path, { body = table.concat(parts, "&"), headers = { ["Content-Type"] = FORM } })
end

function Owner:enter(word)
  self:get "/login"
  return self:send("/login", { password = word })
end

-- What comes until the pattern is in it.
local function seen(connection, pattern)
  while not connection.buffer:find(pattern) do assert(connection:fill(), "it ended before " .. pattern) end
  return connection.buffer
end

local function contents(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a" or ""
end

describe("examples/console", function()
  local state
  before_each(function() state = os.tmpname() os.remove(state) end)
  after_each(function()
    server.stop_all()
    os.remove(state)
  end)

  local function start() return server.start { app = "examples/console", workers = 2, env = { CONSOLE_STATE = state } } end

  local function inside(s)
    local me = owner(s)
    assert.are.equal(303, me:enter("a long word").status)
    return me
  end

  it("lets in nobody before a password is chosen, and then who knows it", function()
    local s = start()
    local me, other = owner(s), owner(s)
    assert.are.equal("/login", me:get("/").headers.location)
    assert.are.equal(200, me:get("/public/style.css").status)
    assert.are.equal(422, me:enter("short").status)
    assert.are.equal(303, me:enter("a long word").status)
    assert.are.equal(200, me:get("/").status)
    assert.are.equal(403, other:enter("another word").status)
    assert.are.equal(401, other:get("/live").status)
    assert.are.equal(303, other:enter("a long word").status)
    assert.is_nil(contents(state):find("a long word", 1, true))
    other:get "/"
    assert.are.equal(303, other:send("/logout").status)
    assert.are.equal("/login", other:get("/").headers.location)
  end)

  it("tells what the device does, again and again", function()
    local s = start()
    local me = inside(s)
    assert.truthy(me:get("/").body:find("Network", 1, true))
    local live = client.connect(s.port)
    live:send(("GET /live HTTP/1.1\r\nHost: h\r\nCookie: %s\r\n\r\n"):format(me.cookie))
    seen(live, "\ndata: .*\ndata: [^\n]*\n")
    assert.truthy(live.buffer:find '"uptime":%d')
    assert.truthy(live.buffer:find '"busy":%d')
    live:close()
  end)

  it("runs a command of its list, and shows what it says", function()
    local me = inside(start())
    local answer = (me:get "/commands") and me:send "/commands/disks"
    assert.are.equal(200, answer.status)
    assert.truthy(answer.body:find("$ df -h\n", 1, true))
    assert.truthy(answer.body:find("[done]", 1, true))
    assert.are.equal(422, me:send("/commands/reboot").status)
    for _, word in ipairs { "-f", "a b", "$(id)", "", ("a"):rep(300) } do
      assert.are.equal(422, me:send("/commands/ping", { argument = word }).status)
    end
  end)

  it("answers others while a command hangs, and ends it when its reader goes", function()
    local s = start()
    local me = inside(s)
    me:get "/commands"
    local body = "csrf_token=" .. me.token
    local hanging = client.connect(s.port)
    hanging:send(("POST /commands/hang HTTP/1.1\r\nHost: h\r\nCookie: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s")
      :format(me.cookie, FORM, #body, body))
    seen(hanging, "%$ sleep")
    for _ = 1, 5 do assert.are.equal(200, me:get("/").status) end
    hanging:close()
  end)

  it("keeps what is right in the form, and shows what is wrong", function()
    local s = start()
    local me = inside(s)
    me:get "/settings"
    assert.are.equal(303, me:send("/settings", { name = "pump-7", every = "5" }).status)
    assert.truthy(me:get("/settings").body:find('value="pump-7"', 1, true))
    local kept = contents(state)
    local answer = me:send("/settings", { name = "<b>", every = "0" })
    assert.are.equal(422, answer.status)
    assert.truthy(answer.body:find('value="&lt;b&gt;"', 1, true))
    assert.are.equal(kept, contents(state))
  end)

  it("says so where nothing can be kept", function()
    local s = server.start { app = "examples/console", env = { CONSOLE_STATE = "/proc/none/console.json" } }
    local answer = owner(s):enter "a long word"
    assert.are.equal(507, answer.status)
    assert.truthy(answer.body:find("could not be kept", 1, true))
  end)

  it("is one file: moved, renamed, and run twice", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(lfs.mkdir(folder))
    local made, moved = folder .. "/console", folder .. "/device-ui"
    assert(os.execute(("%s bundle examples/console -o %s >/dev/null"):format(server.binary, made)))
    assert(os.rename(made, moved))
    for _ = 1, 2 do
      local s = server.start { binary = moved, argv = { "--listen", "127.0.0.1:0" }, env = { CONSOLE_STATE = state } }
      local me = inside(s)
      assert.are.equal(200, me:get("/").status)
      assert.truthy(me:get("/public/style.css").body:find("--accent", 1, true))
    end
    server.stop_all()
    os.execute("rm -r " .. folder)
  end)
end)
