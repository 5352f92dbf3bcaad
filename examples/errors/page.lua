-- The HTML of the errors.

local moonpool = require "moonpool"

local e = moonpool.escape
local M = {}

local HEAD = [[
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>%s</title>
  <link rel="stylesheet" href="/public/style.css">
  <link rel="icon" href="/public/favicon.svg" type="image/svg+xml">
  <script src="/public/app.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
]]

local function way_item(way)
  return ([[
<li>
  <form method="post" action="/fail/%s">
    <div><h3 id="way-%s">%s</h3><p>%s</p></div>
    <button type="submit" aria-describedby="way-%s">Fail</button>
    <p class="outcome" role="status"></p>
  </form>
</li>
]]):format(e(way.name), e(way.name), e(way.title), e(way.about), e(way.name))
end

local function facts(report)
  local list = {}
  for _, name in ipairs { "request", "spawned_at", "worker" } do
    if report[name] then
      list[#list + 1] = ("<dt>%s</dt><dd>%s</dd>"):format((name:gsub("_", " ")), e(tostring(report[name])))
    end
  end
  return table.concat(list)
end

local function report_item(report)
  local stack = report.traceback
    and ('<details><summary>Traceback</summary><pre tabindex="0">%s</pre></details>'):format(e(report.traceback)) or ""
  return ([[
<li>
  <p class="kind"><span>%s</span> <time datetime="%s">%s</time></p>
  <p class="text">%s</p>
  <dl>%s</dl>
  %s
</li>
]]):format(e(report.kind), e(report.at), e(report.at:sub(12, 19)), e(report.text), facts(report), stack)
end

local function each(list, render)
  local parts = {}
  for i, value in ipairs(list) do
    parts[i] = render(value)
  end
  return table.concat(parts)
end

function M.reports(list)
  if #list == 0 then
    return "<p class=\"none\">Nothing has failed yet.</p>"
  end
  return "<ol>\n" .. each(list, report_item) .. "</ol>"
end

function M.index(ways, list)
  return HEAD:format "Errors" .. ([[
<header>
  <h1>Errors</h1>
  <p>An error that nobody takes is one line in the log and one call of <code>on_error</code>, whatever it is.</p>
</header>
<main id="main" tabindex="-1">
  <section aria-labelledby="ways-title">
    <h2 id="ways-title">Ways to fail</h2>
    <ul class="ways">
%s    </ul>
  </section>
  <section aria-labelledby="reports-title">
    <div class="row">
      <h2 id="reports-title">What on_error was told</h2>
      <form method="post" action="/reports/clear"><button type="submit" class="quiet">Clear</button></form>
    </div>
    <div id="reports" aria-live="polite">%s</div>
  </section>
</main>
</body>
</html>
]]):format(each(ways, way_item), M.reports(list))
end

--- A page of its own, for browsers without the script.
function M.answer(status, title, text)
  return HEAD:format(("%d %s"):format(status, e(title))) .. ([[
<main id="main" class="alone" tabindex="-1">
  <p class="status">%d</p>
  <h1>%s</h1>
  <p>%s</p>
  <p><a href="/">Back to the ways to fail</a></p>
</main>
</body>
</html>
]]):format(status, e(title), e(text))
end

return M
