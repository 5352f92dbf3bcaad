local host = require "host"
local lfs = require "lfs"
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

local function describe(value)
  if type(value) == "string" then return value end
  return { name = value.name, type = value.type, size = value.size }
end
local function slurp(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

app:post("/form", function(req, res)
  local told = {}
  for name, value in pairs(req:form()) do told[name] = describe(value) end
  assert(req:form() == req:form())
  res:json(told)
end)
app:post("/list", function(req, res) res:json(moonpool.json.array(req:form_list "a")) end)
app:post("/path", function(req, res)
  local file = req:form().file
  res:json { path = file.path, same = file.path == file.path, content = slurp(file.path), text = tostring(file) }
end)
app:post("/keep", function(req, res)
  local file = req:form().file
  local path = file.path
  moonpool.spawn(function()
    req = nil
    collectgarbage()
    moonpool.sleep(0.3)
    moonpool.log.info("still there: " .. slurp(path))
  end)
  res:text(path)
end)
app:post("/save", function(req, res)
  local file = req:form().file
  local ok, message, code = file:save(req.query.to)
  res:json { ok = ok == true, message = message, code = code }
end)
app:post("/save-twice", function(req, res)
  local file = req:form().file
  assert(file:save(req.query.to))
  local ok, message, code = file:save(req.query.to .. ".again")
  res:json { ok = ok == true, code = code, path = file.path }
end)
app:post("/raw", function(req, res)
  if req.query.body then req:body() end
  local ok, message, code = req:save(req.query.to)
  res:json { ok = ok == true, message = message, code = code }
end)
app:post("/parts", function(req, res)
  local told = {}
  for part in req:parts() do
    if part.name ~= "skipped" then
      told[#told + 1] = part.name .. "=" .. (part.filename or "") .. ":" .. part:body()
      assert(part:read() == nil)
    end
  end
  res:text(table.concat(told, "|"))
end)
app:post("/parts-save", function(req, res)
  for part in req:parts() do assert(part:save(part.name)) end
  res:text "saved"
end)
app:post("/parts-count", function(req, res)
  local n, pieces = 0, 0
  for part in req:parts() do
    for piece in part.read, part do
      n = n + #piece
      pieces = pieces + 1
    end
  end
  res:json { n = n, memory = collectgarbage "count" }
end)
app:post("/parts-late", function(req, res)
  local first, second
  for part in req:parts() do
    if first then second = tostring(first:read()) end
    first = first or part
  end
  res:text(second .. tostring(first))
end)
app:post("/read-first", function(req, res)
  req:read()
  res:text(tostring(select(2, pcall(req.form, req))))
end)
app:post("/body-first", function(req, res)
  req:body()
  res:json { a = req:form().a }
end)
app:post("/again", function(req, res)
  local _, first = pcall(req.form, req)
  local _, second = pcall(req.form, req)
  res:json { status = first.status, same = first == second }
end)
app:post("/raise", function(req)
  req:form()
  error { status = 422 }
end)
app:error_page(function(req, res, e)
  if e.status == 422 then res:text("again: " .. req:form().a) end
end)
app:get("/hello", function(_, res) res:text "hi" end)
return app
]]

local function part(name, content, more)
  more = more or {}
  local head = ('Content-Disposition: form-data; name="%s"'):format(name)
  if more.filename then head = head .. ('; filename="%s"'):format(more.filename) end
  if more.type then head = head .. "\r\nContent-Type: " .. more.type end
  return "--frontier\r\n" .. head .. "\r\n\r\n" .. content .. "\r\n"
end

local function form(...) return table.concat { ... } .. "--frontier--\r\n" end

local MULTIPART = "multipart/form-data; boundary=frontier"

describe("a body", function()
  local s, tmp
  setup(function()
    tmp = assert(host.tempdir())
    s = server.start { app = app, args = { "--max-body", "40M" }, env = { TMPDIR = tmp } }
  end)
  teardown(function()
    s:stop()
    lfs.rmdir(tmp)
  end)

  local function left_in(folder)
    local list = {}
    for name in lfs.dir(folder) do
      if name ~= "." and name ~= ".." then list[#list + 1] = name end
    end
    return list
  end

  local function post(path, body, kind)
    return s:post(path, body, { headers = { ["Content-Type"] = kind or MULTIPART } })
  end

  after_each(function()
    wait.until_true(function() return #left_in(tmp) == 0 end, 2, "temporary files left behind")
  end)

  describe("with a form", function()
    it("gives fields as strings and files as files", function()
      local r = post("/form", form(part("a", "one"), part("a", "two"), part("f", "content",
        { filename = "x.txt", type = "text/x" }), part("é", "ü\r\n")))
      assert.are.equal(200, r.status)
      for _, fact in ipairs { '"a":"one"', '"name":"x.txt"', '"size":7', '"type":"text/x"', '"é":"ü\\r\\n"' } do
        assert.is_truthy(r.body:find(fact, 1, true), r.body)
      end
      assert.are.equal('["one","two"]', post("/list", form(part("a", "one"), part("b", ""), part("a", "two"))).body)
    end)

    it("comes in whatever pieces", function()
      local c = s:connect()
      local bytes = client.bytes("POST", "/list", { headers = { ["Content-Type"] = MULTIPART },
        body = form(part("a", "\r\n--frontie"), part("a", "")) })
      for byte in bytes:gmatch "." do c:send(byte) end
      assert.are.equal('["\\r\\n--frontie",""]', c:response().body)
      c:close()
    end)

    it("may be urlencoded", function()
      assert.are.equal('["1","2"]', post("/list", "a=1&b=&a=2", "application/x-www-form-urlencoded").body)
    end)

    it("leaves out a file that nobody chose", function()
      local r = post("/form", form(part("f", "", { filename = "", type = "application/octet-stream" })))
      assert.are.equal("{}", r.body)
    end)

    it("may be read after the body was", function()
      assert.are.equal('{"a":"1"}', post("/body-first", form(part("a", "1"))).body)
      assert.are.equal('{"a":"1"}', post("/body-first", "a=1", "application/x-www-form-urlencoded").body)
    end)

    it("is there for the error page, too", function()
      assert.are.equal("again: 1", post("/raise", form(part("a", "1"))).body)
    end)

    it("raises when a part of the body was read", function()
      assert.matches("a part of the body was read already", post("/read-first", form(part("a", "1"))).body)
    end)

    it("is 415 of another type, 400 when malformed or cut short, 413 when too large", function()
      assert.are.equal(415, post("/form", "{}", "application/json").status)
      assert.are.equal(415, s:post("/form", "a=1").status)
      assert.are.equal(400, post("/form", "a=%zz", "application/x-www-form-urlencoded").status)
      assert.are.equal(413, post("/form", ("a&"):rep(10001), "application/x-www-form-urlencoded").status)
      assert.are.equal(400, post("/form", form(part("a", "1")), "multipart/form-data").status)
      assert.are.equal(400, post("/form", part("a", "1")).status)
      assert.are.equal(400, post("/form", "--frontier\r\n\r\n\r\n--frontier--").status)
      assert.are.equal(413, post("/form", form(part("a", ""):rep(1001))).status)
      assert.are.equal(413, post("/form", form(part("a", "", { filename = "x" }):rep(101))).status)
      assert.are.equal(413, post("/form", form(part("a", ("x"):rep(1100000)):rep(2))).status)
      local c = s:connect()
      c:send(client.bytes("POST", "/form", { headers = { ["Content-Type"] = MULTIPART, ["Content-Length"] = 50 << 20 } }))
      assert.are.equal(413, c:response().status)
      c:close()
      local r = post("/again", part("a", "1"))
      assert.is_truthy(r.body:find('"status":400', 1, true) and r.body:find('"same":true', 1, true), r.body)
    end)

    it("is malformed for good when it ends before its content does", function()
      local c = s:connect()
      local bytes = client.bytes("POST", "/form", { headers = { ["Content-Type"] = MULTIPART },
        body = form(part("f", ("x"):rep(100000), { filename = "x" })) })
      c:send(bytes:sub(1, 50000))
      c:half_close()
      assert.are.equal(400, c:response().status)
      c:close()
    end)
  end)

  describe("with a file", function()
    it("has a path by which it can be read, until the request ends", function()
      local r = post("/path", form(part("file", "some\0bytes", { filename = "../../etc/passwd" })))
      assert.is_truthy(r.body:find('"content":"some\\u0000bytes"', 1, true), r.body)
      assert.is_truthy(r.body:find('"same":true', 1, true), r.body)
      local path = r.body:match '"path":"([^"]+)"'
      assert.are.equal(tmp, path:match "^(.*)/[^/]+$")
      wait.until_true(function() return not lfs.attributes(path) end, 2)
    end)

    it("stays until the last task of its request has ended", function()
      local path = post("/keep", form(part("file", "kept", { filename = "k" }))).body
      assert.is_truthy(lfs.attributes(path))
      s:wait_log "still there: kept"
      wait.until_true(function() return not lfs.attributes(path) end, 2)
    end)

    it("is moved to where it is saved, over what was there", function()
      local content = ("0123456789abcdef"):rep(200000)
      for _ = 1, 2 do
        local r = post("/save?to=" .. s.folder .. "/saved", form(part("file", content, { filename = "x" })))
        assert.is_truthy(r.body:find('"ok":true', 1, true), r.body)
      end
      assert.are.equal(content, server.read_file(s.folder .. "/saved"))
      assert.are.equal("rw-r--r--", lfs.attributes(s.folder .. "/saved", "permissions"))
      for _, name in ipairs(left_in(s.folder)) do assert.is_nil(name:find "^%.moonpool") end
    end)

    it("is saved on another file system, too", function()
      local to = "/dev/shm/moonpool-spec-saved-" .. host.pid()
      local r = post("/save?to=" .. to, form(part("file", "far away", { filename = "x" })))
      assert.is_truthy(r.body:find('"ok":true', 1, true), r.body)
      assert.are.equal("far away", server.read_file(to))
      os.remove(to)
    end)

    it("is saved once", function()
      local r = post("/save-twice?to=" .. s.folder .. "/once", form(part("file", "x", { filename = "x" })))
      assert.is_truthy(r.body:find('"code":"EALREADY"', 1, true), r.body)
      assert.is_truthy(r.body:find('"path":"' .. s.folder .. '/once"', 1, true), r.body)
      assert.is_nil(lfs.attributes(s.folder .. "/once.again"))
    end)

    it("says what keeps it from being saved", function()
      local r = post("/save?to=" .. s.folder .. "/none/x", form(part("file", "x", { filename = "x" })))
      assert.is_truthy(r.body:find('"code":"ENOENT"', 1, true), r.body)
      r = post("/save?to=" .. s.folder, form(part("file", "x", { filename = "x" })))
      assert.is_truthy(r.body:find('"ok":false', 1, true), r.body)
    end)

    it("is gone when the client goes away in the middle", function()
      local c = s:connect()
      c:send(client.bytes("POST", "/form", { headers = { ["Content-Type"] = MULTIPART },
        body = form(part("f", ("x"):rep(3 << 20), { filename = "x" })) }):sub(1, 2 << 20))
      c:rst()
    end)
  end)

  describe("in parts", function()
    it("comes one after the other; what is not read is passed over", function()
      local body = form(part("a", "1"), part("skipped", ("x"):rep(100000)), part("f", "two", { filename = "n" }))
      assert.are.equal("a=:1|f=n:two", post("/parts", body).body)
      assert.are.equal("", post("/parts", "--frontier--").body)
    end)

    it("is never held in memory", function()
      local body = form(part("f", ("0123456789abcde\r"):rep(2 << 20), { filename = "n" }))
      local told = post("/parts-count", body).body
      assert.are.equal(tostring(32 << 20), told:match '"n":(%d+)')
      assert.is_true(tonumber(told:match '"memory":([%d.]+)') < 16 * 1024, told)
    end)

    it("may be saved", function()
      assert.are.equal("saved", post("/parts-save", form(part("p1", "one"), part("p2", ""))).body)
      assert.are.equal("one", server.read_file(s.folder .. "/p1"))
      assert.are.equal("file", lfs.attributes(s.folder .. "/p2", "mode"))
    end)

    it("does not go back", function()
      assert.are.equal('nilpart "a"', post("/parts-late", form(part("a", "x"), part("b", ""))).body)
    end)

    it("is 415 of another type", function()
      assert.are.equal(415, post("/parts", "a=1", "application/x-www-form-urlencoded").status)
    end)
  end)

  describe("saved as it is", function()
    it("is under its name once it is whole", function()
      local content = ("\0\r\n\255"):rep(500000)
      local to = s.folder .. "/raw"
      local c = s:connect()
      local bytes = client.bytes("POST", "/raw?to=" .. to, { body = content })
      c:send(bytes:sub(1, -2))
      assert.is_true(c:silent(0.2))
      assert.is_nil(lfs.attributes(to))
      c:send(bytes:sub(-1))
      assert.are.equal('{"ok":true}', c:response().body)
      c:close()
      assert.are.equal(content, server.read_file(to))
    end)

    it("is not there when the client goes away", function()
      local c = s:connect()
      c:send(client.bytes("POST", "/raw?to=" .. s.folder .. "/cut", { body = ("x"):rep(100000) }):sub(1, 50000))
      c:half_close()
      assert.are.equal(400, c:response().status)
      c:close()
      assert.is_nil(lfs.attributes(s.folder .. "/cut"))
    end)

    it("may have been read whole before", function()
      assert.are.equal('{"ok":true}', post("/raw?body=1&to=" .. s.folder .. "/second", "abc").body)
      assert.are.equal("abc", server.read_file(s.folder .. "/second"))
    end)

    it("says what keeps it from being saved", function()
      local r = post("/raw?to=/nowhere/at/all", "abc")
      assert.is_truthy(r.body:find('"code":"ENOENT"', 1, true), r.body)
      assert.are.equal("hi", s:get("/hello").body)
    end)
  end)
end)
