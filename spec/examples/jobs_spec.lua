local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

describe("examples/jobs", function()
  local s
  setup(function() s = server.start { app = "examples/jobs", workers = 2 } end)
  teardown(function() s:stop() end)

  local function last_line(text) return text:match "([^\n]+)\n$" end

  it("shows a page that needs nothing from elsewhere", function()
    local r = s:get "/"
    assert.are.equal(200, r.status)
    assert.is_truthy(r.headers["content-type"]:find "^text/html")
    local references = 0
    for reference in r.body:gmatch "[sh]re?[cf]=\"([^\"]*)\"" do
      references = references + 1
      assert.is_nil(reference:find "^%a+:" or reference:find "^//", reference)
      assert.are.equal(200, s:get(reference:find "^/" and reference or "/" .. reference).status, reference)
    end
    assert.is_true(references >= 2)
  end)

  it("lists its scripts, hello.sh among them", function()
    local r = s:get "/jobs"
    assert.are.equal(200, r.status)
    assert.is_truthy(r.body:find('"name":"hello.sh"', 1, true))
  end)

  it("runs hello.sh, which exits 27", function()
    local r = s:post("/run/hello.sh", "")
    assert.are.equal(200, r.status)
    assert.is_truthy(last_line(r.body):find('"code":27', 1, true), r.body)
    assert.is_truthy(last_line(r.body):find('"ok":false', 1, true), r.body)
    assert.is_truthy(s:post("/api/run/hello.sh", "").body:find('"code":27', 1, true))
  end)

  it("runs it for 200 clients at once, and each gets 27", function()
    local answers = client.at_once(s.port, 200, function() return "POST", "/api/run/hello.sh", { body = "" } end)
    for n, r in ipairs(answers) do
      assert.are.equal(200, r.status, n)
      assert.is_truthy(r.body:find('"code":27', 1, true), r.body)
    end
  end)

  it("hands arguments over as they are", function()
    local form = { headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } }
    local r = s:post("/api/run/args.sh", "arg=one&arg=two+words&arg=%24%28id%29%3B", form)
    assert.are.equal(200, r.status, r.body)
    assert.is_truthy(r.body:find("two words", 1, true), r.body)
    assert.is_truthy(r.body:find("$(id);", 1, true), r.body)
    local json = { headers = { ["Content-Type"] = "application/json" } }
    assert.is_truthy(s:post("/api/run/args.sh", '{"args":["json arg"]}', json).body:find("json arg", 1, true))
    assert.are.equal(400, s:post("/api/run/args.sh", '{"args":[1]}', json).status)
  end)

  it("streams what is printed while it is printed", function()
    local c = s:connect()
    c:send(client.bytes("POST", "/run/count.sh", { body = "", headers = { Accept = "text/event-stream" } }))
    local head = c:head()
    assert.is_truthy(head.headers["content-type"]:find "^text/event%-stream")
    local text, first_at, started = "", nil, wait.now()
    repeat
      local chunk = c:chunk()
      text = text .. chunk
      if not first_at and text:find("event: output", 1, true) then first_at = wait.now() - started end
    until chunk == "" or text:find("event: result", 1, true)
    assert.is_truthy(first_at)
    assert.is_true(first_at < 1 * wait.slow)
    c:close()
  end)

  it("knows only its own scripts", function()
    for _, name in ipairs { "nope.sh", "..%2Fapp.lua", "%2E%2E", "..%2f..%2f..%2fbin%2Fsh" } do
      assert.are.equal(404, s:post("/run/" .. name, "").status, name)
    end
  end)

  it("starts nothing for another site's page", function()
    local r = s:post("/run/hello.sh", "", { headers = { Origin = "http://elsewhere.example" } })
    assert.are.equal(403, r.status)
    assert.are.equal(200, s:post("/run/hello.sh", "", { headers = { Origin = "http://localhost" } }).status)
  end)

  it("ends a job whose client hangs up, however deaf", function()
    local c = s:connect()
    c:send(client.bytes("POST", "/run/stubborn.sh", { body = "" }))
    c:head()
    wait.until_true(function() return #proc.named "stubborn.sh" > 0 end, 3, "the job")
    c:rst()
    wait.until_true(function() return #proc.named "stubborn.sh" == 0 end, 3.5, "its end")
  end)
end)
