return {
["app.lua"] = [[
-- The page of a device: what it is doing, and a few things to do. Programs are run by name, from a list: what a browser
-- sends never becomes a command.
local moonpool = require "moonpool"

local app = moonpool.app()
local limit = moonpool.limit { max = 2, queue = 8 }

local ACTIONS = {
  uptime = { "uptime" },
  disk = { "df", "-h", "/" },
  memory = { "head", "-n", "3", "/proc/meminfo" },
}

app:get("/", function(_, res)
  res:file("public/index.html")
end)

app:get("/actions", function(_, res)
  local names = moonpool.json.array {}
  for name in pairs(ACTIONS) do
    names[#names + 1] = name
  end
  table.sort(names)
  res:json(names)
end)

app:post("/actions/:name", function(req, res)
  local action = ACTIONS[req.params.name]
  if not action then
    error { status = 404, message = "no such action" }
  end
  local result, why, code = limit:run { table.unpack(action), timeout = 10 }
  if not result then
    error { status = code == "EAGAIN" and 503 or 500, message = why }
  end
  res:json { ok = result.ok, code = result.code, signal = result.signame, timed_out = result.timed_out,
             stdout = result.stdout, stderr = result.stderr }
end)

app:static("/public", "public")

return app
]],
["public/index.html"] = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<link rel="stylesheet" href="/public/style.css">
<title>{{name}}</title>
<body>
<h1>{{name}}</h1>
<p id="actions"></p>
<pre id="output" aria-live="polite"></pre>
<script src="/public/device.js"></script>
</body>
</html>
]],
["public/device.js"] = [[
const output = document.querySelector("#output")

async function run(name) {
  output.textContent = name + " …"
  const answer = await fetch("/actions/" + encodeURIComponent(name), { method: "POST" })
  const result = await answer.json()
  output.textContent = answer.ok ? result.stdout + result.stderr + "exit " + result.code : result.message
}

async function start() {
  for (const name of await (await fetch("/actions")).json()) {
    const button = document.createElement("button")
    button.textContent = name
    button.addEventListener("click", () => run(name))
    document.querySelector("#actions").append(button, " ")
  }
}

start()
]],
["public/style.css"] = [[
body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
button { font: inherit; }
pre { overflow-x: auto; background: #8883; padding: 1rem; min-height: 3rem; }
]],
["spec/app_spec.lua"] = [[
local test = require "moonpool.test"

describe("{{name}}", function()
  local client

  before_each(function() client = test.client "app.lua" end)

  it("runs what is on its list", function()
    local res = client:post "/actions/memory"
    assert.equal(200, res.status)
    assert.matches("MemTotal", res:json().stdout, 1, true)
  end)

  it("runs nothing else", function()
    assert.equal(404, client:post("/actions/reboot").status)
  end)
end)
]],
}
