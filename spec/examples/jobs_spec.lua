local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local FORM = { headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } }

describe("examples/jobs", function()
  local s

  local database
  setup(function()
    database = os.tmpname()
    s = server.start { app = "examples/jobs", workers = 2, env = { JOBS_DB = database } }
  end)
  teardown(function()
    s:stop()
    for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(database .. suffix) end
  end)

  local function last_line(body)
    return body:match "([^\n]+)\n$"
  end

  it("has a page with its parts, and none from elsewhere", function()
    local page = s:get "/"
    assert.are.equal("text/html; charset=utf-8", page.headers["content-type"])
    assert.is_truthy(page.headers["content-security-policy"]:find("default-src 'self'", 1, true))
    for path in page.body:gmatch '[sh][rc][ce]f?="(/[^"]+)"' do
      assert.are.equal(200, s:get(path).status, path)
    end
    assert.is_nil(page.body:find "https?://%w")
  end)

  it("lists the scripts with what they do", function()
    local list = s:get("/jobs").body
    assert.is_truthy(list:find('"hello.sh"', 1, true))
    assert.is_truthy(list:find("Says hello, and exits 27", 1, true))
  end)

  it("streams a script's output and ends with its exit code", function()
    local answer = s:post("/run/hello.sh", "")
    assert.are.equal(200, answer.status)
    assert.is_true(answer.chunked)
    assert.is_truthy(answer.body:find "^hello from process %d+\nthis line went to stderr\n{")
    assert.is_truthy(last_line(answer.body):find('"reason":"exit"', 1, true))
    assert.is_truthy(last_line(answer.body):find('"code":27', 1, true))
  end)

  it("sends output while the script runs", function()
    local c = s:connect()
    assert(c:send(client.bytes("POST", "/run/count.sh", { headers = FORM.headers, body = "arg=3" })))
    local head = c:head()
    assert.are.equal(200, head.status)
    assert.are.equal("1 of 3\n", c:chunk())
    assert.are.equal("2 of 3\n", c:chunk())
    assert.are.equal("3 of 3\n", c:chunk())
    assert.is_truthy(c:chunk():find '"code":0')
    assert.are.equal("", c:chunk())
    c:close()
  end)

  it("gives the page events: output as JSON text, then the result", function()
    local answer = s:post("/run/hello.sh", "", { headers = { Accept = "text/event-stream" } })
    assert.are.equal("text/event-stream; charset=utf-8", answer.headers["content-type"])
    assert.is_truthy(answer.body:find("event: output\ndata: \"hello from process ", 1, true))
    assert.is_truthy(answer.body:find 'event: result\ndata: {[^\n]*"code":27[^\n]*}\n\n$')
  end)

  it("runs to the end for one JSON answer", function()
    local body = s:post("/api/run/hello.sh", "").body
    assert.is_truthy(body:find('"stderr":"this line went to stderr\\n"', 1, true))
    assert.is_truthy(body:find('"code":27', 1, true))
    body = s:post("/api/run/fail.sh", "arg=SEGV", FORM).body
    assert.is_truthy(body:find('"signame":"SIGSEGV"', 1, true))
    assert.is_nil(body:find('"code"', 1, true))
  end)

  it("gives arguments as they are, never through a shell", function()
    local json = { headers = { ["Content-Type"] = "application/json" } }
    local body = s:post("/run/args.sh", '{"args":["two words","$(id)","; ls","\\"","é"]}', json).body
    assert.is_truthy(body:find('1: [two words]\n2: [$(id)]\n3: [; ls]\n4: ["]\n5: [é]\n', 1, true))
    body = s:post("/run/args.sh", "arg=a+b&arg=%2A", { headers = FORM.headers }).body
    assert.is_truthy(body:find("2 arguments\n1: [a b]\n2: [*]\n", 1, true))
  end)

  it("refuses arguments that are none", function()
    local json = { ["Content-Type"] = "application/json" }
    for _, body in ipairs { '{"args":[1]}', '{"args":"x"}', '{"args":["a\\u0000b"]}', "{", '{"args":{"a":"b"}}' } do
      assert.are.equal(400, s:post("/run/args.sh", body, { headers = json }).status, body)
    end
    assert.are.equal(415, s:post("/run/args.sh", "x", { headers = { ["Content-Type"] = "text/plain" } }).status)
  end)

  it("runs only what the folder lists", function()
    for _, name in ipairs { "..%2Fapp.lua", "%2Fbin%2Fls", "none.sh", "hello.sh%2F", ".", "..", "hello.sh%20" } do
      assert.are.equal(404, s:post("/run/" .. name, "").status, name)
    end
    assert.are.equal(405, s:get("/run/hello.sh").status)
  end)

  it("starts nothing for another site's page", function()
    for origin, status in pairs { ["http://evil.example"] = 403, ["null"] = 403, ["http://localhost"] = 200 } do
      assert.are.equal(status, s:post("/run/hello.sh", "", { headers = { Origin = origin } }).status, origin)
    end
  end)

  it("ends a job, and what it started, when its client hangs up", function()
    local c = s:connect()
    assert(c:send(client.bytes("POST", "/run/stubborn.sh", { body = "" })))
    c:head()
    local script, child = c:chunk():match "process (%d+) with child (%d+)"
    script, child = tonumber(script), tonumber(child)
    assert.is_true(proc.alive(script) and proc.alive(child))
    c:close()
    wait.until_true(function() return not proc.alive(script) and not proc.alive(child) end, 4, "the end of both")
  end)

  it("is right for many at once", function()
    local answers = client.at_once(s.port, 40, function() return "POST", "/api/run/hello.sh", { body = "" } end)
    for _, answer in ipairs(answers) do
      assert.is_truthy(answer.body:find('"code":27', 1, true), answer.body)
    end
  end)
end)
