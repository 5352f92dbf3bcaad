-- Every kind of answer, for the suite that is run in-process and against a server (both_ways_spec.lua).
local moonpool = require "moonpool"
local csrf = require "moonpool.csrf"
local session = require "moonpool.session"
local v = require "moonpool.validate"

local app = moonpool.app()
local started = 0

app:on_start(function()
  moonpool.sleep(0.001)
  started = started + 1
end)

app:use(function(_, res, next)
  res:header("X-Layer", "outer")
  next()
end)

app:get("/", function(_, res) res:text("started " .. started) end)
app:get("/hello/:name", { name = "hello" }, function(req, res) res:html("<p>" .. moonpool.escape(req.params.name)) end)
app:get("/query", function(req, res) res:json { a = req.query.a, all = req:query_list "b" } end)
app:get("/headers", function(req, res)
  res:add_header("X-Many", "one"):add_header("X-Many", "two"):json { given = req.headers["x-given"], agent = req.headers.cookie }
end)

app:post("/echo", function(req, res) res:header("Content-Type", req.headers["content-type"]):finish(req:body()) end)
app:post("/json", function(req, res) res:status(201):json { got = req:json() } end)
app:post("/form", function(req, res) res:json { name = req:form().name, list = req:form_list "tag" } end)
app:post("/upload", function(req, res)
  local file = req:form().file
  res:json { name = file.name, type = file.type, size = file.size, text = moonpool.read_file(file.path) }
end)
app:post("/small", { max_body = 10 }, function(req, res) res:text(req:body()) end)

-- Piece by piece, as it comes.
app:post("/measure", function(req, res)
  local bytes = 0
  for piece in function() return req:read() end do bytes = bytes + #piece end
  res:text(tostring(bytes))
end)
app:post("/files", function(req, res)
  local list = moonpool.json.array {}
  for i, file in ipairs(req:form_list "file") do list[i] = { name = file.name, size = file.size } end
  res:json { files = list, title = req:form().title }
end)
app:post("/person", function(req, res)
  local person = req:validate(v.object { name = v.string { min = 1 }, age = v.integer { min = 0 } })
  res:json(person)
end)

app:get("/cookies", function(_, res)
  res:cookie("a", "1", { path = "/cookies" }):cookie("b", "2; x=\"y\"", { max_age = 60, http_only = true, same_site = "Strict" })
  res:cookie("gone", "", { max_age = 0 }):text "baked"
end)
app:get("/cookies/seen", function(req, res) res:json { a = req:cookie "a", b = req:cookie "b", gone = req:cookie "gone" } end)
app:get("/seen", function(req, res) res:json { a = req:cookie "a", b = req:cookie "b" } end)

app:get("/round", function(_, res) res:redirect "/round" end)
app:get("/away/:n", function(req, res)
  local n = math.tointeger(tonumber(req.params.n))
  if n == 0 then return res:text "there" end
  res:redirect("/away/" .. n - 1, 301)
end)
app:post("/done", function(_, res) res:redirect("/whoami", 303) end)

app:get("/task/fails", function() moonpool.wait(moonpool.spawn(function() error "in a task" end)) end)
app:get("/task/refuses", function() moonpool.wait(moonpool.spawn(function() error { status = 409, message = "taken" } end)) end)
app:get("/page/fails", function(_, res) res:header("ETag", '"x"'):status(201) error "after a status was set" end)
app:get("/late/head", function(_, res)
  res:on_head(function() res:header("X-Late", "yes") end)
  res:text "with it"
end)
app:get("/packed", function(_, res) res:text(("all the same "):rep(1000)) end)

app:group("/members", session { store = session.shared "both_ways" }, csrf {}, function(members)
  members:get("/token", function(req, res) session.get(req).data.n = 1 res:text(#csrf.token(req) > 60 and "a token" or "none") end)
  members:post("/write", function(_, res) res:text "written" end)
end)

app:get("/login", function(_, res) res:cookie("user", "Ada L.", { max_age = 60 }):redirect "/whoami" end)
app:get("/logout", function(_, res) res:cookie("user", "", { max_age = 0 }):redirect("/whoami", 303) end)
app:get("/whoami", function(req, res) res:text(req:cookie "user" or "nobody") end)
app:post("/moved", function(_, res) res:redirect("/echo", 307) end)

app:get("/bug", function() error "a bug" end)
app:get("/teapot", function() error { status = 418, message = "short and stout", headers = { ["X-Pot"] = "tea" } } end)
app:get("/nothing", function() end)
app:get("/slow", { timeout = 0.05 }, function() moonpool.sleep(10) end)

app:get("/stream", function(_, res)
  for i = 1, 3 do
    res:write("piece " .. i .. "\n")
    moonpool.sleep(0.001)
  end
end)
app:get("/cut", function(_, res)
  res:write "half"
  error "in the middle"
end)
app:get("/large", function(_, res)
  for _ = 1, 40 do
    res:write(("x"):rep(65536))
  end
end)
app:get("/events", function(_, res)
  local events = res:sse()
  events:send("first", { id = "1", event = "greeting", retry = 2 })
  events:send "two\nlines"
end)
app:get("/run", function(_, res)
  res:text(moonpool.run({ "/bin/sh", "-c", "echo out; exit 3" }).stdout)
end)

app:static("/files", "files", { max_age = 60 })

return app
