-- Sessions in a database.
local server = require "spec.support.server"

local app = [[
local session = require "moonpool.session"
local db = require("moonpool.sqlite").open("sessions.db")
local app = require("moonpool").app()
app:use(session { store = require "moonpool.session_sqlite" (db) })
app:get("/set", function(req, res)
  local s = req.ctx.session:regenerate()
  s.data.user = req.query.v
  s:save()
  res:text "set"
end)
app:get("/get", function(req, res) res:text(tostring(req.ctx.session.data.user)) end)
app:get("/out", function(req, res) req.ctx.session:destroy() res:text "out" end)
return app
]]

describe("sessions in SQLite", function()
  after_each(server.stop_all)

  it("are known in all workers, and end for good", function()
    local s = server.start { app = app, workers = 2 }
    local field = s:get("/set?v=ann").headers["set-cookie"]
    local cookie = { headers = { Cookie = field:match "^[^;]+" } }
    for _ = 1, 6 do assert.equal("ann", s:get("/get", cookie).body) end
    assert.equal("nil", s:get("/get", { headers = { Cookie = "session=" .. ("ab"):rep(32) } }).body)
    assert.not_equal(field, s:get("/set?v=eve", cookie).headers["set-cookie"])
    assert.equal("nil", s:get("/get", cookie).body)
    field = s:get("/set?v=bob").headers["set-cookie"]
    cookie = { headers = { Cookie = field:match "^[^;]+" } }
    assert.equal(200, s:get("/out", cookie).status)
    assert.equal("nil", s:get("/get", cookie).body)
    assert.equal(0, s:count_log " error ")
    s:stop()
  end)
end)
