-- The pages that the server writes: the login, and the history.

local moonpool = require "moonpool"

local e = moonpool.escape
local M = {}

local LAYOUT = [[
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>%s</title>
  <link rel="icon" href="/favicon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/style.css">
%s</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
  <h1>%s</h1>
  %s
</header>
<main id="main" tabindex="-1">
%s
</main>
</body>
</html>
]]

function M.login(token, fault)
  local note = fault and ('<p class="status bad" role="alert" id="fault">%s</p>'):format(e(fault)) or ""
  local tells = fault and ' aria-describedby="fault"' or ""
  return LAYOUT:format("Log in", "", "Log in", "<p>Scripts of this machine.</p>", ([[
<form class="login card" method="post" action="/login">
  %s
  %s
  <p><label for="name">Name</label><input id="name" name="name" autocomplete="username" required%s></p>
  <p><label for="password">Password</label><input id="password" name="password" type="password"
    autocomplete="current-password" required%s></p>
  <button type="submit" class="run">Log in</button>
</form>]]):format(note, token, tells, tells))
end

local function clock(at)
  return at and ('<time datetime="%s">%s</time>'):format(os.date("!%Y-%m-%dT%H:%M:%SZ", at // 1 | 0),
    os.date("!%m-%d %H:%M:%S", at // 1 | 0)) or ""
end

local function took(job)
  return job.started and job.ended and ("%.1f s"):format(job.ended - job.started) or ""
end

local function command(job)
  local words = { job.name }
  for _, argument in ipairs(moonpool.json.decode(job.args) or {}) do
    words[#words + 1] = argument:find "[^%w%._/-]" and ("'%s'"):format(argument) or argument
  end
  return table.concat(words, " ")
end

local function cancel(job, token)
  if job.state ~= "queued" and job.state ~= "running" then
    return ""
  end
  return ('<form method="post" action="/history/%d/cancel">%s<button class="cancel" aria-label="Cancel job %d">' ..
    "Cancel</button></form>"):format(job.id, token, job.id)
end

local KIND = { done = "good", failed = "bad", lost = "bad", cancelled = "bad" }

local function job_row(job, token)
  local state = job.text and job.state ~= "lost" and job.state .. ": " .. job.text or job.text or job.state
  return ('<tr><td>%d</td><td><code>%s</code></td><td class="status %s">%s</td><td>%s</td><td>%s</td><td>%s</td>' ..
    "<td>%s</td></tr>\n"):format(job.id, e(command(job)), KIND[job.state] or "", e(state), cancel(job, token),
    took(job), clock(job.queued), e(job.who))
end

local function audit_row(row)
  return ("<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n")
    :format(clock(row.at), e(row.who), e(row.ip), e(row.what), e(row.detail))
end

local function rows(list, render, ...)
  local parts = {}
  for i, row in ipairs(list) do
    parts[i] = render(row, ...)
  end
  return table.concat(parts)
end

local function headed(caption, names, body)
  return ('<div class="scroll" tabindex="0" role="region" aria-label="%s"><table><thead><tr>'
    .. '<th scope="col">%s</th></tr></thead><tbody>\n%s</tbody></table></div>')
    :format(caption, table.concat(names, '</th><th scope="col">'), body)
end

--- What changes while one looks at it.
function M.lists(jobs, audited, token, is_open)
  local note = is_open and "" or '<p class="status bad">There is no database, so nothing is kept.</p>'
  return note .. "<h2>Jobs</h2>\n"
    .. headed("Jobs", { "No.", "Command", "State", "", "Took", "When (UTC)", "Who" }, rows(jobs, job_row, token))
    .. "<h2>Audit log</h2>\n"
    .. headed("Audit log", { "When (UTC)", "Who", "From", "What", "Detail" }, rows(audited, audit_row))
end

--- `token`: of the form to log out; nil where nobody logs in.
function M.history(lists, token, most)
  local leave = token and ([[
<form method="post" action="/logout">%s<button class="quiet">Log out</button></form>]]):format(token) or ""
  return LAYOUT:format("History of jobs", '  <script src="/history.js" defer></script>\n', "History", ([[
<p>At most %d jobs run at once; the others wait in line. <a href="/">Run one</a></p>
  %s]]):format(most, leave),
    '<div id="lists">' .. lists .. "</div>")
end

return M
