local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local calls = 0

app:use(function(_, _, next)
  calls = calls + 1
  next()
end)
app:get("/calls", function(_, res) res:text(tostring(calls)) end)
app:get("/hello", function(_, res) res:text "hi" end)
app:get("/number/:n", function(req, res) res:text("number " .. req.params.n) end)
app:any("/echo", function(req, res) res:text(req:body()) end)
app:post("/unread", function(_, res) res:text "not read" end)
app:post("/unread-slow", function(_, res)
  moonpool.sleep(0.1)
  res:text "not read"
end)
app:get("/empty", function() end)
app:get("/slow", function(req, res)
  local before = req.headers["x-mark"] .. req.path
  moonpool.sleep(0.15)
  res:text(before .. "|" .. req.headers["x-mark"] .. req.path)
end)
app:get("/stream", function(_, res)
  for _, piece in ipairs { "one,", "two,", "three" } do
    res:write(piece)
    moonpool.sleep(0.01)
  end
end)
app:get("/cut", function(_, res)
  res:write "begun"
  moonpool.sleep(0.05)
  error "broken off"
end)
return app
]]

local function chunked(path, chunks, headers)
  return client.bytes("POST", path, { chunks = chunks, headers = headers })
end

describe("HTTP", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  local function exchange(bytes, method)
    local c = s:connect()
    assert(c:send(bytes))
    local r = c:response(method)
    return r, c
  end

  describe("connections", function()
    it("stay open for the next request", function()
      local c = s:connect()
      for n = 1, 5 do
        local r = c:ask("GET", "/number/" .. n)
        assert.are.equal(200, r.status)
        assert.are.equal("number " .. n, r.body)
      end
      c:close()
    end)

    it("close after the answer when the client asks for it", function()
      local r, c = exchange(client.bytes("GET", "/hello", { headers = { Connection = "close" } }))
      assert.are.equal("hi", r.body)
      assert.are.equal("close", r.headers.connection)
      assert.is_true(c:at_eof())
      c:close()
    end)

    it("close after an answer to HTTP/1.0", function()
      local r, c = exchange("GET /hello HTTP/1.0\r\n\r\n")
      assert.are.equal("hi", r.body)
      assert.is_true(c:at_eof())
      c:close()
    end)

    it("stay open for a 1.0 client that asks for keep-alive", function()
      local r, c = exchange("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
      assert.are.equal("hi", r.body)
      assert.are.equal("keep-alive", r.headers.connection)
      assert.are.equal("hi", c:ask("GET", "/hello").body)
      c:close()
    end)

    it("do not answer what comes behind Connection: close", function()
      local one = client.bytes("GET", "/hello", { headers = { Connection = "close" } })
      local _, c = exchange(one .. client.bytes("GET", "/number/2"))
      assert.is_true(c:at_eof())
      c:close()
    end)

    it("answer a client that has closed its half", function()
      local c = s:connect()
      c:send(client.bytes("GET", "/slow", { headers = { ["X-Mark"] = "h" } }))
      c:half_close()
      assert.are.equal("h/slow|h/slow", c:response().body)
      assert.is_true(c:at_eof())
      c:close()
    end)

    it("that come and go without a word do no harm", function()
      for n = 1, 20 do
        local c = s:connect()
        if n % 2 == 0 then c:rst() else c:close() end
      end
      assert.are.equal("hi", s:get("/hello").body)
    end)

    it("accept a request byte by byte", function()
      local c = s:connect()
      for byte in client.bytes("POST", "/echo", { body = "drop by drop" }):gmatch "." do c:send(byte) end
      assert.are.equal("drop by drop", c:response().body)
      c:close()
    end)
  end)

  describe("pipelining", function()
    it("answers in order", function()
      local c, all = s:connect(), {}
      for n = 1, 10 do all[n] = client.bytes("GET", "/number/" .. n) end
      c:send(table.concat(all))
      for n = 1, 10 do assert.are.equal("number " .. n, c:response().body) end
      c:close()
    end)

    it("loses no byte behind a handler that waits, and mixes none into it", function()
      local c = s:connect()
      c:send(client.bytes("GET", "/slow", { headers = { ["X-Mark"] = "first" } })
        .. client.bytes("POST", "/echo", { body = ("x"):rep(3000) })
        .. client.bytes("GET", "/slow", { headers = { ["X-Mark"] = "third" } })
        .. client.bytes("GET", "/number/4"))
      assert.are.equal("first/slow|first/slow", c:response().body)
      assert.are.equal(("x"):rep(3000), c:response().body)
      assert.are.equal("third/slow|third/slow", c:response().body)
      assert.are.equal("number 4", c:response().body)
      c:close()
    end)

    it("goes on behind a body that the handler did not read", function()
      for _, path in ipairs { "/unread", "/unread-slow" } do
        local c = s:connect()
        c:send(client.bytes("POST", path, { body = ("b"):rep(5000) }) .. client.bytes("GET", "/number/2"))
        assert.are.equal("not read", c:response().body)
        assert.are.equal("number 2", c:response().body)
        c:close()
      end
    end)

    it("sends the good answer before it refuses what follows", function()
      local c = s:connect()
      c:send(client.bytes("GET", "/hello") .. "GET / HTTP/1.1\r\nBad Name: x\r\n\r\n")
      assert.are.equal("hi", c:response().body)
      assert.are.equal(400, c:response().status)
      assert.is_true(c:at_eof())
      c:close()
    end)
  end)

  describe("bodies", function()
    it("come with Content-Length", function()
      local body = ("0123456789abcdef"):rep(20000)
      assert.are.equal(body, s:post("/echo", body).body)
      assert.are.equal("", s:post("/echo", "").body)
    end)

    it("come in chunks", function()
      local r, c = exchange(chunked("/echo", { "a", ("b"):rep(70000), "c\r\n0\r\n\r\n" }))
      assert.are.equal("a" .. ("b"):rep(70000) .. "c\r\n0\r\n\r\n", r.body)
      assert.are.equal("hi", c:ask("GET", "/hello").body)
      c:close()
    end)

    it("hold every byte as it was", function()
      local bytes = {}
      for n = 0, 255 do bytes[#bytes + 1] = string.char(n) end
      local body = table.concat(bytes):rep(10)
      assert.are.equal(body, s:post("/echo", body).body)
    end)

    it("come after 100 Continue, which is sent when they are asked for", function()
      local c = s:connect()
      c:send(client.bytes("POST", "/echo", { headers = { Expect = "100-continue", ["Content-Length"] = "5" } }))
      local interim = c:head()
      assert.are.equal(100, interim.status)
      c:send "later"
      assert.are.equal("later", c:response().body)
      c:close()
    end)

    it("are not asked for by a handler that does not read them", function()
      local c = s:connect()
      c:send(client.bytes("POST", "/unread", { headers = { Expect = "100-continue", ["Content-Length"] = "5" } }))
      local r = c:response()
      assert.are.equal(200, r.status)
      assert.are.same({}, r.interim)
      c:close()
    end)

    it("need no 100 Continue once they have come", function()
      local r, c = exchange(client.bytes("POST", "/echo", { headers = { Expect = "100-continue" }, body = "here" }))
      assert.are.equal("here", r.body)
      c:close()
    end)
  end)

  describe("answers", function()
    it("carry length, date and type", function()
      local r = s:get "/hello"
      assert.are.equal("2", r.headers["content-length"])
      assert.is_truthy(r.headers.date:find "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$")
      assert.is_truthy(r.headers["content-type"]:find "^text/plain")
    end)

    it("to HEAD are those to GET without the body", function()
      local get, head = s:get "/hello", client.request(s.port, "HEAD", "/hello")
      assert.are.equal(200, head.status)
      assert.are.equal(get.headers["content-length"], head.headers["content-length"])
      assert.are.equal(get.headers["content-type"], head.headers["content-type"])
    end)

    it("to HEAD leave the connection in step", function()
      local c = s:connect()
      c:send(client.bytes("HEAD", "/hello") .. client.bytes("HEAD", "/stream") .. client.bytes("GET", "/number/3"))
      c:response "HEAD"
      c:response "HEAD"
      assert.are.equal("number 3", c:response().body)
      c:close()
    end)

    it("of a handler that says nothing are 204 without a body", function()
      local c = s:connect()
      local r = c:ask("GET", "/empty")
      assert.are.equal(204, r.status)
      assert.is_nil(r.headers["content-length"])
      assert.is_nil(r.headers["transfer-encoding"])
      assert.are.equal("hi", c:ask("GET", "/hello").body)
      c:close()
    end)

    it("that are written piece by piece go out in chunks, at once", function()
      local c = s:connect()
      c:send(client.bytes("GET", "/stream"))
      local head = c:head()
      assert.are.equal("chunked", head.headers["transfer-encoding"])
      assert.are.equal("one,", c:chunk())
      assert.are.equal("two,", c:chunk())
      assert.are.equal("three", c:chunk())
      assert.are.equal("", c:chunk())
      assert.are.equal("hi", c:ask("GET", "/hello").body)
      c:close()
    end)

    it("that are written piece by piece end by close for 1.0", function()
      local r, c = exchange("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
      assert.is_true(r.by_close)
      assert.is_nil(r.headers["transfer-encoding"])
      assert.are.equal("one,two,three", r.body)
      c:close()
    end)

    it("that break off are cut, never ended cleanly", function()
      local c = s:connect()
      c:send(client.bytes("GET", "/cut"))
      c:head()
      assert.are.equal("begun", c:chunk())
      assert.has_error(function() c:chunk() end)
      assert.is_false((c:rest()):find("0\r\n", 1, true) ~= nil)
      s:wait_log "broken off"
      c:close()
    end)
  end)

  describe("refuses", function()
    local H = "Host: localhost\r\n"
    local cases = {
      { "a target with a space", "GET /a b HTTP/1.1\r\n" .. H .. "\r\n", 400 },
      { "a field name with a space", "GET / HTTP/1.1\r\n" .. H .. "Bad Name: x\r\n\r\n", 400 },
      { "a space before the colon", "GET / HTTP/1.1\r\n" .. H .. "Name : x\r\n\r\n", 400 },
      { "a folded field", "GET / HTTP/1.1\r\n" .. H .. "A: b\r\n c\r\n\r\n", 400 },
      { "a bare LF", "GET / HTTP/1.1\n" .. H .. "\r\n", 400 },
      { "a bare LF between fields", "GET / HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n", 400 },
      { "a NUL in a value", "GET / HTTP/1.1\r\n" .. H .. "A: b\0c\r\n\r\n", 400 },
      { "1.1 without Host", "GET / HTTP/1.1\r\n\r\n", 400 },
      { "two Hosts", "GET / HTTP/1.1\r\n" .. H .. H .. "\r\n", 400 },
      { "two unlike Content-Lengths", "POST /echo HTTP/1.1\r\n" .. H .. "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400 },
      { "a Content-Length that is no number", "POST /echo HTTP/1.1\r\n" .. H .. "Content-Length: 1x\r\n\r\na", 400 },
      { "a negative Content-Length", "POST /echo HTTP/1.1\r\n" .. H .. "Content-Length: -1\r\n\r\n", 400 },
      { "Content-Length beside chunks", "POST /echo HTTP/1.1\r\n" .. H
        .. "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
      { "chunked twice", "POST /echo HTTP/1.1\r\n" .. H
        .. "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
      { "a coding it does not know", "POST /echo HTTP/1.1\r\n" .. H .. "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501 },
      { "a coding after chunked", "POST /echo HTTP/1.1\r\n" .. H .. "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400 },
      { "HTTP/2.0", "GET / HTTP/2.0\r\n" .. H .. "\r\n", 505 },
      { "a version that is none", "GET / HTTX/1.1\r\n" .. H .. "\r\n", 400 },
      { "an expectation it does not know", "POST /echo HTTP/1.1\r\n" .. H .. "Expect: wonders\r\nContent-Length: 1\r\n\r\na", 417 },
    }
    for _, case in ipairs(cases) do
      it(case[1] .. " by " .. case[3] .. ", and closes", function()
        local before = tonumber(s:get("/calls").body)
        local r, c = exchange(case[2])
        assert.are.equal(case[3], r.status)
        assert.are.equal("close", r.headers.connection)
        assert.is_true(c:at_eof())
        c:close()
        assert.are.equal(before + 1, tonumber(s:get("/calls").body)) -- that of /calls; Lua never heard of the other
      end)
    end

    it("a chunk size that is none", function()
      for _, size in ipairs { "x", "-1", "0x1", "1 ", "", "fffffffffffffffff" } do
        local _, c = exchange(client.bytes("GET", "/hello"))
        c:send("POST /echo HTTP/1.1\r\n" .. H .. "Transfer-Encoding: chunked\r\n\r\n" .. size .. "\r\na\r\n0\r\n\r\n")
        assert.are.equal(400, c:response().status, "size " .. size)
        assert.is_true(c:at_eof())
        c:close()
      end
    end)

    it("with one line in the log that names the peer", function()
      local c = s:connect()
      local _, my_port = c.sock:getsockname()
      c:send "GET / HTTP/1.1\r\nBad Name: \27[31m\r\n\r\n"
      assert.are.equal(400, c:response().status)
      c:close()
      local line = s:wait_log("^.*127%.0%.0%.1:" .. my_port .. ".*$")
      assert.is_nil(line:find "%c")
    end)
  end)

  it("serves 200 clients at once", function()
    local answers = client.at_once(s.port, 200, function(n) return "GET", "/number/" .. n end)
    for n, r in ipairs(answers) do assert.are.equal("number " .. n, r.body) end
  end)

  it("goes on serving while a client is slow to ask", function()
    local slow = s:connect()
    slow:send "GET /hel"
    local took = wait.took(s.get, s, "/hello")
    assert.is_true(took < 1 * wait.slow)
    slow:send "lo HTTP/1.1\r\nHost: x\r\n\r\n"
    assert.are.equal("hi", slow:response().body)
    slow:close()
  end)
end)
