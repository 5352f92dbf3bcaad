-- Range and conditional requests, case by case: what we answer, by which section of RFC 9110, and what nginx answers to
-- the same bytes. Where the RFC leaves it free we do as nginx does; the departures are those that it binds us to, each
-- with its reason. Without nginx (Debian's nginx-light will do) only our half runs.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local server = require "spec.support.server"
local socket = require "socket"
local wait = require "spec.support.wait"

local app = [[
local app = require "moonpool".app()
app:static("/", "public")
app:get("/file/*path", function(req, res) res:file(req.params.path, { root = "public" }) end)
return app
]]

local text = ("0123456789"):rep(10)
local large = {}
for i = 1, 20000 do large[i] = ("%07d\n"):format(i) end
large = table.concat(large) -- 160 000 bytes, each place tells where it is
local contents = { ["text.txt"] = text, ["large.txt"] = large, ["empty.txt"] = "" }

local CHANGED = 1700000000
local RFC850, ASCTIME = "Tuesday, 14-Nov-23 22:13:20 GMT", "Tue Nov 14 22:13:20 2023"
local BEFORE, AFTER = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"

local function many(n, spec)
  local list = {}
  for i = 1, n do list[i] = spec and spec or ("%d-%d"):format(i % 100, i % 100) end
  return "Range: bytes=" .. table.concat(list, ",")
end

-- Why we differ.
local ONLY_GET = "14.2: Range is defined for GET alone, and MUST be ignored otherwise"
local ORDER = "13.2.2: If-Unmodified-Since is not evaluated beside If-Match"
local NOT_BESIDE = "13.1.3: If-Modified-Since MUST be ignored beside If-None-Match"
local EARLIER = "13.2.2: not modified since a date that is later either, so MUST 304 be the answer"
local NO_DATE = "13.1.4: what is no date MUST be ignored"
local TWO_DATES = "13.1.3, 13.1.4: a field with two members MUST be ignored"
local EMPTY = "5.6.1.2: empty elements of a list MUST be accepted"
local SPACE = "5.6.1.2: a tab beside a comma MUST be accepted"
local LINES = "5.3: lines of a list are one list"

-- section, name, request lines ($tag, $date stand for the file's own), status
-- file ("text.txt"), method ("GET"), version; ranges: first and last byte of each part; nginx: its status, why we depart
local function case(section, name, lines, status, more)
  local c = { section = section, name = name, lines = type(lines) == "table" and lines or { lines }, status = status }
  for key, value in pairs(more or {}) do c[key] = value end
  return c
end

local function range(section, spec, status, more)
  return case(section, "Range: " .. spec, "Range: bytes=" .. spec, status, more)
end

local one_byte = { ranges = { { 0, 0 } } }
local cases = {
  -- ranges
  range("14.1.2", "0-0", 206, { ranges = { { 0, 0 } } }),
  range("14.1.2", "0-9", 206, { ranges = { { 0, 9 } } }),
  range("14.1.2", "10-19", 206, { ranges = { { 10, 19 } } }),
  range("14.1.2", "90-", 206, { ranges = { { 90, 99 } } }),
  range("14.1.2", "99-", 206, { ranges = { { 99, 99 } } }),
  range("14.1.2", "0-", 206, { ranges = { { 0, 99 } } }),
  range("14.1.2", "0-99", 206, { ranges = { { 0, 99 } } }),
  range("14.1.2", "0-100", 206, { ranges = { { 0, 99 } } }),
  range("14.1.2", "50-500", 206, { ranges = { { 50, 99 } } }),
  range("14.1.2", "0-9223372036854775807", 206, { ranges = { { 0, 99 } } }),
  range("14.1.2", "-1", 206, { ranges = { { 99, 99 } } }),
  range("14.1.2", "-10", 206, { ranges = { { 90, 99 } } }),
  range("14.1.2", "-100", 206, { ranges = { { 0, 99 } } }),
  range("14.1.2", "-500", 206, { ranges = { { 0, 99 } } }),
  range("14.1.2", "000-009", 206, { ranges = { { 0, 9 } } }),
  range("14.1.2", "65535-65537", 206, { file = "large.txt", ranges = { { 65535, 65537 } } }),
  range("14.1.2", "-70000", 206, { file = "large.txt", ranges = { { 90000, 159999 } } }),
  range("15.5.17", "100-", 416),
  range("15.5.17", "100-200", 416),
  range("15.5.17", "-0", 416),
  range("15.5.17", "-0,100-", 416),
  range("14.1.1", "9-5", 416),
  range("14.1.1", "a-b", 416),
  range("14.1.1", "-", 416),
  range("14.1.1", "5", 416),
  range("14.1.1", "1-2x", 416),
  range("14.1.1", "1--2", 416),
  range("14.1.1", "+1-2", 416),
  range("14.1.1", "0x1-", 416),
  range("14.1.1", "1-2-3", 416),
  range("14.1.1", "0-9,x", 416),
  range("14.1.1", "x,0-9", 416),
  range("14.1.1", "99999999999999999999-", 416),
  range("14.1.1", "0-99999999999999999999", 416),
  range("14.1.1", "-99999999999999999999", 416),
  range("14.1.1", "18446744073709551616-", 416),
  range("14.1.1", "9223372036854775808-", 416),
  range("14.1.1", "9223372036854775807-", 416),
  range("14.2", "", 200),
  range("14.1.1", ",", 416),
  range("14.2", " 5 - 6 ", 206, { ranges = { { 5, 6 } } }),
  range("14.1.1", "5\t-6", 416),
  range("14.1.1", "5-\t6", 416),
  case("14.1", "Range in capitals", "RANGE: BYTES=0-0", 206, one_byte),
  case("14.1", "Range: Bytes", "Range: Bytes=0-0", 206, one_byte),
  case("14.2", "Range in another unit", "Range: lines=0-1", 200),
  case("14.2", "Range without a unit", "Range: 0-1", 200),
  case("14.2", "Range with a space before =", "Range: bytes =0-1", 200),
  case("14.2", "Range of a unit alone", "Range: bytes", 200),
  case("14.2", "Range that is empty", "Range:", 200),
  case("14.2", "two Range lines: the first", { "Range: bytes=0-0", "Range: bytes=2-3" }, 206, one_byte),
  case("14.2", "two Range lines, the first of another unit", { "Range: lines=0-0", "Range: bytes=2-3" }, 200),
  case("14.2", "Range to HTTP/1.0", "Range: bytes=0-0", 206, { version = "1.0", ranges = { { 0, 0 } } }),

  -- several of them
  range("15.3.7.2", "0-4,50-59,-3", 206, { ranges = { { 0, 4 }, { 50, 59 }, { 97, 99 } } }),
  range("15.3.7.2", "0-4, 50-59 , -3", 206, { ranges = { { 0, 4 }, { 50, 59 }, { 97, 99 } } }),
  range("15.3.7.2", "50-59,0-4", 206, { ranges = { { 50, 59 }, { 0, 4 } } }),
  range("15.3.7.2", "0-4,2-6", 206, { ranges = { { 0, 4 }, { 2, 6 } } }),
  range("15.3.7.2", "0-49,50-99", 206, { ranges = { { 0, 49 }, { 50, 99 } } }),
  range("15.3.7.2", "200-300,5-6", 206, { ranges = { { 5, 6 } } }),
  range("15.3.7.2", "5-6,200-300,9-8", 206, { ranges = { { 5, 6 } } }),
  range("15.3.7.2", "0-0,100-", 206, { ranges = { { 0, 0 } } }),
  range("14.2", "0-,0-", 200),
  range("14.2", "0-99,0-0", 200),
  range("14.2", "0-,-1", 200),
  range("14.2", "50-,0-50", 200),
  range("15.3.7.2", "0-9,70000-70009,159990-", 206,
    { file = "large.txt", ranges = { { 0, 9 }, { 70000, 70009 }, { 159990, 159999 } } }),
  range("15.3.7.2", "0-79999,80000-", 206, { file = "large.txt", ranges = { { 0, 79999 }, { 80000, 159999 } } }),
  case("14.2", "33 ranges", many(33), 206, { parts = 33 }),
  case("14.2", "61 ranges", many(61), 206, { parts = 61 }),
  case("14.2", "101 ranges of 100 bytes", many(101), 200),
  case("14.2", "1 900 ranges", many(1900, "7-7"), 206, { file = "large.txt", parts = 1900 }),
  range("5.6.1.2", "0-1,", 206, { ranges = { { 0, 1 } }, nginx = 416, why = EMPTY }),
  range("5.6.1.2", ",0-1", 206, { ranges = { { 0, 1 } }, nginx = 416, why = EMPTY }),
  range("5.6.1.2", "0-1,,4-5", 206, { ranges = { { 0, 1 }, { 4, 5 } }, nginx = 416, why = EMPTY }),
  range("5.6.1.2", "0-1,\t4-5", 206, { ranges = { { 0, 1 }, { 4, 5 } }, nginx = 416, why = SPACE }),

  -- of nothing
  range("14.1.2", "0-", 200, { file = "empty.txt" }),
  range("14.1.2", "0-9", 200, { file = "empty.txt" }),
  range("14.1.2", "-5", 200, { file = "empty.txt" }),
  range("14.1.2", "-0", 200, { file = "empty.txt" }),
  range("15.5.17", "5-", 416, { file = "empty.txt" }),
  range("14.1.1", "x", 416, { file = "empty.txt" }),

  -- If-Match
  case("13.1.1", "If-Match with its tag", "If-Match: $tag", 200),
  case("13.1.1", "If-Match with any", "If-Match: *", 200),
  case("13.1.1", "If-Match in a list", 'If-Match: "other", $tag', 200),
  case("13.1.1", "If-Match in a list without spaces", 'If-Match: "other",$tag,"x"', 200),
  case("13.1.1", "If-Match with another", 'If-Match: "other"', 412),
  case("13.1.1", "If-Match with a weak one", "If-Match: W/$tag", 412),
  case("13.1.1", "If-Match that is empty", "If-Match:", 412),
  case("13.1.1", "If-Match without quotes", "If-Match: other", 412),
  case("5.3", "If-Match in the second line", { 'If-Match: "other"', "If-Match: $tag" }, 200, { nginx = 400, why = LINES }),

  -- If-None-Match
  case("13.1.2", "If-None-Match with its tag", "If-None-Match: $tag", 304),
  case("13.1.2", "If-None-Match with any", "If-None-Match: *", 304),
  case("13.1.2", "If-None-Match with a weak one", "If-None-Match: W/$tag", 304),
  case("13.1.2", "If-None-Match in a list", 'If-None-Match: "other" , $tag', 304),
  case("13.1.2", "If-None-Match in a list of weak ones", 'If-None-Match: W/"other",W/$tag', 304),
  case("13.1.2", "If-None-Match with another", 'If-None-Match: "other"', 200),
  case("13.1.2", "If-None-Match that is empty", "If-None-Match:", 200),
  case("13.1.2", "If-None-Match without quotes", "If-None-Match: other", 200),
  case("5.3", "If-None-Match in the second line", { 'If-None-Match: "other"', "If-None-Match: $tag" }, 304,
    { nginx = 400, why = LINES }),

  -- If-Modified-Since
  case("13.1.3", "If-Modified-Since its date", "If-Modified-Since: $date", 304),
  case("13.1.3", "If-Modified-Since before", "If-Modified-Since: " .. BEFORE, 200),
  case("13.1.3", "If-Modified-Since later", "If-Modified-Since: " .. AFTER, 304, { nginx = 200, why = EARLIER }),
  case("13.1.3", "If-Modified-Since no date", "If-Modified-Since: yesterday", 200),
  case("13.1.3", "If-Modified-Since that is empty", "If-Modified-Since:", 200),
  case("5.6.7", "If-Modified-Since in the form of RFC 850", "If-Modified-Since: " .. RFC850, 304),
  case("5.6.7", "If-Modified-Since in the form of asctime", "If-Modified-Since: " .. ASCTIME, 304),
  case("5.6.7", "If-Modified-Since without a zone", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20", 200,
    { nginx = 304, why = NO_DATE }),
  case("13.1.3", "If-Modified-Since twice", { "If-Modified-Since: $date", "If-Modified-Since: $date" }, 200,
    { nginx = 400, why = TWO_DATES }),
  case("13.1.3", "If-None-Match and If-Modified-Since, both the same", { "If-None-Match: $tag", "If-Modified-Since: $date" }, 304),
  case("13.1.3", "another tag outdoes its date", { 'If-None-Match: "other"', "If-Modified-Since: $date" }, 200),
  case("13.1.3", "its tag outdoes an earlier date", { "If-None-Match: $tag", "If-Modified-Since: " .. BEFORE }, 304,
    { nginx = 200, why = NOT_BESIDE }),

  -- If-Unmodified-Since
  case("13.1.4", "If-Unmodified-Since its date", "If-Unmodified-Since: $date", 200),
  case("13.1.4", "If-Unmodified-Since before", "If-Unmodified-Since: " .. BEFORE, 412),
  case("13.1.4", "If-Unmodified-Since later", "If-Unmodified-Since: " .. AFTER, 200),
  case("13.1.4", "If-Unmodified-Since no date", "If-Unmodified-Since: tomorrow", 200, { nginx = 412, why = NO_DATE }),
  case("13.1.4", "If-Unmodified-Since that is empty", "If-Unmodified-Since:", 200, { nginx = 412, why = NO_DATE }),
  case("13.1.4", "If-Unmodified-Since twice", { "If-Unmodified-Since: " .. BEFORE, "If-Unmodified-Since: " .. BEFORE }, 200,
    { nginx = 400, why = TWO_DATES }),
  case("13.2.2", "its tag outdoes If-Unmodified-Since before", { "If-Match: $tag", "If-Unmodified-Since: " .. BEFORE }, 200,
    { nginx = 412, why = ORDER }),
  case("13.2.2", "another tag is enough beside If-Unmodified-Since", { 'If-Match: "other"', "If-Unmodified-Since: $date" }, 412),

  -- together
  case("13.2.2", "412 comes before 304", { 'If-Match: "other"', "If-None-Match: $tag" }, 412),
  case("13.2.2", "412 comes before 304, by dates", { "If-Unmodified-Since: " .. BEFORE, "If-None-Match: $tag" }, 412),
  case("13.2.2", "a tag that is there, then 304", { "If-Match: $tag", "If-None-Match: $tag" }, 304),
  case("13.2.2", "304 comes before a range", { "If-None-Match: $tag", "Range: bytes=0-1" }, 304),
  case("13.2.2", "304 comes before 416", { "If-None-Match: $tag", "Range: bytes=900-" }, 304),
  case("13.2.2", "412 comes before a range", { 'If-Match: "other"', "Range: bytes=0-1" }, 412),
  case("13.2.2", "a range of what is not the client's", { 'If-None-Match: "other"', "Range: bytes=0-0" }, 206, one_byte),
  case("13.2.2", "a range of what the client has changed in mind", { "If-Match: $tag", "Range: bytes=0-0" }, 206, one_byte),

  -- If-Range
  case("13.1.5", "If-Range with its tag", { "If-Range: $tag", "Range: bytes=0-0" }, 206, one_byte),
  case("13.1.5", "If-Range with another", { 'If-Range: "other"', "Range: bytes=0-0" }, 200),
  case("13.1.5", "If-Range with a weak one", { "If-Range: W/$tag", "Range: bytes=0-0" }, 200),
  case("13.1.5", "If-Range with its date", { "If-Range: $date", "Range: bytes=0-0" }, 206, one_byte),
  case("13.1.5", "If-Range before", { "If-Range: " .. BEFORE, "Range: bytes=0-0" }, 200),
  case("13.1.5", "If-Range later", { "If-Range: " .. AFTER, "Range: bytes=0-0" }, 200),
  case("13.1.5", "If-Range no date", { "If-Range: tomorrow", "Range: bytes=0-0" }, 200),
  case("13.1.5", "If-Range makes of an impossible range all", { 'If-Range: "other"', "Range: bytes=900-" }, 200),
  case("13.1.5", "If-Range with its tag and an impossible range", { "If-Range: $tag", "Range: bytes=900-" }, 416),
  case("13.1.5", "If-Range of several parts", { "If-Range: $tag", "Range: bytes=0-0,5-6" }, 206,
    { ranges = { { 0, 0 }, { 5, 6 } } }),
  case("13.1.5", "If-Range without a range", "If-Range: $tag", 200),
  case("13.2.2", "If-Range behind a condition that fails", { 'If-Match: "other"', "If-Range: $tag", "Range: bytes=0-0" }, 412),

  -- none
  case("9.3.1", "GET", {}, 200),
  case("9.3.1", "GET of a large file", {}, 200, { file = "large.txt" }),
  case("9.3.1", "GET of an empty file", {}, 200, { file = "empty.txt" }),
}

-- HEAD: as GET, but without ranges (14.2). nginx answers them.
for i = 1, #cases do
  local c = cases[i]
  local ranged = (c.nginx or c.status) == 206 or (c.nginx or c.status) == 416
  local head = { method = "HEAD", file = c.file, version = c.version, nginx = c.nginx, why = c.why }
  local status = (c.status == 206 or c.status == 416) and 200 or c.status
  if ranged then head.nginx, head.why = c.nginx or c.status, ONLY_GET end
  if head.nginx == status then head.nginx = nil end
  cases[#cases + 1] = case(ranged and "14.2" or c.section, "HEAD, " .. c.name, c.lines, status, head)
end

local function ask(port, c, facts, prefix)
  local lines = { ("%s %s%s HTTP/%s"):format(c.method or "GET", prefix or "/", c.file or "text.txt", c.version or "1.1"),
    "Host: x" }
  for _, line in ipairs(c.lines) do
    lines[#lines + 1] = line:gsub("%$(%a+)", facts)
  end
  local connection = client.connect(port)
  assert(connection:send(table.concat(lines, "\r\n") .. "\r\n\r\n"))
  local ok, r = pcall(connection.response, connection, c.method)
  connection:close()
  return ok and r or error(("%s: %s"):format(c.name, r), 0)
end

local function facts_of(port, c, prefix)
  local r = ask(port, { file = c.file, lines = {} }, {}, prefix)
  return { tag = r.headers.etag, date = r.headers["last-modified"] }
end

-- first, last, size and bytes of each part.
local function parts_of(r)
  local boundary = assert(r.headers["content-type"]:match "^multipart/byteranges; boundary=(%w+)$")
  local parts, from, delimiter = {}, 1, "\r\n--" .. boundary
  while true do
    local at, behind = r.body:find(delimiter, from, true)
    assert(at == from, "a delimiter is expected")
    if r.body:sub(behind + 1) == "--\r\n" then return parts end
    local head_end, data = r.body:find("\r\n\r\n", behind, true)
    local head = r.body:sub(behind + 1, head_end)
    assert(head:find "\r\nContent%-Type: text/plain")
    local first, last, size = head:match "\r\nContent%-Range: bytes (%d+)%-(%d+)/(%d+)\r"
    from = data + 1 + last - first + 1
    parts[#parts + 1] = { tonumber(first), tonumber(last), tonumber(size), r.body:sub(data + 1, from - 1) }
  end
end

-- What an answer comes to, so that two can be compared.
local function summary(r)
  local s = { status = r.status, tagged = r.headers.etag ~= nil, dated = r.headers["last-modified"] ~= nil }
  s.range = r.headers["content-range"]
  s.takes = r.status < 400 and r.headers["accept-ranges"]
  if r.status == 206 and not s.range then
    s.parts = parts_of(r)
  elseif r.status < 300 then
    s.body, s.length = r.body, r.headers["content-length"]
  end
  return s
end

local function judge(c, r, message)
  local content = contents[c.file or "text.txt"]
  assert.are.equal(c.status, r.status, message)
  if r.status == 206 then
    local parts = r.headers["content-range"] and { 1 } or parts_of(r)
    assert.are.equal(c.ranges and #c.ranges or c.parts, #parts, message)
    for i, wanted in ipairs(c.ranges or {}) do
      local bytes = content:sub(wanted[1] + 1, wanted[2] + 1)
      if #c.ranges == 1 then
        assert.are.equal(("bytes %d-%d/%d"):format(wanted[1], wanted[2], #content), r.headers["content-range"], message)
        assert.is_true(bytes == r.body, message)
      else
        assert.are.same({ wanted[1], wanted[2], #content, bytes }, parts[i], message)
      end
    end
  elseif r.status == 416 then
    assert.are.equal("bytes */" .. #content, r.headers["content-range"], message)
  elseif r.status == 200 then
    assert.are.equal(tostring(#content), r.headers["content-length"], message)
    assert.is_true((c.method == "HEAD" and "" or content) == r.body, message)
  end
end

---- nginx

local function find_nginx()
  for folder in (os.getenv "PATH" .. ":/usr/sbin:/usr/local/sbin"):gmatch "[^:]+" do
    if lfs.attributes(folder .. "/nginx", "mode") == "file" then return folder .. "/nginx" end
  end
end

local function free_port()
  local s = assert(socket.bind("127.0.0.1", 0))
  local _, port = s:getsockname()
  s:close()
  return tonumber(port)
end

local CONF = [[
daemon off; master_process off; pid %s/pid; error_log %s/log;
events { worker_connections 64; }
http {
  types { text/plain txt; }
  access_log off; sendfile on;
  client_body_temp_path %s/a; proxy_temp_path %s/b; fastcgi_temp_path %s/c; uwsgi_temp_path %s/d; scgi_temp_path %s/e;
  server { listen 127.0.0.1:%d; root %s; }
}
]]

local function start_nginx(binary, folder, public)
  lfs.mkdir(folder)
  local n = { port = free_port() }
  server.write_file(folder .. "/conf", CONF:format(folder, folder, folder, folder, folder, folder, folder, n.port, public))
  n.pid = assert(host.start { argv = { binary, "-e", folder .. "/log", "-p", folder, "-c", folder .. "/conf" },
    env = host.environ(), out = folder .. "/out", err = folder .. "/err" })
  wait.until_true(function()
    assert(host.wait(n.pid) == "running", "nginx has ended: " .. server.read_file(folder .. "/log"))
    return pcall(function() client.connect(n.port):close() end)
  end, 10, "nginx")
  return n
end

local function stop_nginx(n)
  host.kill(n.pid, "TERM")
  wait.until_true(function() return host.wait(n.pid) ~= "running" end, 10, "the end of nginx")
end

describe("range and conditional requests", function()
  local s, public
  local binary = find_nginx()
  setup(function()
    local files = {}
    for name, content in pairs(contents) do files["public/" .. name] = content end
    s = server.start { app = app, files = files }
    public = s.folder .. "/public"
    for name in pairs(contents) do assert(lfs.touch(public .. "/" .. name, CHANGED)) end
  end)
  teardown(function() s:stop() end)

  for _, prefix in ipairs { "/", "/file/" } do
    it("are answered as RFC 9110 says below " .. prefix, function()
      for _, c in ipairs(cases) do
        judge(c, ask(s.port, c, facts_of(s.port, c, prefix), prefix), ("%s (RFC 9110 %s)"):format(c.name, c.section))
      end
    end)
  end

  it("leave the connection as it was", function()
    local connection = s:connect()
    for _, c in ipairs(cases) do
      if not c.method and #c.lines > 0 then
        local r = connection:ask("GET", "/" .. (c.file or "text.txt"), { headers = { (c.lines[1]:gsub("%$%a+", '"x"')) } })
        assert.is_truthy(r.status < 500)
      end
    end
    assert.are.equal(text, connection:ask("GET", "/text.txt").body)
    connection:close()
  end)

  if not binary then
    pending "are answered as nginx does: nginx is not installed"
    return
  end

  it("are answered as nginx does, but for what the RFC binds us to", function()
    local nginx <close> = setmetatable(start_nginx(binary, s.folder .. "/nginx", public), { __close = stop_nginx })
    for _, c in ipairs(cases) do
      local message = ("%s (RFC 9110 %s)%s"):format(c.name, c.section, c.why and ": " .. c.why or "")
      local theirs = ask(nginx.port, c, facts_of(nginx.port, c))
      if c.nginx then
        assert.are.equal(c.nginx, theirs.status, "nginx to " .. message)
        assert.is_string(c.why, "a departure has its reason: " .. c.name)
      else
        assert.are.same(summary(theirs), summary(ask(s.port, c, facts_of(s.port, c))), message)
      end
    end
  end)
end)
