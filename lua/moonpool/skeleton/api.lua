return {
["app.lua"] = [[
local moonpool = require "moonpool"

local app = moonpool.app()
local notes = moonpool.shared "notes" -- seen by all workers; gone when the server stops

app:get("/notes", function(_, res)
  local list = moonpool.json.array {}
  for _, key in ipairs(notes:keys "note:") do
    list[#list + 1] = { id = key:sub(6), text = notes:get(key) }
  end
  res:json(list)
end)

app:get("/notes/:id", function(req, res)
  local text = notes:get("note:" .. req.params.id)
  if not text then
    error { status = 404, message = "no such note" }
  end
  res:json { id = req.params.id, text = text }
end)

app:post("/notes", function(req, res)
  local note = req:json()
  if type(note) ~= "table" or type(note.text) ~= "string" then
    error { status = 422, message = "text must be a string" }
  end
  local id = moonpool.random(4)
  assert(notes:set("note:" .. id, note.text))
  res:status(201):header("Location", "/notes/" .. id):json { id = id, text = note.text }
end)

app:error_page(function(_, res, e)
  res:json { status = e.status, message = e.message }
end)

return app
]],
["spec/app_spec.lua"] = [[
local test = require "moonpool.test"

describe("{{name}}", function()
  local client

  before_each(function() client = test.client "app.lua" end)

  it("keeps a note", function()
    local made = client:post("/notes", { json = { text = "milk" } })
    assert.equal(201, made.status)
    local res = client:get(made.headers["Location"])
    assert.equal("milk", res:json().text)
  end)

  it("says what is wrong with one", function()
    local res = client:post("/notes", { json = { text = 1 } })
    assert.equal(422, res.status)
    assert.equal("text must be a string", res:json().message)
  end)

  it("says 404 to one that is not there", function()
    assert.equal(404, client:get("/notes/none").status)
  end)
end)
]],
}
