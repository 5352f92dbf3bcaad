-- One suite, run twice: in this process, and against the real server. Both must give the same answers.
local test = require "moonpool.test"

local APP = "spec/test/both_ways"
local HOST = "both.example"

local ways = {
  ["in-process"] = function() return test.client(APP, { host = HOST }) end,
  ["a server"] = function() return test.server({ app = APP }):client { host = HOST } end,
}

-- What an answer is compared by: all but the time.
local function lines_of(answer)
  local lines = {}
  for _, line in ipairs(answer._lines) do
    if line.name ~= "Date" and line.name ~= "Last-Modified" and line.name ~= "ETag" then
      lines[#lines + 1] = line.name .. ": " .. line.value
    end
  end
  table.sort(lines)
  return lines
end

-- JSON knows no order of keys.
local function content_of(answer)
  local is_json = (answer.headers["Content-Type"] or ""):find "json" and answer.body ~= ""
  return is_json and answer:json() or answer.body
end

local function seen(answer)
  return { status = answer.status, reason = answer.reason, lines = lines_of(answer), body = content_of(answer),
    redirects = answer.redirects, path = answer.path }
end

-- A body of so many pieces, sent in chunks; a new one for each way.
local function pieces(n, size)
  return function()
    local left = n
    return function()
      left = left - 1
      return left >= 0 and ("x"):rep(size) or nil
    end
  end
end

-- What is asked, and a word of what is to come; the rest is that both are alike.
local cases = {
  { "GET", "/", status = 200, body = "started 1" },
  { "HEAD", "/", status = 200, body = "" },
  { "GET", "/hello/%3CAda%3E", status = 200, body = "<p>&lt;Ada&gt;" },
  { "GET", "/hello/%zz", status = 400 },
  { "GET", "/query", { query = { a = "1 & 2", b = { "x", "y" } } }, status = 200 },
  { "GET", "/headers", { headers = { ["X-Given"] = { "a", "b" } }, cookies = { c = "d e" } }, status = 200 },
  { "GET", "/nowhere", status = 404 },
  { "GET", "/nowhere", { headers = { Accept = "application/json" } }, status = 404 },
  { "POST", "/", { body = "x" }, status = 405 },
  { "OPTIONS", "/", status = 204 },
  { "OPTIONS", "*", status = 200 },
  { "PATCH", "/echo", status = 405 },
  { "POST", "/echo", { body = "bytes\0\255", headers = { ["Content-Type"] = "application/x-any" } }, status = 200,
    body = "bytes\0\255" },
  { "POST", "/json", { json = { a = { 1, 2 } } }, status = 201, body = '{"got":{"a":[1,2]}}' },
  { "POST", "/json", { body = "{" }, status = 400 },
  { "POST", "/form", { form = { name = "A&B", tag = { "1", "2" } } }, status = 200 },
  { "POST", "/form", { json = {} }, status = 415 },
  { "POST", "/upload", { files = { file = { name = "a.txt", type = "text/plain", body = "in it" } } }, status = 200,
    json = { name = "a.txt", size = 5, text = "in it", type = "text/plain" } },
  { "POST", "/small", { body = ("x"):rep(11) }, status = 413 },
  { "POST", "/measure", { body = ("x"):rep(300000) }, status = 200, body = "300000" },
  { "POST", "/measure", { body = pieces(5, 60000) }, status = 200, body = "300000" },
  { "POST", "/small", { body = pieces(3, 5) }, status = 413 },
  { "POST", "/measure", { body = pieces(90, 100000) }, status = 413 },
  { "POST", "/files", { form = { title = "Two" }, files = { file = { name = "../a b.txt", type = "text/plain",
    body = ("y"):rep(100000) } } }, status = 200, json = { files = { { name = "../a b.txt", size = 100000 } }, title = "Two" } },
  { "POST", "/files", { body = "--x\r\nnothing", headers = { ["Content-Type"] = "multipart/form-data; boundary=x" } },
    status = 400 },
  { "POST", "/files", { body = "", headers = { ["Content-Type"] = "multipart/form-data" } }, status = 400 },
  { "POST", "/person", { json = { name = "Ada", age = 36 } }, status = 200, json = { name = "Ada", age = 36 } },
  { "POST", "/person", { form = { name = "", age = "x" }, headers = { Accept = "application/problem+json" } }, status = 422 },
  { "POST", "/person", { json = { name = 1 }, headers = { Accept = "text/html" } }, status = 422 },
  { "GET", "/cookies", status = 200, body = "baked" },
  { "GET", "/cookies/seen", status = 200, json = { a = "1", b = "2; x=\"y\"" } },
  { "GET", "/seen", status = 200, json = { b = "2; x=\"y\"" } },
  { "GET", "/round", status = 302 },
  { "GET", "/away/3", { follow = true }, status = 200, body = "there" },
  { "POST", "/done", { body = "gone with the 303", follow = true }, status = 200, body = "nobody" },
  { "GET", "/task/fails", status = 500 },
  { "GET", "/task/refuses", { headers = { Accept = "application/json" } }, status = 409,
    json = { status = 409, message = "taken" } },
  { "GET", "/page/fails", status = 500 },
  { "GET", "/late/head", status = 200, body = "with it" },
  { "GET", "/packed", { headers = { ["Accept-Encoding"] = "gzip" } }, status = 200 },
  { "HEAD", "/packed", { headers = { ["Accept-Encoding"] = "gzip" } }, status = 200 },
  { "POST", "/members/write", status = 403 },
  { "POST", "/members/write", { headers = { Origin = "http://elsewhere.example" } }, status = 403 },
  { "GET", "/login", status = 302 },
  { "GET", "/login", { follow = true }, status = 200, body = "Ada L." },
  { "GET", "/whoami", status = 200, body = "Ada L." },
  { "GET", "/logout", { follow = true }, status = 200, body = "nobody" },
  { "POST", "/moved", { body = "again", follow = true }, status = 200, body = "again" },
  { "GET", "/bug", status = 500 },
  { "GET", "/teapot", status = 418 },
  { "GET", "/nothing", status = 204 },
  { "GET", "/slow", status = 503 },
  { "GET", "/stream", status = 200, body = "piece 1\npiece 2\npiece 3\n" },
  { "HEAD", "/stream", status = 200, body = "" },
  { "GET", "/large", status = 200, body = ("x"):rep(40 * 65536) },
  { "GET", "/run", status = 200, body = "out\n" },
  { "GET", "/files/style.css", status = 200, body = "body { color: black }\n" },
  { "GET", "/files/style.css", { headers = { Range = "bytes=0-3" } }, status = 206, body = "body" },
  { "GET", "/files/style.css", { headers = { Range = "bytes=99-" } }, status = 416 },
  { "GET", "/files/none.css", status = 404 },
  { "GET", "/files/..%2fapp.lua", status = 404 },
  { "POST", "/files/style.css", status = 405 },
  { "GET", "/", { headers = { ["X-Long"] = ("x"):rep(9000) } }, status = 431 },
}

local function options_of(case)
  local options = {}
  for name, value in pairs(case[3] or {}) do
    options[name] = name == "body" and type(value) == "function" and value() or value
  end
  return options
end

local function events_of(client)
  local answer, list = client:get "/events", {}
  for event in answer:events() do
    list[#list + 1] = event
  end
  return answer, list
end

local answers = {}

for name, open in pairs(ways) do
  describe("over " .. name, function()
    it("gives each answer as it is due", function()
      local client = open()
      answers[name] = {}
      for i, case in ipairs(cases) do
        local what = case[1] .. " " .. case[2] .. " (" .. i .. ")"
        local answer = client:request(case[1], case[2], options_of(case))
        assert.equal(case.status, answer.status, what)
        if case.body then
          assert.is_true(answer.body == case.body, what .. ": " .. answer.body:sub(1, 200))
        end
        if case.json then
          assert.same(case.json, answer:json(), what)
        end
        answers[name][i] = seen(answer)
      end
    end)

    it("sends a stream piece by piece, as it comes", function()
      local request = open():send("POST", "/echo", { stream = true })
      request:write "one "
      request:write "two"
      request:finish()
      assert.equal("one two", request:response().body)
    end)

    it("takes a body from a function", function()
      local left = { "a", "", "b" }
      assert.equal("ab", open():post("/echo", { body = function() return table.remove(left, 1) end }).body)
    end)

    it("reads events", function()
      local answer, list = events_of(open())
      assert.equal("text/event-stream; charset=utf-8", answer.headers["Content-Type"])
      assert.same({ { event = "greeting", data = "first", id = "1", retry = 2 }, { event = "message", data = "two\nlines" } },
        list)
      answers[name].events = seen(answer)
    end)

    it("shows that an answer was cut", function()
      local client = open()
      local answer = client:get("/cut", { stream = true })
      assert.equal("half", answer:read())
      assert.has_error(function() answer:read() end)
    end)
  end)
end

describe("both ways", function()
  it("give the same status, fields and bodies", function()
    local inside, server = answers["in-process"], answers["a server"]
    for i, case in ipairs(cases) do
      assert.same(server[i], inside[i], case[1] .. " " .. case[2])
    end
    assert.same(server.events, inside.events)
  end)
end)
