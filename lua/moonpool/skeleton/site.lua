return {
["app.lua"] = [[
local moonpool = require "moonpool"
local page = require "page"

local app = moonpool.app()

app:get("/", function(_, res)
  res:html(page("Hello", [=[
    <form action="/hello"><label>Your name <input name="who" required></label> <button>Greet</button></form>]=]))
end)

app:get("/hello", function(req, res)
  local who = req.query.who or "world"
  res:html(page("Hello", ('<p id="greeting">Hello, %s!</p><p><a href="/">back</a></p>'):format(moonpool.escape(who))))
end)

app:static("/public", "public")

return app
]],
["page.lua"] = [[
local moonpool = require "moonpool"

--- A whole page. `body` is HTML, `title` is text.
return function(title, body)
  return ([=[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="/public/style.css">
<title>%s</title>
<body>
<h1>%s</h1>
%s
</body>
</html>
]=]):format(moonpool.escape(title), moonpool.escape(title), body)
end
]],
["public/style.css"] = [[
:root { color-scheme: light dark; }
body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }
input, button { font: inherit; }
]],
["spec/app_spec.lua"] = [[
local test = require "moonpool.test"

describe("{{name}}", function()
  local client

  before_each(function() client = test.client "app.lua" end)

  it("greets by name, and escapes it", function()
    local res = client:get "/hello?who=%3CAda%3E"
    assert.equal(200, res.status)
    assert.matches("Hello, &lt;Ada&gt;!", res.body, 1, true)
  end)

  it("has a page to begin with", function()
    assert.matches("<form", client:get("/").body, 1, true)
  end)

  it("says 404 to what is not there", function()
    assert.equal(404, client:get("/nothing").status)
  end)
end)
]],
}
