local client = require "spec.support.client"
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:post("/echo", function(req, res) res:header("X-Length", #req:body()):finish(req:body()) end)
app:post("/late", function(req, res)
  moonpool.sleep(0.05)
  res:finish(req:body())
end)
app:get("/large", function(_, res) res:text(("0123456789abcdef"):rep(tonumber(65536))) end)
app:post("/status", function(req, res)
  local ok, e = pcall(req.body, req)
  res:text(ok and "whole" or tostring(e.status))
end)
app:post("/given-up", function(req, res)
  local reader = moonpool.spawn(function() return req:body() end)
  moonpool.wait(reader, 0.2)
  reader:cancel()
  res:text "given up"
end)
app:get("/small", function(_, res) res:text "small" end)
return app
]]

-- No two pieces of it are alike.
local function text(length)
  local parts, n = {}, 0
  while n < length do
    parts[#parts + 1] = ("%x;"):format(n)
    n = n + #parts[#parts]
  end
  return table.concat(parts):sub(1, length)
end

local function post(path, length)
  return ("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"):format(path, length)
end

describe("a body of known length", function()
  local s

  setup(function() s = server.start { app = app, args = { "--max-body", "16M", "--body-timeout", "1" } } end)
  teardown(function() s:stop() end)

  for _, length in ipairs { 1, 8191, 8192, 65535, 65536, 73728, 100001, 3000000 } do
    it(("of %d bytes comes back as it was, whole or in pieces, and the next request is answered"):format(length), function()
      local body = text(length)
      for _, path in ipairs { "/echo", "/late" } do
        for _, step in ipairs { length, 7777, length // 3 + 1 } do
          local c = s:connect()
          local all = post(path, length) .. body .. "GET /small HTTP/1.1\r\nHost: h\r\n\r\n"
          if length // step > 500 then step = length // 100 end
          for at = 1, #all, step do assert(c:send(all:sub(at, at + step - 1))) end
          assert.is_true(c:response().body == body)
          assert.are.equal("small", c:response().body)
          c:close()
        end
      end
    end)
  end

  it("that ends too soon, or does not come in time, is an error that the handler sees", function()
    local c = s:connect()
    c:send(post("/status", 100000) .. text(60000))
    c:half_close()
    assert.are.equal("400", c:response().body)
    c:close()
    c = s:connect()
    c:send(post("/status", 100000) .. text(60000))
    assert.are.equal("408", c:response().body)
    c:close()
  end)

  it("whose reader was cancelled is not in the way of the answer", function()
    local c = s:connect()
    c:send(post("/given-up", 100000) .. text(30000))
    assert.are.equal("given up", c:response().body)
    c:send(text(100000):sub(30001) .. "GET /small HTTP/1.1\r\nHost: h\r\n\r\n")
    assert.are.equal("small", c:response().body)
    c:close()
  end)
end)

describe("a large answer", function()
  local s

  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  it("is whole for a client that reads late, behind small ones and before them", function()
    local c = s:connect()
    local small, large = "GET /small HTTP/1.1\r\nHost: h\r\n\r\n", "GET /large HTTP/1.1\r\nHost: h\r\n\r\n"
    c:send(small .. large .. small .. large .. small)
    local expected = ("0123456789abcdef"):rep(65536)
    for i = 1, 5 do
      local body = c:response().body
      assert.is_true(body == (i % 2 == 1 and "small" or expected))
    end
    c:close()
  end)

  it("has a head alone for HEAD", function()
    local c = s:connect()
    c:send("HEAD /large HTTP/1.1\r\nHost: h\r\n\r\nGET /small HTTP/1.1\r\nHost: h\r\n\r\n")
    assert.are.equal("1048576", c:response("HEAD").headers["content-length"])
    assert.are.equal("small", c:response().body)
    c:close()
  end)

  it("whose client goes away is given up, and others are answered", function()
    for _ = 1, 20 do
      local c = s:connect()
      c:send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
      c:rst()
    end
    assert.are.equal("small", client.request(s.port, "GET", "/small").body)
  end)
end)
