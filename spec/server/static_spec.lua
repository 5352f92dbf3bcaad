local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()
app:use(function(req, res, next)
  if req.query.mark then res:header("X-Mark", req.query.mark) end
  if req.query.cookie then res:on_head(function() res:cookie("seen", "1") end) end
  if req.query.raise then res:on_head(function() error { status = 418 } end) end
  if req.query.own then
    res:on_head(function()
      for _, name in ipairs { "Content-Type", "X-Content-Type-Options", "Last-Modified", "Accept-Ranges", "ETag", "X-None" } do
        res:header(name, "was " .. tostring(res:header(name)))
      end
    end)
  end
  next()
end)
app:get("/files/route", function(_, res) res:text "a route" end)
app:post("/files/upload", function(_, res) res:text "taken" end)
app:get("/page", function(req, res)
  local q = req.query
  res:file(q.path, { root = q.root, type = q.type, max_age = tonumber(q.age or ""),
    download = q.download == "yes" and true or q.download })
end)
app:get("/missing-page", function(_, res) res:status(404):file("public/text.txt") end)
app:post("/posted", function(_, res) res:file "public/text.txt" end)
app:get("/no-options", function(_, res) res:file "public/text.txt" end)
app:get("/bad-option", function(_, res) res:file("public/text.txt", { roots = "x" }) end)
app:get("/twice", function(_, res)
  res:file "public/large.bin"
  local ok, err = pcall(res.text, res, "more")
  moonpool.log.info("second answer ok=" .. tostring(ok) .. " " .. tostring(err))
end)
app:get("/raise-after", function(_, res)
  res:file "public/large.bin"
  error "after the file"
end)
app:get("/stats", function(_, res) res:json(moonpool.stats()) end)
app:static("/files", "public", { max_age = 60 })
app:static("/dots", "public", { dotfiles = true, index = false })
app:static("/spa", "public", { fallback = "index.html" })
return app
]]

local text = ("0123456789"):rep(10)
local large = {}
for i = 1, 300000 do large[i] = ("%07d\n"):format(i) end
large = table.concat(large) -- 2.4 MB, each place tells where it is

local function age(path, seconds) assert(lfs.touch(path, os.time() - (seconds or 3600))) end

local function symlink(target, path) assert(lfs.link(target, path, true)) end

local function count_lines(answer, name)
  local n = 0
  for _, line in ipairs(answer.lines) do
    if line:lower():find(name .. ":", 1, true) == 1 then n = n + 1 end
  end
  return n
end

describe("static files", function()
  local s, public

  setup(function()
    s = server.start { app = app, files = {
      ["public/text.txt"] = text,
      ["public/large.bin"] = large,
      ["public/index.html"] = "<h1>index</h1>",
      ["public/empty.txt"] = "",
      ["public/style.css"] = "body { color: black }",
      ["public/style.css.gz"] = "the gzip form",
      ["public/style.css.br"] = "the brotli form",
      ["public/long.txt"] = text:rep(100),
      ["public/only.js"] = "let x",
      ["public/only.js.gz"] = "let x",
      ["public/a b%.txt"] = "odd name",
      ["public/.hidden"] = "hidden",
      ["public/route"] = "never seen",
      ["public/sub/index.html"] = "sub index",
      ["public/bare/x.txt"] = "x",
      ["public/.git/config"] = "hidden too",
      ["secret/key.txt"] = "SECRET",
    } }
    public = s.folder .. "/public"
    for name in lfs.dir(public) do
      if lfs.attributes(public .. "/" .. name, "mode") == "file" then age(public .. "/" .. name) end
    end
    symlink("text.txt", public .. "/inside")
    symlink("sub/../text.txt", public .. "/around")
    symlink("../secret/key.txt", public .. "/outside")
    symlink("../secret", public .. "/outside-folder")
    symlink(s.folder .. "/secret/key.txt", public .. "/absolute")
    symlink(s.folder .. "/public/text.txt", public .. "/absolute-inside")
    symlink("/proc/self/environ", public .. "/magic")
    symlink("/proc/self/root", public .. "/magic-root")
    symlink("loop", public .. "/loop")
    symlink("sub/../../secret/key.txt", public .. "/sub-out")
    assert(os.execute(("mkfifo '%s/fifo'"):format(public)))
  end)
  teardown(function()
    assert.are.equal(2, s:count_log " app error ") -- those of /bad-option and /raise-after
    s:stop()
  end)

  local function get(path, headers, method)
    return client.request(s.port, method or "GET", path, { headers = headers })
  end

  describe("answers", function()
    it("hold the bytes, their type and what a cache needs", function()
      local r = get "/files/text.txt"
      assert.are.equal(200, r.status)
      assert.are.equal(text, r.body)
      assert.are.equal("text/plain; charset=utf-8", r.headers["content-type"])
      assert.are.equal("100", r.headers["content-length"])
      assert.are.equal("nosniff", r.headers["x-content-type-options"])
      assert.are.equal("bytes", r.headers["accept-ranges"])
      assert.are.equal("max-age=60", r.headers["cache-control"])
      assert.is_truthy(r.headers.etag:match '^"[%x.-]+"$')
      assert.is_truthy(r.headers["last-modified"]:match "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$")
      assert.is_nil(r.headers.vary)
    end)

    it("are the same from memory and again", function()
      local c = s:connect()
      for _ = 1, 3 do assert.are.equal(text, c:ask("GET", "/files/text.txt").body) end
      c:close()
    end)

    it("hold a large file whole, and the next request on the connection is answered", function()
      local c = s:connect()
      for _ = 1, 2 do assert.is_true(c:ask("GET", "/files/large.bin").body == large) end
      assert.are.equal(text, c:ask("GET", "/files/text.txt").body)
      c:close()
    end)

    it("come in order when large and small are pipelined", function()
      local c = s:connect()
      local names = { "large.bin", "text.txt", "large.bin", "nope", "large.bin" }
      for _, name in ipairs(names) do assert(c:send(client.bytes("GET", "/files/" .. name))) end
      assert.is_true(c:response().body == large)
      assert.are.equal(text, c:response().body)
      assert.is_true(c:response().body == large)
      assert.are.equal(404, c:response().status)
      assert.is_true(c:response().body == large)
      c:close()
    end)

    it("to a client that has half-closed are whole", function()
      local c = s:connect()
      assert(c:send(client.bytes("GET", "/files/large.bin")))
      c:half_close()
      assert.is_true(c:response().body == large)
      assert.is_true(c:at_eof())
      c:close()
    end)

    it("to HTTP/1.0 are whole", function()
      local r = client.request(s.port, "GET", "/files/large.bin", { version = "1.0" })
      assert.is_true(r.body == large)
    end)

    it("to an unread body behind the request are whole", function()
      local c = s:connect()
      assert(c:send("GET /files/large.bin HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"))
      local r = c:response()
      assert.is_true(r.body == large)
      assert(c:send("hello" .. client.bytes("GET", "/files/text.txt")))
      assert.are.equal(text, c:response().body)
      c:close()
    end)

    it("of an empty file have no bytes", function()
      local r = get("/files/empty.txt", { Range = "bytes=0-" })
      assert.are.equal(200, r.status)
      assert.are.equal("0", r.headers["content-length"])
    end)

    it("to HEAD have the fields of GET and no body (RFC 9110 9.3.2)", function()
      for _, name in ipairs { "text.txt", "large.bin", "style.css", "empty.txt" } do
        local c = s:connect()
        local with = c:ask("GET", "/files/" .. name)
        local without = c:ask("HEAD", "/files/" .. name, { headers = { Range = "bytes=0-1" } })
        assert.are.equal(200, without.status)
        for _, field in ipairs { "content-length", "content-type", "etag", "last-modified", "vary", "cache-control" } do
          assert.are.equal(with.headers[field], without.headers[field], name .. " " .. field)
        end
        assert.is_true(c:silent(0.05))
        c:close()
      end
    end)

    it("of files that lie on the disk alone are fetched by a thread, and others are answered meanwhile", function()
      for _, name in ipairs { "text.txt", "large.bin" } do
        local path = public .. "/cold-" .. name
        server.write_file(path, name == "text.txt" and text or large)
        age(path)
        assert(os.execute(("sync '%s' && dd of='%s' oflag=nocache conv=notrunc,fdatasync count=0 status=none"):format(path, path)))
        local r = get("/files/cold-" .. name)
        assert.is_true(r.body == (name == "text.txt" and text or large))
        os.remove(path)
      end
    end)

    it("follow a change within the second, and at once where the file is large", function()
      local path = public .. "/changing.txt"
      server.write_file(path, "one")
      age(path)
      assert.are.equal("one", get("/files/changing.txt").body)
      server.write_file(path, "two")
      wait.until_true(function() return get("/files/changing.txt").body == "two" end, 2)
      os.remove(path)
      wait.until_true(function() return get("/files/changing.txt").status == 404 end, 2)
      local big = public .. "/growing.bin"
      server.write_file(big, ("a"):rep(100000))
      assert.are.equal(100000, #get("/files/growing.bin").body)
      server.write_file(big, ("b"):rep(120000))
      assert.is_true(get("/files/growing.bin").body == ("b"):rep(120000))
      os.remove(big)
    end)

    it("hold no file that changes twice within a tick", function()
      local path = public .. "/racy.txt"
      for i = 1, 30 do
        server.write_file(path, ("%02d"):format(i))
        local body = get("/files/racy.txt").body
        assert.is_true(body == ("%02d"):format(i) or i > 1, body)
      end
      wait.until_true(function() return get("/files/racy.txt").body == "30" end, 2)
      os.remove(path)
    end)
  end)

  describe("routing", function()
    it("gives routes the first word", function()
      assert.are.equal("a route", get("/files/route").body)
    end)

    it("answers 405 to other methods, and tells them of a route's", function()
      local r = get("/files/text.txt", nil, "POST")
      assert.are.equal(405, r.status)
      assert.are.equal("GET, HEAD, OPTIONS", r.headers.allow)
      assert.are.equal("taken", get("/files/upload", nil, "POST").body)
      assert.are.equal(405, get("/files/upload").status)
      r = get("/files/text.txt", nil, "OPTIONS")
      assert.are.equal(204, r.status)
      assert.are.equal("GET, HEAD, OPTIONS", r.headers.allow)
    end)

    it("runs middleware before, and on_head functions", function()
      assert.are.equal("here", get("/files/text.txt?mark=here").headers["x-mark"])
      for _, name in ipairs { "text.txt", "large.bin", "sub" } do
        assert.is_truthy((get("/files/" .. name .. "?cookie=1").headers["set-cookie"] or ""):find "seen=1")
      end
      assert.are.equal(418, get("/files/text.txt?raise=1").status)
      assert.are.equal(418, get("/files/large.bin?raise=1").status)
    end)

    it("lets on_head functions read and replace each field of a file", function()
      for _, path in ipairs { "/files/text.txt?own=1", "/page?path=public/text.txt&own=1", "/files/large.bin?own=1" } do
        local r = get(path)
        assert.are.equal(200, r.status, path)
        for _, name in ipairs { "content-type", "x-content-type-options", "last-modified", "accept-ranges", "etag" } do
          assert.is_truthy(r.headers[name]:match "^was [^,]", path .. " " .. name)
          assert.is_nil(r.headers[name]:find("was nil", 1, true), path .. " " .. name)
          assert.are.equal(1, count_lines(r, name), path .. " " .. name)
        end
        assert.are.equal("was nil", r.headers["x-none"])
      end
    end)

    it("takes a file's fields back when an error is answered instead", function()
      local r = get "/files/text.txt?raise=1"
      for _, name in ipairs { "etag", "last-modified", "accept-ranges" } do assert.is_nil(r.headers[name], name) end
    end)

    it("leads from a folder to its own path, query and all", function()
      local r = get "/files/sub?a=b"
      assert.are.equal(301, r.status)
      assert.are.equal("/files/sub/?a=b", r.headers.location)
      assert.are.equal("/files/", get("/files").headers.location)
      assert.are.equal("sub index", get("/files/sub/").body)
      assert.are.equal("<h1>index</h1>", get("/files/").body)
    end)

    it("lists no folder", function()
      for _, path in ipairs { "/files/bare/", "/dots/", "/dots/sub/", "/dots", "/dots/sub" } do
        assert.are.equal(404, get(path).status, path)
      end
    end)

    it("hides names that begin with a dot unless they are asked for", function()
      for _, path in ipairs { "/files/.hidden", "/files/%2ehidden", "/files/.git/config" } do
        assert.are.equal(404, get(path).status, path)
      end
      assert.are.equal("hidden", get("/dots/.hidden").body)
      assert.are.equal("hidden too", get("/dots/.git/config").body)
    end)

    it("falls back to one page for what is not there", function()
      assert.are.equal("<h1>index</h1>", get("/spa/some/where").body)
      assert.are.equal(text, get("/spa/text.txt").body)
    end)

    it("decodes names once", function()
      assert.are.equal("odd name", get("/files/a%20b%25.txt").body)
      assert.are.equal(404, get("/files/a%2520b%2525.txt").status)
    end)
  end)

  -- Case by case, and beside nginx: conditional_spec.lua.
  describe("conditions", function()
    local etag, modified
    local before, after = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    setup(function()
      local r = get "/files/text.txt"
      etag, modified = r.headers.etag, r.headers["last-modified"]
    end)

    -- section, what, headers, status
    local function cases()
      local other = '"other"'
      return {
        { "13.1.1", "If-Match with its tag", { ["If-Match"] = etag }, 200 },
        { "13.1.1", "If-Match with any tag", { ["If-Match"] = "*" }, 200 },
        { "13.1.1", "If-Match in a list", { ["If-Match"] = other .. ", " .. etag }, 200 },
        { "13.1.1", "If-Match with another", { ["If-Match"] = other }, 412 },
        { "13.1.1", "If-Match compares strongly", { ["If-Match"] = "W/" .. etag }, 412 },
        { "13.1.2", "If-None-Match with its tag", { ["If-None-Match"] = etag }, 304 },
        { "13.1.2", "If-None-Match with any", { ["If-None-Match"] = "*" }, 304 },
        { "13.1.2", "If-None-Match compares weakly", { ["If-None-Match"] = "W/" .. etag }, 304 },
        { "13.1.2", "If-None-Match in a list", { ["If-None-Match"] = other .. "," .. etag }, 304 },
        { "13.1.2", "If-None-Match with another", { ["If-None-Match"] = other }, 200 },
        { "13.1.3", "If-Modified-Since its date", { ["If-Modified-Since"] = modified }, 304 },
        { "13.1.3", "If-Modified-Since before", { ["If-Modified-Since"] = before }, 200 },
        { "13.1.3", "If-Modified-Since later", { ["If-Modified-Since"] = after }, 304 },
        { "13.1.3", "If-Modified-Since no date", { ["If-Modified-Since"] = "yesterday" }, 200 },
        { "13.1.3", "If-None-Match outdoes If-Modified-Since", { ["If-None-Match"] = other, ["If-Modified-Since"] = after }, 200 },
        { "13.1.4", "If-Unmodified-Since its date", { ["If-Unmodified-Since"] = modified }, 200 },
        { "13.1.4", "If-Unmodified-Since before", { ["If-Unmodified-Since"] = before }, 412 },
        { "13.1.4", "If-Unmodified-Since later", { ["If-Unmodified-Since"] = after }, 200 },
        { "13.1.4", "If-Match outdoes If-Unmodified-Since", { ["If-Match"] = etag, ["If-Unmodified-Since"] = before }, 200 },
        { "13.2.2", "412 comes before 304", { ["If-Match"] = other, ["If-None-Match"] = etag }, 412 },
        { "13.2.2", "304 comes before a range", { ["If-None-Match"] = etag, Range = "bytes=0-1" }, 304 },
        { "13.2.2", "412 comes before a range", { ["If-Match"] = other, Range = "bytes=0-1" }, 412 },
        { "13.1.5", "If-Range with its tag", { ["If-Range"] = etag, Range = "bytes=0-1" }, 206 },
        { "13.1.5", "If-Range with another", { ["If-Range"] = other, Range = "bytes=0-1" }, 200 },
        { "13.1.5", "If-Range compares strongly", { ["If-Range"] = "W/" .. etag, Range = "bytes=0-1" }, 200 },
        { "13.1.5", "If-Range with its date", { ["If-Range"] = modified, Range = "bytes=0-1" }, 206 },
        { "13.1.5", "If-Range with another date", { ["If-Range"] = after, Range = "bytes=0-1" }, 200 },
        { "13.1.5", "If-Range turns an impossible range into all", { ["If-Range"] = other, Range = "bytes=900-" }, 200 },
        { "13.1.5", "If-Range without a range", { ["If-Range"] = etag }, 200 },
      }
    end

    it("are answered as RFC 9110 13 says, for GET and HEAD", function()
      for _, case in ipairs(cases()) do
        local section, what, headers, status = table.unpack(case)
        local message = ("%s (RFC 9110 %s)"):format(what, section)
        assert.are.equal(status, get("/files/text.txt", headers).status, message)
        local head = status == 206 and 200 or status -- 14.2: a range is of GET only
        assert.are.equal(head, get("/files/text.txt", headers, "HEAD").status, "HEAD: " .. message)
      end
    end)

    it("that hold send what a cache has to refresh, and nothing of the content (RFC 9110 15.4.5)", function()
      local r = get("/files/style.css", { ["If-None-Match"] = "*" })
      assert.are.equal(304, r.status)
      assert.is_truthy(r.headers.etag)
      assert.are.equal("max-age=60", r.headers["cache-control"])
      assert.are.equal("Accept-Encoding", r.headers.vary)
      for _, field in ipairs { "content-length", "content-type", "content-encoding", "content-range" } do
        assert.is_nil(r.headers[field], field)
      end
    end)

    it("of a large file leave the connection usable", function()
      local c = s:connect()
      assert.are.equal(304, c:ask("GET", "/files/large.bin", { headers = { ["If-None-Match"] = "*" } }).status)
      assert.are.equal(412, c:ask("GET", "/files/large.bin", { headers = { ["If-Match"] = '"x"' } }).status)
      assert.are.equal(text, c:ask("GET", "/files/text.txt").body)
      c:close()
    end)
  end)

  describe("ranges", function()
    local ones = { -- RFC 9110 section, Range, status, first and last byte (from 0)
      { "14.1.2", "bytes=0-0", 206, 0, 0 },
      { "14.1.2", "bytes=0-9", 206, 0, 9 },
      { "14.1.2", "bytes=10-19", 206, 10, 19 },
      { "14.1.2", "bytes=90-", 206, 90, 99 },
      { "14.1.2", "bytes=99-", 206, 99, 99 },
      { "14.1.2", "bytes=-1", 206, 99, 99 },
      { "14.1.2", "bytes=-10", 206, 90, 99 },
      { "14.1.2", "bytes=-500", 206, 0, 99 },
      { "14.1.2", "bytes=50-500", 206, 50, 99 },
      { "14.1.2", "bytes=0-", 206, 0, 99 },
      { "14.1.1", "BYTES=0-1", 206, 0, 1 },
      { "15.5.17", "bytes=100-", 416 },
      { "15.5.17", "bytes=500-600", 416 },
      { "15.5.17", "bytes=-0", 416 },
      { "14.1.1", "bytes=9-5", 416 },
      { "14.1.1", "bytes=a-b", 416 },
      { "14.2", "bytes=", 200 },
      { "14.1.1", "bytes=18446744073709551616-", 416 },
      { "14.2", "lines=0-1", 200 },
      { "15.3.7.2", "bytes=200-300, 5-6", 206, 5, 6 },
    }

    it("of one part are sent as they were asked for", function()
      for _, case in ipairs(ones) do
        local section, range, status, first, last = table.unpack(case)
        local r = get("/files/text.txt", { Range = range })
        local message = ("%s (RFC 9110 %s)"):format(range, section)
        assert.are.equal(status, r.status, message)
        if status == 206 then
          assert.are.equal(text:sub(first + 1, last + 1), r.body, message)
          assert.are.equal(("bytes %d-%d/100"):format(first, last), r.headers["content-range"], message)
          assert.are.equal("text/plain; charset=utf-8", r.headers["content-type"])
        elseif status == 416 then
          assert.are.equal("bytes */100", r.headers["content-range"], message)
        else
          assert.are.equal(text, r.body, message)
        end
      end
    end)

    it("of a large file begin and end in the right place (RFC 9110 14.1.2)", function()
      for _, range in ipairs { { 0, 0 }, { 1048575, 1048577 }, { 65536, 2399999 }, { 2399999, 2399999 } } do
        local first, last = range[1], range[2]
        local r = get("/files/large.bin", { Range = ("bytes=%d-%d"):format(first, last) })
        assert.are.equal(206, r.status)
        assert.is_true(r.body == large:sub(first + 1, last + 1), first)
      end
    end)

    local function parts_of(r)
      local boundary = assert(r.headers["content-type"]:match "^multipart/byteranges; boundary=(%w+)$")
      local parts, body = {}, r.body
      local from = 1
      local delimiter = "\r\n--" .. boundary
      while true do
        local at, behind = body:find(delimiter, from, true)
        assert(at == from, "a delimiter is expected")
        if body:sub(behind + 1) == "--\r\n" then return parts end
        local head_end, data = body:find("\r\n\r\n", behind, true)
        local head = body:sub(behind + 1, head_end)
        local first, last, size = head:match "Content%-Range: bytes (%d+)%-(%d+)/(%d+)"
        local n = last - first + 1
        parts[#parts + 1] = { first = tonumber(first), size = tonumber(size), head = head, data = body:sub(data + 1, data + n) }
        from = data + n + 1
      end
    end

    for name, content in pairs { ["text.txt"] = text, ["large.bin"] = large } do
      it("of several parts come as multipart/byteranges: " .. name .. " (RFC 9110 14.6)", function()
        local c = s:connect()
        local r = c:ask("GET", "/files/" .. name, { headers = { Range = "bytes=0-4, 50-59,-3" } })
        assert.are.equal(206, r.status)
        assert.is_nil(r.headers["content-range"])
        local parts = parts_of(r)
        assert.are.equal(3, #parts)
        local expected = { content:sub(1, 5), content:sub(51, 60), content:sub(-3) }
        for i, part in ipairs(parts) do
          assert.are.equal(expected[i], part.data)
          assert.are.equal(#content, part.size)
          assert.is_truthy(part.head:find "Content%-Type: ")
        end
        assert.are.equal(text, c:ask("GET", "/files/text.txt").body)
        c:close()
      end)
    end

    it("of large parts are whole", function()
      local r = get("/files/large.bin", { Range = "bytes=0-999999,1200000-2399999" })
      local parts = parts_of(r)
      assert.is_true(parts[1].data == large:sub(1, 1000000))
      assert.is_true(parts[2].data == large:sub(1200001))
    end)

    it("that overlap to more than all are answered with all (RFC 9110 14.2)", function()
      for _, range in ipairs { "0-,0-", "0-99,0-99,0-99" } do
        local r = get("/files/text.txt", { Range = "bytes=" .. range })
        assert.are.equal(200, r.status)
        assert.are.equal(text, r.body)
      end
    end)

    it("may be as many as the field holds, small and large among each other", function()
      local specs, wanted = {}, {}
      for i = 1, 600 do
        local first = i * 3000
        local last = first + (i % 100 == 0 and 99999 or i % 7)
        specs[i], wanted[i] = ("%d-%d"):format(first, last), large:sub(first + 1, last + 1)
      end
      local c = s:connect()
      for _ = 1, 2 do
        local range = "bytes=" .. table.concat(specs, ",", 1, 520)
        local parts = parts_of(c:ask("GET", "/files/large.bin", { headers = { Range = range } }))
        assert.are.equal(520, #parts)
        for i, part in ipairs(parts) do assert.is_true(part.data == wanted[i], i) end
      end
      assert.are.equal(text, c:ask("GET", "/files/text.txt").body)
      c:close()
    end)
  end)

  describe("packed forms", function()
    local cases = { -- Accept-Encoding, Content-Encoding (RFC 9110 12.5.3)
      { "gzip", "gzip" }, { "br", "br" }, { "gzip, br", "br" }, { "br;q=0.5, gzip", "gzip" }, { "gzip;q=0" },
      { "identity" }, { "" }, { "deflate" }, { "*", "br" }, { "*;q=0" }, { "br;q=0, *", "gzip" }, { "x-gzip", "gzip" },
      { "GZIP", "gzip" }, { "identity, gzip;q=0.5" }, { "gzip;q=0.001", "gzip" }, { "gzip;q=2" }, { "gzip;x=1" },
    }
    it("are chosen by Accept-Encoding (RFC 9110 12.5.3), with Vary always", function()
      local bodies = { gzip = "the gzip form", br = "the brotli form" }
      for _, case in ipairs(cases) do
        local r = get("/files/style.css", { ["Accept-Encoding"] = case[1] })
        assert.are.equal(case[2], r.headers["content-encoding"], case[1])
        assert.are.equal(bodies[case[2]] or "body { color: black }", r.body)
        assert.are.equal("text/css; charset=utf-8", r.headers["content-type"])
        assert.are.equal("Accept-Encoding", r.headers.vary)
      end
    end)

    it("have tags of their own, even at the same size and time (RFC 9110 8.8.3.3)", function()
      local plain = get("/files/only.js").headers.etag
      local packed = get("/files/only.js", { ["Accept-Encoding"] = "gzip" }).headers.etag
      assert.are_not.equal(plain, packed)
      assert.are.equal(200, get("/files/only.js", { ["Accept-Encoding"] = "gzip", ["If-None-Match"] = plain }).status)
    end)

    it("are those that lie there: nothing is packed on the way, and HEAD says the same (RFC 9110 9.3.2)", function()
      for _, method in ipairs { "GET", "HEAD" } do
        local r = get("/files/long.txt", { ["Accept-Encoding"] = "gzip, br" }, method)
        assert.is_nil(r.headers["content-encoding"])
        assert.are.equal("10000", r.headers["content-length"])
        assert.is_truthy(r.headers.etag:find '^"')
      end
    end)

    it("have ranges of their own (RFC 9110 14)", function()
      local r = get("/files/style.css", { ["Accept-Encoding"] = "gzip", Range = "bytes=4-7" })
      assert.are.equal(206, r.status)
      assert.are.equal("gzip", r.body)
    end)
  end)

  describe("paths", function()
    local function spellings()
      local list = {}
      local function add(path) list[#list + 1] = path end
      local dots = { "..", "%2e%2e", ".%2e", "%2e.", "%2E%2E", "%252e%252e", "..%00", "..;", "...", "..%20", "%c0%ae%c0%ae" }
      local slashes = { "/", "%2f", "%2F", "\\", "%5c", "%5C", "//", "/./", "%252f", "%c0%af" }
      for _, dot in ipairs(dots) do
        for _, slash in ipairs(slashes) do
          add("/files/" .. dot .. slash .. "secret" .. slash .. "key.txt")
        end
      end
      for _, slash in ipairs(slashes) do
        add("/files/sub/../.." .. slash .. "secret/key.txt")
        add("/files" .. slash .. "../secret/key.txt")
        add("/files/sub" .. slash .. ".." .. slash .. ".." .. slash .. "secret" .. slash .. "key.txt")
      end
      for _, name in ipairs { "outside", "outside-folder/key.txt", "absolute", "magic", "magic-root/etc/passwd", "loop", "sub-out",
        "absolute-inside", "fifo", "fifo/", "outside-folder", "outside-folder/", "/etc/passwd", "%2fetc%2fpasswd",
        "//etc/passwd", "%00", "text.txt%00", "text.txt%00.html", "%00/../secret/key.txt", ".", "..", "./text.txt", "%2e/text.txt",
        "sub/..", "sub/../text.txt", "text.txt/", "text.txt/.", "sub//index.html", "%", "%zz", "%2", "text.txt%",
        "%5c..%5csecret%5ckey.txt",
        "text.txt%0a", "text.txt%0d%0a", "%7f", "outside-folder/../secret/key.txt", "inside/../outside", "..%c1%9csecret",
        ".%00./secret/key.txt", "%u002e%u002e/secret/key.txt", "x/../../secret/key.txt", "~root", "~/", "C:/secret", "secret",
        ("a/"):rep(2000) .. "x", ("a"):rep(5000), ("../"):rep(300) .. "etc/passwd", ("%2e%2e/"):rep(200) .. "etc/passwd" } do
        add("/files/" .. name)
      end
      return list
    end

    it("in at least 117 spellings never leave the folder", function()
      local list = spellings()
      assert.is_true(#list >= 117, #list)
      for _, path in ipairs(list) do
        local c = s:connect()
        assert(c:send(("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):format(path)))
        local r = c:response()
        assert.is_true(r.status == 404 or r.status == 400, path .. " " .. r.status)
        for _, word in ipairs { "SECRET", "root:", "PATH=" } do assert.is_nil(r.body:find(word, 1, true), path) end
        c:close()
      end
    end)

    it("of links that stay inside are followed", function()
      assert.are.equal(text, get("/files/inside").body)
      assert.are.equal(text, get("/files/around").body)
    end)

    it("of a FIFO wake nobody who waits at its other end", function()
      local writer = io.popen(("(printf x > '%s/fifo') & echo $!; sleep 0.2"):format(public))
      local pid = tonumber(writer:read "l")
      for _ = 1, 5 do assert.are.equal(404, get("/files/fifo").status) end
      assert.is_true(proc.alive(pid))
      host.kill(pid, "KILL")
      writer:close()
    end)

    it("given to res:file never leave the root", function()
      local outs = { "../secret/key.txt", "sub/../../secret/key.txt", "/etc/passwd", "outside", "absolute", "magic", "", ".", "sub",
        "..", "outside-folder/key.txt", "fifo", "nope" }
      for _, path in ipairs(outs) do
        local r = get("/page?root=public&path=" .. path:gsub("/", "%%2F"))
        assert.are.equal(404, r.status, path)
      end
      assert.are.equal(404, get("/page?path=public/../secret/key.txt").status)
      assert.are.equal("SECRET", get("/page?path=secret/key.txt").body)
      assert.are.equal(text, get("/page?root=public&path=inside").body)
    end)
  end)

  describe("res:file", function()
    it("takes type, age and a name to be saved under (RFC 6266 4.3)", function()
      local r = get "/page?path=public/text.txt&type=text/x-own&age=5&download=na%22me%E2%82%AC.txt"
      assert.are.equal("text/x-own", r.headers["content-type"])
      assert.are.equal("max-age=5", r.headers["cache-control"])
      assert.are.equal([[attachment; filename="na_me___.txt"; filename*=UTF-8''na%22me%E2%82%AC.txt]],
        r.headers["content-disposition"])
      r = get "/page?path=public/text.txt&download=yes"
      assert.are.equal('attachment; filename="text.txt"', r.headers["content-disposition"])
      assert.is_nil(get("/no-options").headers["content-disposition"])
    end)

    it("keeps a status that the handler has set, without conditions and ranges", function()
      local r = get("/missing-page", { ["If-None-Match"] = "*", Range = "bytes=0-1" })
      assert.are.equal(404, r.status)
      assert.are.equal(text, r.body)
      assert.is_nil(r.headers.etag)
    end)

    it("answers POST with all of it", function()
      local r = get("/posted", { Range = "bytes=0-1", ["Content-Length"] = "0" }, "POST")
      assert.are.equal(200, r.status)
      assert.are.equal(text, r.body)
    end)

    it("answers ranges and conditions too", function()
      assert.are.equal("01", get("/no-options", { Range = "bytes=0-1" }).body)
      assert.are.equal("bytes */100", get("/no-options", { Range = "bytes=200-" }).headers["content-range"])
      assert.are.equal(304, get("/no-options", { ["If-None-Match"] = "*" }).status)
    end)

    it("raises for an unknown option", function()
      assert.are.equal(500, get("/bad-option").status)
      s:wait_log 'unknown option "roots"'
    end)

    it("ends the answer: a second one raises, an error after it cuts nothing", function()
      assert.is_true(get("/twice").body == large)
      s:wait_log "second answer ok=false"
      assert.is_true(get("/raise-after").body == large)
      s:wait_log "after the file"
    end)
  end)

  describe("clients", function()
    local function worker() return s:worker() end

    it("that go away in the middle leave no descriptor", function()
      get "/files/large.bin" -- the file itself may be kept open
      local before = proc.count_fds(worker())
      for i = 1, 20 do
        local c = s:connect()
        assert(c:send(client.bytes("GET", "/files/large.bin")))
        c:read(1000)
        if i % 2 == 0 then c:rst() else c:close() end
      end
      wait.until_true(function() return proc.count_fds(worker()) <= before end, 5)
      wait.until_true(function() return get("/stats").body:find '"in_flight":1[,}]' ~= nil end, 5)
    end)

    it("that read slowly cost no memory", function()
      local path = public .. "/huge.bin"
      assert(os.execute(("head -c 104857600 /dev/zero > '%s'"):format(path)))
      get("/files/huge.bin", { Range = "bytes=0-1" })
      local before, clients = proc.rss(worker()), {}
      for i = 1, 16 do
        clients[i] = s:connect()
        assert(clients[i]:send(client.bytes("GET", "/files/huge.bin")))
      end
      for _, c in ipairs(clients) do c:read(100000) end
      local grown = proc.rss(worker()) - before
      for _, c in ipairs(clients) do c:close() end
      os.remove(path)
      assert.is_true(grown < 4096 * (wait.slow > 1 and 3 or 1), grown .. " KiB")
    end)

    it("see that a file has become shorter while it was sent", function()
      local path = public .. "/shrinking.bin"
      assert(os.execute(("head -c 104857600 /dev/zero > '%s'"):format(path)))
      local c = s:connect()
      assert(c:send(client.bytes("GET", "/files/shrinking.bin")))
      local head = c:head()
      assert.are.equal("104857600", head.headers["content-length"])
      assert(os.execute(("truncate -s 1000 '%s'"):format(path)))
      local total = #c.buffer
      c.buffer = ""
      while c:fill() do
        total = total + #c.buffer
        c.buffer = ""
      end
      assert.is_true(c.eof)
      assert.is_true(total < 104857600)
      c:close()
      s:wait_log "file cut path=.* reason=\"it became shorter"
      os.remove(path)
    end)
  end)
end)

describe("static files without room", function()
  it("raise at load where the folder is none", function()
    local s = server.launch { app = [[
      local app = require "moonpool".app()
      app:static("/", "nowhere")
      return app
    ]] }
    s:wait_log "nowhere is no folder"
    s:finish("exit", 3)
  end)

  it("cut a client that takes nothing for the write timeout, and not one that takes little", function()
    local s = server.start { app = [[
      local app = require "moonpool".app()
      app:static("/", "public")
      return app
    ]], files = { ["public/x"] = "x" }, args = { "--write-timeout", "1" } }
    assert(os.execute(("head -c 50000000 /dev/zero > '%s/public/huge.bin'"):format(s.folder)))
    local fds = function() return proc.count_fds(s:worker()) end
    local before = fds()
    local stalled, slow = s:connect(), s:connect()
    for _, c in ipairs { stalled, slow } do
      c.sock:setoption("recv-buffer-size", 65536)
      assert(c:send(client.bytes("GET", "/huge.bin")))
    end
    wait.until_true(function() return fds() >= before + 3 end, 5, "two connections and the file")
    local most = fds()
    wait.until_true(function()
      slow:read(50000)
      return fds() < most
    end, 5, "the end of the one that stalls")
    slow:read(1000000)
    stalled:close()
    slow:close()
    s:stop()
  end)

  it("stand in the access log when they have ended, with all bytes or those that went out", function()
    local s = server.start { app = [[
      local app = require "moonpool".app()
      app:static("/", "public")
      return app
    ]], files = { ["public/x"] = "x" }, args = { "--access-log", "-" } }
    assert(os.execute(("head -c 50000000 /dev/zero > '%s/public/huge.bin'"):format(s.folder)))
    assert(os.execute(("head -c 100000 /dev/zero > '%s/public/whole.bin'"):format(s.folder)))
    assert.are.equal(100000, #s:get("/whole.bin").body)
    s:wait_log "whole%.bin.* 200 100000"
    local c = s:connect()
    assert(c:send(client.bytes("GET", "/huge.bin")))
    c:read(1000)
    assert.are.equal(0, s:count_log "huge%.bin")
    c:rst()
    local sent = tonumber((s:wait_log "huge%.bin.* 200 (%d+)"))
    assert.is_true(sent >= 1000 and sent < 50000000, sent)
    s:stop()
  end)

  it("answer on while descriptors are few", function()
    local s = server.start { app = [[
      local app = require "moonpool".app()
      app:static("/", "public")
      return app
    ]], files = { ["public/x"] = "x" }, nofile = 100 }
    for i = 1, 100 do
      assert(os.execute(("head -c 100000 /dev/zero > '%s/public/%d.bin'"):format(s.folder, i)))
    end
    for i = 1, 100 do assert.are.equal(100000, #s:get("/" .. i .. ".bin").body) end
    assert.is_true(proc.count_fds(s:worker()) < 60)
    s:stop()
  end)
end)
