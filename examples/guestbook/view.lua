-- The HTML. What a visitor wrote goes through `e`, in text and in attributes alike.

local moonpool = require "moonpool"
local fields = require "fields"

local e = moonpool.escape
local M = {}

local function layout(title, body)
  return ([[
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>%s</title>
  <link rel="stylesheet" href="/public/style.css">
  <link rel="icon" href="/public/favicon.svg" type="image/svg+xml">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
%s
</body>
</html>
]]):format(e(title), body)
end

local function control(field, value, attributes)
  if field.lines then
    return ('<textarea id="%s" name="%s" rows="4"%s>\n%s</textarea>')
      :format(field.name, field.name, attributes, e(value))
  end
  return ('<input id="%s" name="%s" value="%s" autocomplete="name"%s>')
    :format(field.name, field.name, e(value), attributes)
end

local function field_of(field, form)
  local why = form.errors[field.name]
  local attributes = ' maxlength="' .. field.most .. '" required'
  local note = ""
  if why then
    attributes = attributes .. (' aria-invalid="true" aria-describedby="%s-error"'):format(field.name)
    note = ('<p class="fault" id="%s-error">%s</p>'):format(field.name, e(why))
  end
  return ('<div class="field"><label for="%s">%s</label>%s%s</div>\n')
    :format(field.name, e(field.label), control(field, form.values[field.name] or "", attributes), note)
end

local function form_of(book)
  local parts = {}
  for i, field in ipairs(fields.list) do
    parts[i] = field_of(field, book.form)
  end
  local summary = next(book.form.errors)
    and '<p class="fault" role="alert">Your entry is not in the book yet: see below.</p>\n' or ""
  return ([[
<form class="card" method="post" action="/entries">
  <h2>Write in it</h2>
  %s%s
  %s<button type="submit">Write</button>
</form>
]]):format(summary, book.token, table.concat(parts))
end

local function removal(entry, book)
  if entry.who ~= book.who then
    return ""
  end
  return ([[
<form method="post" action="/entries/%d/delete">
  %s
  <button type="submit" class="quiet" aria-label="Remove your entry %d">Remove</button>
</form>]]):format(entry.id, book.token, entry.id)
end

local function entry_of(entry, book)
  return ([[
<li class="card" id="entry-%d">
  <p class="by"><strong>%s</strong> <time datetime="%s">%s</time></p>
  <p class="text">%s</p>
  %s
</li>
]]):format(entry.id, e(entry.name), os.date("!%Y-%m-%dT%H:%M:%SZ", entry.at),
    os.date("!%Y-%m-%d %H:%M", entry.at), e(entry.text), removal(entry, book))
end

local function entries_of(book)
  if #book.list == 0 then
    return '<p class="none">Nobody has written in it yet.</p>'
  end
  local parts = {}
  for i, entry in ipairs(book.list) do
    parts[i] = entry_of(entry, book)
  end
  return '<ol class="entries">\n' .. table.concat(parts) .. "</ol>"
end

local function pager(book)
  if book.last == 1 then
    return ""
  end
  local newer = book.page > 1 and ('<a rel="prev" href="/?page=%d">Newer</a>'):format(book.page - 1) or "<span></span>"
  local older = book.page < book.last and ('<a rel="next" href="/?page=%d">Older</a>'):format(book.page + 1)
    or "<span></span>"
  return ('<nav aria-label="Pages">%s <span>Page %d of %d</span> %s</nav>'):format(newer, book.page, book.last, older)
end

--- `book`: list, page, last, who (the visitor), token (its HTML), flashes, form (values, errors)
function M.book(book)
  local flash = ""
  for _, told in ipairs(book.flashes) do
    flash = flash .. ('<p class="flash" role="status">%s</p>\n'):format(e(told.message))
  end
  return layout("Guestbook", ([[
<header>
  <h1>Guestbook</h1>
  <p>Say hello to whoever comes after you.</p>
</header>
<main id="main" tabindex="-1">
%s%s<section aria-label="Entries">
%s
%s
</section>
</main>]]):format(flash, form_of(book), entries_of(book), pager(book)))
end

function M.failure(status, message)
  return layout(("%d"):format(status), ([[
<main id="main" tabindex="-1">
  <h1>%d</h1>
  <p>%s</p>
  <p><a href="/">Back to the book</a></p>
</main>]]):format(status, e(message)))
end

return M
