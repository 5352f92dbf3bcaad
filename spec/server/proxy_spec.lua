-- Who the client is when proxies stand before the server, and the addresses a server can listen on.
local client = require "spec.support.client"
local server = require "spec.support.server"
local socket = require "socket"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/who", function(req, res)
  res:text(("%s %s %s %s"):format(req.ip, req.scheme, req.remote:gsub(":%d+$", ""), req.host))
end)
app:get("/remote", function(req, res) res:text(req.remote) end)
return app
]]

local function who(s, headers, before)
  local c = s:connect()
  if before then c:send(before) end
  local r = c:ask("GET", "/who", { headers = headers, host = "example.org" })
  c:close()
  assert.are.equal(200, r.status)
  return r.body
end

describe("fields that name a client", function()
  it("are not believed from anybody by default", function()
    local s = server.start { app = app }
    assert.are.equal("127.0.0.1 http 127.0.0.1 example.org", who(s, {
      ["X-Forwarded-For"] = "203.0.113.9", ["X-Forwarded-Proto"] = "https", ["X-Forwarded-Host"] = "evil.example",
      Forwarded = "for=203.0.113.9;proto=https",
    }))
    s:stop()
  end)

  it("are not believed from a proxy that is not listed", function()
    local s = server.start { app = app, args = { "--trusted-proxies", "10.0.0.0/8,unix,::1" } }
    assert.are.equal("127.0.0.1 http 127.0.0.1 example.org",
      who(s, { ["X-Forwarded-For"] = "203.0.113.9", ["X-Forwarded-Proto"] = "https" }))
    s:stop()
  end)

  describe("of trusted proxies", function()
    local s
    setup(function() s = server.start { app = app, args = { "--trusted-proxies", "127.0.0.0/8,10.0.0.0/8,2001:db8::/32" } } end)
    teardown(function() s:stop() end)

    local function names(wanted, headers)
      assert.are.equal(wanted .. " 127.0.0.1 example.org", who(s, headers))
    end

    it("are read from the right, up to the first who is not trusted", function()
      names("203.0.113.9 http", { ["X-Forwarded-For"] = "203.0.113.9" })
      names("203.0.113.9 http", { ["X-Forwarded-For"] = "1.2.3.4, 203.0.113.9, 10.1.2.3" })
      names("203.0.113.9 http", { "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 203.0.113.9, 10.1.2.3" })
      names("2001:db9::7 http", { ["X-Forwarded-For"] = "2001:db9::7, 2001:db8::1" })
      names("10.0.0.7 http", { ["X-Forwarded-For"] = "10.0.0.7" })
    end)

    it("stop at what is no address", function()
      names("10.1.2.3 http", { ["X-Forwarded-For"] = "203.0.113.9, unknown, 10.1.2.3" })
      names("127.0.0.1 http", { ["X-Forwarded-For"] = "<script>" })
    end)

    it("tell of a secure connection", function()
      names("203.0.113.9 https", { ["X-Forwarded-For"] = "203.0.113.9", ["X-Forwarded-Proto"] = "https" })
      names("203.0.113.9 http", { ["X-Forwarded-For"] = "203.0.113.9", ["X-Forwarded-Proto"] = "https, http" })
      names("203.0.113.9 https", { ["X-Forwarded-For"] = "203.0.113.9, 10.0.0.1", ["X-Forwarded-Proto"] = "https, http" })
      names("127.0.0.1 http", { ["X-Forwarded-Proto"] = "gopher" })
    end)

    it("may be those of RFC 7239", function()
      names("203.0.113.9 https", { Forwarded = "for=203.0.113.9;proto=https" })
      names("2001:db9::1 http", { Forwarded = 'for="[2001:db9::1]:4711";by=10.0.0.1;proto=http' })
      names("203.0.113.9 http", { Forwarded = 'for=1.2.3.4, for="quoted, not closed, for=203.0.113.9' })
      names("203.0.113.9 http", { Forwarded = "for=203.0.113.9", ["X-Forwarded-For"] = "203.0.113.9" })
      names("198.51.100.1 http", { Forwarded = "for=203.0.113.9", ["X-Forwarded-For"] = "198.51.100.1" })
    end)
  end)

  it("are refused by a list that holds a mistake", function()
    for _, list in ipairs { "10.0.0.0/33", "localhost", "10.0.0.0/8,nobody", "1.2.3.4/", "::/129" } do
      local s = server.launch { app = app, args = { "--trusted-proxies", list } }
      s:wait_exit()
      assert.is_truthy(s:log():find "trusted%-proxies: ")
      s:finish("exit", 2)
    end
  end)
end)

local v2 = "\r\n\r\n\0\r\nQUIT\n"

describe("the PROXY protocol", function()
  local s
  setup(function() s = server.start { app = app, args = { "--proxy-protocol", "--header-timeout", "0.5" } } end)
  teardown(function() s:stop() end)

  it("names the client, by version 1", function()
    assert.are.equal("203.0.113.9 http 203.0.113.9 example.org",
      who(s, nil, "PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n"))
    assert.are.equal("2001:db8::9 http [2001:db8::9] example.org",
      who(s, nil, "PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n"))
    assert.are.equal("127.0.0.1 http 127.0.0.1 example.org", who(s, nil, "PROXY UNKNOWN\r\n"))
  end)

  it("names the client, by version 2", function()
    local four = "\203\0\113\9\198\51\100\1" .. (">I2I2"):pack(56324, 443)
    assert.are.equal("203.0.113.9 http 203.0.113.9 example.org", who(s, nil, v2 .. "\x21\x11" .. (">s2"):pack(four)))
    local six = ("\x20\x01\x0d\xb8" .. ("\0"):rep(11) .. "\9"):rep(2) .. (">I2I2"):pack(56324, 443)
    local tls = "\x20" .. (">s2"):pack "\1\0\0\0\0"
    assert.are.equal("2001:db8::9 https [2001:db8::9] example.org", who(s, nil, v2 .. "\x21\x21" .. (">s2"):pack(six .. tls)))
    assert.are.equal("127.0.0.1 http 127.0.0.1 example.org", who(s, nil, v2 .. "\x20\0\0\0"))
  end)

  it("may come byte by byte, and once only", function()
    local c = s:connect()
    for byte in ("PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n"):gmatch "." do
      c:send(byte)
      wait.sleep(0.002)
    end
    assert.are.equal("203.0.113.9:56324", c:ask("GET", "/remote").body)
    assert.are.equal("203.0.113.9:56324", c:ask("GET", "/remote").body)
    c:send "PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n\r\n"
    assert.are.equal(400, c:response().status)
    c:close()
  end)

  it("is asked for: without it, or with a mistake in it, a connection is refused", function()
    for _, bytes in ipairs {
      "GET /who HTTP/1.1\r\nHost: h\r\n\r\n", "PROXY TCP4 203.0.113.9 198.51.100.1 56324\r\n",
      "PROXY TCP4 203.0.113.900 198.51.100.1 1 2\r\n", "PROXY TCP4 203.0.113.9 198.51.100.1 1 65536\r\n",
      "PROXY TCP6 203.0.113.9 198.51.100.1 1 2\r\n", "PROXY TCP4  203.0.113.9 198.51.100.1 1 2\r\n",
      "PROXY TCP4 203.0.113.9 198.51.100.1 1 2\n", "PROXY " .. ("x"):rep(200),
      v2 .. "\x31\x11\0\12" .. ("\0"):rep(12), v2 .. "\x21\x12\0\12" .. ("\0"):rep(12), v2 .. "\x21\x11\0\11" .. ("\0"):rep(11),
      v2 .. "\x21\x11\xff\xff",
    } do
      local c = s:connect()
      c:send(bytes)
      assert.are.equal(400, c:response().status, bytes)
      assert.is_true(c:at_eof())
      c:close()
    end
  end)

  it("must come in time", function()
    local c = s:connect()
    c:send "PROXY TCP4 203.0.113.9"
    assert.are.equal(408, c:response().status)
    c:close()
  end)

  it("is believed from listed proxies only, where there is a list", function()
    local other = server.start { app = app, args = { "--proxy-protocol", "on", "--trusted-proxies", "192.0.2.1" } }
    local c = other:connect()
    c:send "PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n"
    assert.are.equal(400, c:response().status)
    c:close()
    other:stop()
  end)

  it("goes together with forwarded fields of whom it names", function()
    local both = server.start { app = app, args = { "--proxy-protocol", "--trusted-proxies", "127.0.0.1,10.0.0.1" } }
    assert.are.equal("203.0.113.9 http 10.0.0.1 example.org",
      who(both, { ["X-Forwarded-For"] = "203.0.113.9" }, "PROXY TCP4 10.0.0.1 198.51.100.1 56324 80\r\n"))
    assert.are.equal("10.0.0.2 http 10.0.0.2 example.org",
      who(both, { ["X-Forwarded-For"] = "203.0.113.9" }, "PROXY TCP4 10.0.0.2 198.51.100.1 56324 80\r\n"))
    both:stop()
  end)
end)

local function ask(sock, path)
  sock:settimeout(5 * wait.slow)
  assert(sock:send(client.bytes("GET", path, { headers = { Connection = "close" }, host = "h" })))
  local all = assert(sock:receive "*a")
  sock:close()
  return all:match "\r\n\r\n(.*)$"
end

describe("a server", function()
  it("listens on several addresses at once, of any family", function()
    local path = os.tmpname()
    os.remove(path)
    local s = server.start { app = app, workers = 2, listen = "127.0.0.1:0", args = {
      "--listen", "[::1]:0", "--listen", "unix:" .. path, "--trusted-proxies", "unix",
    } }
    local six = tonumber(s:wait_log "listening on http://%[::1%]:(%d+)")
    assert.are.equal("127.0.0.1 http 127.0.0.1 h", ask(assert(socket.connect("127.0.0.1", s.port)), "/who"))
    local sock = assert(socket.tcp6())
    assert(sock:connect("::1", six))
    assert.are.equal("::1 http [::1] h", ask(sock, "/who"))
    local unix = assert(require "socket.unix"())
    assert(unix:connect(path))
    unix:settimeout(5 * wait.slow)
    assert(unix:send(client.bytes("GET", "/who", { host = "h", headers = { Connection = "close",
      ["X-Forwarded-For"] = "203.0.113.9" } })))
    assert.are.equal("203.0.113.9 http unix: h", assert(unix:receive "*a"):match "\r\n\r\n(.*)$")
    unix:close()
    s:stop()
    assert.is_nil(io.open(path))
  end)

  it("that listens on all addresses calls an IPv4 client by its IPv4 address", function()
    local s = server.start { app = app, listen = ":0", args = { "--trusted-proxies", "127.0.0.1" } }
    assert.are.equal("127.0.0.1 http 127.0.0.1 h", ask(assert(socket.connect("127.0.0.1", s.port)), "/who"))
    s:stop()
  end)

  it("takes a socket that it is started with", function()
    local listening = assert(socket.bind("127.0.0.1", 0))
    local _, port = listening:getsockname()
    local s = server.start { app = app, listen = "fd:" .. math.tointeger(listening:getfd()) }
    listening:close()
    assert.are.equal(tonumber(port), s.port)
    assert.are.equal("127.0.0.1 http 127.0.0.1 h", ask(assert(socket.connect("127.0.0.1", s.port)), "/who"))
    s:stop()
  end)
end)
