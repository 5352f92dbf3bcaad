local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
local function length(req, res) res:text(tostring(#req:body())) end
local function sleep(_, res) moonpool.sleep(31.7); res:text "awake" end

app:use(function(req, res, next) moonpool.log.info("middleware " .. req.path); next() end)
app:error_page(function(_, res, e) res:text("page " .. e.status) end)
app:post("/any", length)
app:post("/large", { max_body = 300000 }, length)
app:post("/large/:name", { max_body = 300000 }, length)
app:post("/small", { max_body = 10 }, length)
app:post("/none", { max_body = 0 }, length)
app:post("/huge", { max_body = math.huge }, length)
app:post("/unread", { max_body = 10 }, function(_, res) res:text "not read" end)
app:get("/read/:name", { max_body = 300000 }, function(req, res)
  local n = 0
  for piece in function() return req:read() end do n = n + #piece end
  res:text(tostring(n))
end)
local below = moonpool.app()
below:post("/large", { max_body = 300000 }, length)
below:post("/any", length)
app:mount("/below", below)
app:mount("/guest", function(req, res) res:text(tostring(#req:body())) end)
app:static("/files", ".")

app:get("/slow", { timeout = 0.2 }, sleep)
app:get("/slow/:name", { timeout = 0.2 }, function(_, res) sleep(_, res) end)
app:get("/patient", { timeout = 0 }, function(_, res) moonpool.sleep(1.2); res:text "awake" end)
app:get("/other", function(_, res) moonpool.sleep(1.2); res:text "awake" end)
app:get("/stream", { timeout = 0.3 }, function(_, res) res:write "begun"; moonpool.sleep(31.7) end)
app:get("/spawned", { timeout = 0.2 }, function(_, res) res:text(moonpool.run({ "sleep", "31.7" }).reason) end)
app:get("/fast", { timeout = 5 }, function(_, res) res:text "fast" end)
app:post("/late-body", { timeout = 0.3 }, length)

app:get("/kept", { keep = true }, function()
  moonpool.sleep(0.3)
  moonpool.log.info "kept to its end"
end)
app:get("/kept-stream", { keep = true }, function(_, res)
  local ok, why, code
  repeat
    moonpool.sleep(0.05)
    ok, why, code = res:write "piece"
  until not ok
  moonpool.log.info("kept: " .. tostring(why) .. " " .. tostring(code))
end)
app:get("/not-kept", function()
  local _ <close> = setmetatable({}, { __close = function(_, e) moonpool.log.info("not kept: " .. tostring(e)) end })
  moonpool.sleep(31.7)
end)
app:get("/kept-late", { keep = true, timeout = 0.2 }, function(_, res)
  moonpool.sleep(0.8)
  local ok, _, code = res:write "x"
  moonpool.log.info(("kept beyond its time %s %s"):format(tostring(ok), tostring(code)))
end)
return app
]]

describe("an option of a route", function()
  local s
  setup(function() s = server.start { app = app, args = { "--max-body", "100K", "--request-timeout", "0.7" } } end)
  teardown(function() s:stop() end)

  local function body(n) return ("b"):rep(n) end

  describe("max_body", function()
    it("raises the general limit", function()
      for _, path in ipairs { "/large", "/large/x", "/below/large", "/huge" } do
        local r = s:post(path, body(250000))
        assert.are.equal(200, r.status, path)
        assert.are.equal("250000", r.body, path)
      end
      assert.are.equal("250000", s:post("/large", nil, { chunks = { body(200000), body(50000) } }).body)
    end)

    it("is a limit itself, with the app's own page", function()
      for _, path in ipairs { "/large", "/large/x", "/below/large" } do
        local r = s:post(path, body(300001))
        assert.are.equal(413, r.status, path)
        assert.are.equal(413, s:post(path, nil, { chunks = { body(200000), body(150000) } }).status, path)
      end
      assert.are.equal("page 413", s:post("/small", body(11)).body)
      assert.are.equal("10", s:post("/small", body(10)).body)
      assert.are.equal(413, s:post("/none", "1").status)
      assert.are.equal("0", s:post("/none", "").body)
    end)

    it("leaves all others at the general limit", function()
      for _, path in ipairs { "/any", "/below/any", "/guest", "/nowhere", "/files/app.lua", "/below", "/guest/x" } do
        local before = s:count_log "middleware"
        local r = s:post(path, body(250000))
        assert.are.equal(413, r.status, path)
        assert.are.equal(before, s:count_log "middleware", path)
        assert.are.equal(413, s:post(path, nil, { headers = { ["Content-Length"] = "999999999" } }).status)
      end
      assert.are.equal("99999", s:post("/any", body(99999)).body)
    end)

    it("is asked before the body has come, and before a client is told to go on", function()
      local c = s:connect()
      assert(c:send(client.bytes("POST", "/small", { headers = { ["Content-Length"] = "11", Expect = "100-continue" } })))
      local r = c:response()
      assert.are.equal(413, r.status)
      assert.are.same({}, r.interim)
      assert.is_true(c:at_eof())
      c:close()
      c = s:connect()
      assert(c:send(client.bytes("POST", "/large", { headers = { ["Content-Length"] = "250000", Expect = "100-continue" } })))
      assert.are.equal(100, c:head().status)
      assert(c:send(body(250000)))
      assert.are.equal("250000", c:response().body)
      c:close()
    end)

    it("holds for what is not read too", function()
      assert.are.equal(413, s:post("/unread", body(11)).status)
      assert.are.equal("not read", s:post("/unread", body(10)).body)
    end)

    it("raises the limit of a body that is read piece by piece", function()
      local r = client.request(s.port, "GET", "/read/x", { body = body(299999) })
      assert.are.equal("299999", r.body)
      assert.are.equal(413, client.request(s.port, "GET", "/read/x", { body = body(300001) }).status)
    end)

    it("lets a malformed path be that", function()
      assert.are.equal(400, s:post("/large/%zz", body(250000)).status)
    end)

    it("leaves a connection whose refused body is short usable", function()
      local c = s:connect()
      for _ = 1, 3 do
        assert.are.equal(413, c:ask("POST", "/small", { body = body(500) }).status)
        assert.are.equal("10", c:ask("POST", "/small", { body = body(10) }).body)
      end
      c:close()
    end)
  end)

  describe("timeout", function()
    it("answers 503 to what takes longer, and ends its work", function()
      for _, path in ipairs { "/slow", "/slow/x", "/spawned" } do
        local took, r = wait.took(s.get, s, path)
        assert.are.equal(503, r.status, path)
        assert.is_true(took < 0.7 * wait.slow, path)
        s:wait_log('warn its time is over, request cancelled request="GET ' .. path .. '"')
      end
      assert.are.equal(0, s:count_log "client gone")
      wait.until_true(function() return #s:descendants() == 1 end, 5, "an end of all but the worker")
    end)

    it("takes the place of the general one, 0 too", function()
      assert.are.equal("awake", s:get("/patient").body)
      assert.are.equal(503, s:get("/other").status)
      assert.are.equal("fast", s:get("/fast").body)
    end)

    it("cuts a stream that has begun", function()
      local c = s:connect()
      assert(c:send(client.bytes("GET", "/stream")))
      assert.are.equal(200, c:head().status)
      assert.are.equal("begun", c:chunk())
      assert.is_false((pcall(c.chunk, c)))
      c:close()
    end)

    it("counts while the body is waited for", function()
      local c = s:connect()
      assert(c:send(client.bytes("POST", "/late-body", { headers = { ["Content-Length"] = "10" } }) .. "half"))
      assert.are.equal(503, c:response().status)
      c:close()
    end)
  end)

  describe("keep", function()
    local function leave(path)
      local c = s:connect()
      assert(c:send(client.bytes("GET", path)))
      s:wait_log("middleware " .. path:gsub("%p", "%%%0") .. "$")
      return c
    end

    it("lets the handler run to its end when the client goes away", function()
      leave("/kept"):rst()
      s:wait_log "kept to its end"
    end)

    it("tells the writer of it", function()
      local c = leave "/kept-stream"
      assert.are.equal(200, c:head().status)
      c:rst()
      s:wait_log "kept: .* closed"
    end)

    it("is off without it", function()
      leave("/not-kept"):rst()
      s:wait_log "not kept: cancelled"
    end)

    it("outlives a timeout, whose client is answered", function()
      assert.are.equal(503, s:get("/kept-late").status)
      s:wait_log "kept beyond its time nil closed"
    end)
  end)
end)
