local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/hello", function(_, res) res:text "hi" end)
app:post("/echo", function(req, res) res:text(req:body()) end)
app:post("/small", { max_body = 10 }, function(req, res) res:text(req:body()) end)
app:post("/count", function(req, res)
  local n = 0
  for piece in function() return req:read() end do n = n + #piece end
  res:text(tostring(n))
end)
return app
]]

describe("a limit", function()
  local s
  setup(function()
    s = server.start { app = app, args = {
      "--max-body", "100K", "--limit-request-line", "500", "--limit-request-fields", "20",
      "--limit-request-field-size", "400", "--limit-request-head", "4K", "--header-timeout", "0.5",
      "--body-timeout", "0.5", "--keep-alive", "0.5",
    } }
  end)
  teardown(function() s:stop() end)

  local function refused(bytes, status)
    local c = s:connect()
    c:send(bytes)
    local r = c:response()
    assert.are.equal(status, r.status)
    assert.is_true(c:at_eof())
    c:close()
    assert.are.equal("hi", s:get("/hello").body)
  end

  it("on the request line is 414", function()
    refused(client.bytes("GET", "/" .. ("a"):rep(600)), 414)
    assert.are.equal(404, s:get("/" .. ("a"):rep(400)).status)
  end)

  it("on a line that never ends is 414 too", function()
    refused("GET /" .. ("a"):rep(2000), 414)
  end)

  it("on a field is 431", function()
    refused(client.bytes("GET", "/hello", { headers = { A = ("b"):rep(500) } }), 431)
    assert.are.equal(200, s:get("/hello", { headers = { A = ("b"):rep(300) } }).status)
  end)

  it("on the number of fields is 431", function()
    local headers = {}
    for n = 1, 30 do headers[n] = "A" .. n .. ": b" end
    refused(client.bytes("GET", "/hello", { headers = headers }), 431)
  end)

  it("on the whole head is 431", function()
    local headers = {}
    for n = 1, 15 do headers[n] = "A" .. n .. ": " .. ("b"):rep(350) end
    refused(client.bytes("GET", "/hello", { headers = headers }), 431)
  end)

  it("on the body is 413, before the body has come", function()
    local c = s:connect()
    c:send(client.bytes("POST", "/echo", { headers = { ["Content-Length"] = "200000" } }))
    assert.are.equal(413, c:response().status)
    assert.is_true(c:at_eof())
    c:close()
  end)

  it("on the body holds for chunks", function()
    local chunks = {}
    for n = 1, 30 do chunks[n] = ("c"):rep(8000) end
    local c = s:connect()
    c:send(client.bytes("POST", "/echo", { chunks = chunks }))
    assert.are.equal(413, c:response().status)
    c:close()
  end)

  it("on the body of one route is that route's own", function()
    assert.are.equal(200, s:post("/small", "123456789").status)
    assert.are.equal(413, s:post("/small", "12345678901").status)
    assert.are.equal(200, s:post("/echo", ("b"):rep(50000)).status)
  end)

  it("on the time of a head is 408", function()
    local c = s:connect()
    c:send "GET /hello HTTP/1.1\r\nHost: x\r\n"
    local took, r = wait.took(c.response, c)
    assert.are.equal(408, r.status)
    assert.is_true(took >= 0.4)
    assert.is_true(c:at_eof())
    c:close()
  end)

  it("on the time of a head is not moved by a drop now and then", function()
    local c = s:connect()
    c:send "GET /hello HTTP/1.1\r\n"
    local deadline = wait.now() + 3 * wait.slow
    while wait.now() < deadline and c:silent(0.1) do
      if not c:send "A: b\r\n" then break end
    end
    assert.are.equal(408, c:response().status)
    c:close()
  end)

  it("on the time between two pieces of a body is 408", function()
    for _, path in ipairs { "/echo", "/count" } do
      local c = s:connect()
      c:send(client.bytes("POST", path, { headers = { ["Content-Length"] = "10" } }) .. "half")
      assert.are.equal(408, c:response().status)
      assert.is_true(c:at_eof())
      c:close()
    end
  end)

  it("on idle time closes without a word", function()
    local c = s:connect()
    assert.are.equal("hi", c:ask("GET", "/hello").body)
    local took = wait.took(function() assert.is_true(c:at_eof()) end)
    assert.is_true(took >= 0.4)
    c:close()
  end)
end)

describe("connections at their limit", function()
  it("wait for a place, and get it when another leaves", function()
    local s = server.start { app = app, args = { "--max-connections", "4" } }
    local held = {}
    for n = 1, 4 do
      held[n] = s:connect()
      assert.are.equal(200, held[n]:ask("GET", "/hello").status)
    end
    local late = s:connect()
    late:send(client.bytes("GET", "/hello"))
    assert.is_true(late:silent(0.3))
    held[1]:close()
    assert.are.equal("hi", late:response().body)
    for n = 2, 4 do held[n]:close() end
    late:close()
    s:stop()
  end)
end)

describe("a body larger than memory should hold", function()
  it("waits in the client while the handler does not read", function()
    -- What a sanitizer keeps of freed memory to find its use is no memory of the server's.
    local sanitizer = os.getenv "ASAN_OPTIONS"
    local env = { ASAN_OPTIONS = (sanitizer and sanitizer .. ":" or "") .. "quarantine_size_mb=4" }
    local s = server.start { args = { "--max-body", "1G" }, env = env, app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      local go = false
      app:get("/go", function(_, res) go = true res:text "going" end)
      app:post("/count", function(req, res)
        while not go do moonpool.sleep(0.02) end
        local n = 0
        for piece in function() return req:read() end do n = n + #piece end
        res:text(tostring(n))
      end)
      return app
    ]] }
    local before = proc.rss(s:worker())
    local size, piece = 64 * 1024 * 1024, ("p"):rep(1024 * 1024)
    local c = s:connect()
    c:send(client.bytes("POST", "/count", { headers = { ["Content-Length"] = tostring(size) } }))
    local sent, stalled = 0, false
    while sent < size and not stalled do
      local ok = c:send(piece, 0.5)
      if ok then sent = sent + #piece else stalled = true end
    end
    assert.is_true(stalled)
    assert.is_true(proc.rss(s:worker()) - before < 8 * 1024 * wait.slow)
    c:rst()
    assert.are.equal("going", s:get("/go").body)

    c = s:connect()
    c:send(client.bytes("POST", "/count", { headers = { ["Content-Length"] = tostring(size) } }))
    for _ = 1, 64 do assert(c:send(piece)) end
    assert.are.equal(tostring(size), c:response().body)
    assert.is_true(proc.rss(s:worker()) - before < 8 * 1024 * wait.slow)
    c:close()
    s:stop()
  end)
end)

describe("an answer larger than memory should hold", function()
  it("waits in the handler while the client does not read", function()
    local s = server.start { app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      local written = 0
      app:get("/written", function(_, res) res:text(tostring(written)) end)
      app:get("/flood", function(_, res)
        local piece = ("f"):rep(65536)
        written = 0
        for _ = 1, 1024 do
          res:write(piece)
          written = written + #piece
        end
      end)
      return app
    ]] }
    local before = proc.rss(s:worker())
    local c = s:connect()
    c:send(client.bytes("GET", "/flood"))
    c:head()
    local last = -1
    wait.until_true(function()
      local now = tonumber(s:get("/written").body)
      local still = now == last
      last = now
      wait.sleep(0.1)
      return still
    end, 5, "the handler to be held back")
    assert.is_true(last < 64 * 1024 * 1024)
    assert.is_true(proc.rss(s:worker()) - before < 12 * 1024 * wait.slow)
    local total = 0
    repeat
      local chunk = c:chunk()
      total = total + #chunk
    until chunk == ""
    assert.are.equal(64 * 1024 * 1024, total)
    c:close()
    s:stop()
  end)
end)
