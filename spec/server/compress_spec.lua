local client = require "spec.support.client"
local server = require "spec.support.server"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local text = ("a line of text\n"):rep(500)

app:get("/text", function(_, res) res:header("ETag", '"v1"'):text(text) end)
app:get("/json", function(_, res) res:json { text = text } end)
app:get("/small", function(_, res) res:text "small" end)
app:get("/image", function(_, res) res:header("Content-Type", "image/png"):finish(text) end)
app:get("/own", function(_, res) res:header("Content-Encoding", "x-own"):text(text) end)
app:get("/off", function(_, res) res:header("Content-Encoding", "identity"):text(text) end)
app:get("/no-transform", function(_, res) res:header("Cache-Control", "no-transform"):text(text) end)
app:get("/stream", function(_, res)
  res:header("Content-Type", "text/plain")
  for n = 1, 3 do
    res:write(("piece %d\n"):format(n))
    moonpool.sleep(0.05)
  end
end)
app:get("/measured", function(_, res)
  res:header("Content-Type", "text/plain"):header("Content-Length", "12")
  res:write "first,"
  res:write "second"
end)
app:get("/broken", function(_, res)
  res:header("Content-Type", "text/plain"):write "begun"
  error "broken off"
end)
app:get("/large", function(_, res) res:text(("a line of text\n"):rep(300000)); moonpool.log.info "large: goes by itself" end)
app:get("/events", function(_, res) res:sse():send "hello" end)
return app
]]

local TEXT = ("a line of text\n"):rep(500)

local function gunzip(folder, bytes)
  server.write_file(folder .. "/packed.gz", bytes)
  local pipe = assert(io.popen(("gzip -dc '%s/packed.gz'"):format(folder)))
  local text = pipe:read "a"
  assert(pipe:close())
  return text
end

describe("an answer", function()
  local s, plain
  setup(function()
    s = server.start { app = app }
    plain = server.start { app = app, args = { "--compress", "off" } }
  end)
  teardown(function()
    s:stop()
    plain:stop()
  end)

  local function get(path, coding, from)
    return (from or s):get(path, { headers = { ["Accept-Encoding"] = coding or "gzip" } })
  end

  it("is packed for a client that takes it", function()
    for _, path in ipairs { "/text", "/json" } do
      local r = get(path)
      assert.are.equal("gzip", r.headers["content-encoding"])
      assert.are.equal("Accept-Encoding", r.headers.vary)
      assert.is_true(#r.body < 500)
      local text = gunzip(s.folder, r.body)
      assert.are.equal(path == "/text" and TEXT or ('{"text":"%s"}'):format(TEXT:gsub("\n", "\\n")), text)
    end
    assert.are.equal('W/"v1"', get("/text").headers.etag)
  end)

  it("of megabytes is packed on its way", function()
    local c = s:connect()
    local r = c:ask("GET", "/large", { headers = { ["Accept-Encoding"] = "gzip" } })
    assert.are.equal("gzip", r.headers["content-encoding"])
    assert.is_true(r.chunked)
    assert.is_true(gunzip(s.folder, r.body) == ("a line of text\n"):rep(300000))
    assert.are.equal(TEXT, c:ask("GET", "/text").body)
    c:close()
    s:wait_log "large: goes by itself"
    assert.are.equal("4500000", get("/large", "").headers["content-length"])
  end)

  it("is not for one that does not, and says that it varies", function()
    for _, coding in ipairs { "", "identity", "gzip;q=0", "compress" } do
      local r = get("/text", coding)
      assert.is_nil(r.headers["content-encoding"])
      assert.are.equal("Accept-Encoding", r.headers.vary)
      assert.are.equal('"v1"', r.headers.etag)
      assert.are.equal(TEXT, r.body)
    end
  end)

  it("is left as it is when it is small, packed already, or its handler wants it so", function()
    for path, encoding in pairs {
      ["/small"] = false, ["/image"] = false, ["/own"] = "x-own", ["/off"] = false, ["/no-transform"] = false,
      ["/measured"] = false,
    } do
      local r = get(path)
      assert.are.equal(encoding or nil, r.headers["content-encoding"])
      assert.is_nil(r.headers.vary)
    end
    assert.are.equal("first,second", get("/measured").body)
    assert.are.equal(TEXT, get("/off").body)
  end)

  it("to HEAD tells what GET would", function()
    local c = s:connect()
    local headers = { ["Accept-Encoding"] = "gzip" }
    local r, h = c:ask("GET", "/text", { headers = headers }), c:ask("HEAD", "/text", { headers = headers })
    for _, name in ipairs { "content-encoding", "content-length", "vary", "etag", "content-type" } do
      assert.are.equal(r.headers[name], h.headers[name])
    end
    c:close()
  end)

  it("in pieces is packed piece by piece", function()
    local c = s:connect()
    c:send(client.bytes("GET", "/stream", { headers = { ["Accept-Encoding"] = "gzip" } }))
    local head = c:head()
    assert.are.equal("gzip", head.headers["content-encoding"])
    assert.are.equal("chunked", head.headers["transfer-encoding"])
    local pieces = {}
    repeat pieces[#pieces + 1] = c:chunk() until pieces[#pieces] == ""
    assert.is_true(#pieces >= 4, "each piece has a chunk of its own")
    assert.are.equal("piece 1\npiece 2\npiece 3\n", gunzip(s.folder, table.concat(pieces)))
    c:close()
  end)

  it("that breaks off is cut", function()
    local c = s:connect()
    c:send(client.bytes("GET", "/broken", { headers = { ["Accept-Encoding"] = "gzip" } }))
    assert.has_error(function() c:response() end)
    c:close()
  end)

  it("of events is never held back by packing", function()
    local r = get("/events")
    assert.is_nil(r.headers["content-encoding"])
    assert.matches("data: hello", r.body)
  end)

  it("is never packed with --compress off", function()
    local r = get("/text", "gzip", plain)
    assert.is_nil(r.headers["content-encoding"])
    assert.is_nil(r.headers.vary)
    assert.are.equal(TEXT, r.body)
    assert.are.equal(TEXT, get("/off", "gzip", plain).body)
    assert.is_nil(get("/off", "gzip", plain).headers["content-encoding"])
  end)
end)
