-- What a handler that raises leaves behind: its answer, its line in the log, and nothing else.
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app, inner = moonpool.app(), moonpool.app()
app:get("/raise", function() error { status = 404 } end)
app:get("/known", function() moonpool.running() error "told once" end)
app:get("/nap", function(req, res) moonpool.sleep(0.05) res:text("slept " .. req.path) end)
app:get("/popen", function() local file <close> = io.popen "sleep 100" error "popen left" end)
app:get("/module", function() return require "no.such.module" end)
app:get("/endless", function() local function f() return 1 + f() end return f() end)
app:get("/more", function(_, res) res:header("Content-Length", 2) res:write "abc" end)
app:get("/more-caught", function(_, res)
  res:header("Content-Length", 2)
  pcall(res.write, res, "abc")
  res:write "ab"
end)
inner:error_page(function(_, res, e) res:text("inner " .. e.status) end)
inner:get("/raise", function() moonpool.sleep(0.01) error { status = 409 } end)
inner:get("/bug", function() error "a bug" end)
app:mount("/in", inner)
return app
]]

describe("a handler that raises", function()
  local s

  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  it("out of endless recursion tells the top of its stack alone", function()
    assert.are.equal(500, s:get("/endless").status)
    s:wait_log "stack overflow"
    s:wait_log "more than 1000 levels"
    assert.are.equal(404, s:get("/raise").status)
  end)

  it("because it wrote more than it had promised is an error like any other", function()
    assert.are.equal(500, s:get("/more").status)
    local r = s:get("/more-caught")
    assert.are.same({ 200, "ab" }, { r.status, r.body })
  end)

  it("leaves nothing that ends a later request", function()
    for _ = 1, 8 do assert.are.equal(404, s:get("/raise").status) end
    local later = wait.now() + 2.2 -- longer than the grace of a cancelled task
    wait.until_true(function() return wait.now() > later end, 5)
    local answers = client.at_once(s.port, 40, function() return "GET", "/nap" end)
    for _, answer in ipairs(answers) do assert.are.equal("slept /nap", answer.body) end
  end)

  it("is logged once, also when it asked for its own task", function()
    assert.are.equal(500, s:get("/known").status)
    s:wait_log "told once"
    s:get("/nap")
    assert.are.equal(1, s:count_log "told once")
  end)

  it("stops the command of a popen handle that it leaves", function()
    local took, answer = wait.took(s.get, s, "/popen")
    assert.are.equal(500, answer.status)
    assert.is_true(took < 3 * wait.slow, took)
    s:wait_log "popen left"
  end)

  it("by a tail call of require is told with its own line", function()
    assert.are.equal(500, s:get("/module").status)
    s:wait_log "app%.lua:7: module 'no%.such%.module' not found"
  end)

  it("below a mount is answered by that app's page", function()
    assert.are.equal("inner 409", s:get("/in/raise").body)
    assert.are.equal("inner 500", s:get("/in/bug").body)
    assert.are.equal("inner 404", s:get("/in/none").body)
  end)
end)
