-- What is written of the program's own words, so that nobody has to keep it: the manual pages, completions of shells,
-- and the table of options in docs/operations.md. script/papers writes them; a spec finds those that are stale.
local M = {}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  assert(pipe:close(), command)
  return text
end

-- Lines "moonpool VERB …   what it does" of `moonpool help`.
local function verbs_of(help)
  local verbs = {}
  for words, what in help:match "^usage: (.-)\n\n":gmatch "%s*(moonpool %l[^\n]-)%s%s+([^\n]+)" do
    verbs[#verbs + 1] = { words = words, name = words:match "^moonpool (%l+)", what = what }
  end
  return verbs
end

-- Lines "  --flag VALUE   what it does", and those of the usage.
local function flags_of(help)
  local flags = {}
  for name, value, what in help:gmatch "moonpool bundle (%-%-%l+) (%u+)%s%s+([^\n]+)" do
    flags[#flags + 1] = { name = name, value = value, what = what }
  end
  for name, value, what in help:gmatch "\n  %-?%a?,? ?(%-%-[%w%-]+) ?(%u*)%s%s+([^\n]+)" do
    flags[#flags + 1] = { name = name, value = value ~= "" and value or nil, what = what }
  end
  return flags
end

-- The words between bars in the usage of `moonpool ctl`.
local function questions_of(help)
  local words = {}
  for list in help:match "^(.-)\n\n":gmatch "%] ([%l|%u ]+)" do
    for word in list:gmatch "%l+" do words[#words + 1] = word end
  end
  return words
end

-- The rows of the first table below a heading, cells as they stand.
local function rows_below(text, heading)
  local rows, at = {}, select(2, assert(text:find("\n## " .. heading .. "\n", 1, true)))
  for line in text:sub(at + 1):match "\n|[%s%-|]+\n(.-\n)\n":gmatch "[^\n]+" do
    local name, what = line:match "^| (.-) | (.*) |$"
    rows[#rows + 1] = { name = name, what = what }
  end
  return rows
end

-- Everything the papers are made of. `table_of`: the program that prints the options; `binary`: moonpool.
function M.facts(table_of, binary)
  local function say(words) return output_of(("'%s' %s"):format(binary, words)) end
  local operations = read "docs/operations.md"
  return {
    options = load(output_of(("'%s'"):format(table_of)))(),
    version = say("version"):match "^moonpool (%S+)",
    verbs = verbs_of(say "help"),
    questions = questions_of(say "ctl --help"),
    ctl = flags_of(say "ctl --help"),
    bundle = flags_of(say "bundle --help"),
    operations = operations,
    codes = rows_below(operations, "Exit codes"),
    signals = rows_below(operations, "Signals to the master"),
  }
end

-- ---- docs/operations.md ----

local BEGIN, END = "<!-- by script/papers -->\n", "<!-- /by script/papers -->\n"

local function cell(text) return (text:gsub("|", "\\|")) end

local function flag_of(option) return "--" .. option.name .. (option.value and " " .. option.value or "") end

local function docs(facts)
  local lines = { "| option | default | |\n|---|---|---|\n" }
  for _, o in ipairs(facts.options) do
    local default = o.default and "`" .. o.default .. "`" or ""
    lines[#lines + 1] = ("| `%s` | %s | %s |\n"):format(cell(flag_of(o)), default, cell(o.help))
  end
  local first, last = BEGIN:gsub("%p", "%%%0"), END:gsub("%p", "%%%0")
  local before, after = facts.operations:match("^(.-" .. first .. ").-(" .. last .. ".*)$")
  return assert(before, "docs/operations.md has no place for the table") .. table.concat(lines) .. after
end

-- ---- manual pages ----

local function roff(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("…", "...")
  return (text:gsub("^([.'])", "\\&%1"):gsub("\n([.'])", "\n\\&%1"))
end

-- Of what stands in docs: code is bold, a link is its words.
local function prose(text)
  text = text:gsub("%[([^%]]+)%]%([^)]*%)", "%1")
  return (roff(text):gsub("`([^`]*)`", "\\fB%1\\fR"))
end

local function item(head, text) return ".TP\n" .. head .. "\n" .. text .. "\n" end

local function items(list, head, text)
  local out = {}
  for i, one in ipairs(list) do out[i] = item(head(one), text(one)) end
  return table.concat(out)
end

local function bold_flag(o)
  return "\\fB" .. roff("--" .. o.name) .. "\\fR" .. (o.value and " \\fI" .. roff(o.value) .. "\\fR" or "")
end

local function help_of(o) return roff(o.help .. (o.default and " (default: " .. o.default .. ")" or "")) end

local function page(name, section, what, facts, parts)
  local out = { '.\\" Written by script/papers of the table of options.\n',
    (".TH %s %d \"\" \"moonpool %s\" \"Moonpool\"\n"):format(name:upper(), section, facts.version),
    ".SH NAME\n" .. roff(name) .. " \\- " .. what .. "\n" }
  for _, part in ipairs(parts) do out[#out + 1] = ".SH " .. part[1] .. "\n" .. part[2]:gsub("\n*$", "\n") end
  return table.concat(out)
end

local function same(flags) return items(flags, function(f)
  return "\\fB" .. roff(f.name) .. "\\fR" .. (f.value and " \\fI" .. f.value .. "\\fR" or "")
end, function(f) return roff(f.what) end) end

local function manual(facts)
  local rows = function(list)
    return items(list, function(r) return "\\fB" .. roff(r.name) .. "\\fR" end, function(r) return prose(r.what) end)
  end
  return page("moonpool", 1, "a web server scripted in Lua", facts, {
    { "SYNOPSIS", items(facts.verbs, function(v) return "\\fB" .. roff(v.words) .. "\\fR" end,
      function(v) return roff(v.what) end) },
    { "DESCRIPTION", [[
Serves an app written in Lua 5.4: a file, or a folder with \fIapp.lua\fR, by a master and its worker processes.
Each option is a flag (\fB\-\-a\-b\fR), a variable (\fBMOONPOOL_A_B\fR) and a key of
.BR moonpool.conf.lua (5)
(\fBa_b\fR).
A flag beats a variable beats the file beats the default; a list counts as a whole.
Sizes take K, M and G (binary), times are seconds.]] },
    { "OPTIONS", items(facts.options, bold_flag, help_of)
      .. item("\\fB\\-\\-config\\fR \\fIFILE\\fR", "instead of moonpool.conf.lua in the app's folder")
      .. item("\\fB\\-\\-print\\-config\\fR", "say every setting and where it comes from") },
    { "OPTIONS OF CTL", same(facts.ctl) },
    { "OPTIONS OF BUNDLE", same(facts.bundle) },
    { "EXIT STATUS", rows(facts.codes) },
    { "SIGNALS", "To the master:\n" .. rows(facts.signals) },
    { "FILES", item("\\fIAPP/moonpool.conf.lua\\fR", "the app's configuration")
      .. item("\\fI/etc/moonpool/environment\\fR", "variables of the service, where a package has installed it") },
    { "SEE ALSO", ".BR moonpool.conf.lua (5),\n.BR systemd.service (5)" },
  })
end

local function key(o) return (o.name:gsub("%-", "_")) end

-- The default as the file would say it.
local function assignment(o)
  local value = o.default
  if not value then return key(o) end
  if o.kind == "list" then value = ('{ "%s" }'):format(value) end
  if o.kind == "switch" then value = tostring(value == "on") end
  if o.kind ~= "list" and o.kind ~= "switch" and not tonumber(value) then value = ('"%s"'):format(value) end
  return key(o) .. " = " .. value
end

local function manual_of_file(facts)
  return page("moonpool.conf.lua", 5, "configuration of moonpool", facts, {
    { "DESCRIPTION", [[
Lua 5.4, which lies in the app's folder, or is named by \fB\-\-config\fR.
It assigns to the keys below; a list is a table.
It is run by a process of its own, without the libraries that reach outside, for at most 5 s.
An unknown key is an error that proposes the nearest one.
The table \fBapp\fR is the app's own: it reads it as moonpool.settings.]] },
    { "KEYS", items(facts.options, function(o) return "\\fB" .. roff(assignment(o)) .. "\\fR" end,
      function(o) return roff(o.help) end) },
    { "EXAMPLE", [[
.nf
listen = { "127.0.0.1:8080", "unix:/run/site.sock" }
workers = 4
max_body = "32M"
app = { title = "My site" }
.fi]] },
    { "SEE ALSO", ".BR moonpool (1)" },
  })
end

-- ---- completions ----

local words_of_kind = { switch = "on off", level = "debug info warn error", format = "text json", cores = "auto" }

-- What follows an option: words, or what a shell has a name for.
local function follows(o)
  if words_of_kind[o.kind] then return "words", words_of_kind[o.kind] end
  if o.name == "user" or o.name == "group" then return o.name end
  if o.value:find "DIR" then return "folder" end
  if o.value:find "FILE" or o.name == "control-socket" then return "file" end
end

local in_bash = { user = "compgen -u", group = "compgen -g", folder = "compgen -d", file = "compgen -f" }

-- Behind a switch, which may stand alone, anything may follow.
local function bash_cases(options)
  local out, free = {}, {}
  for _, o in ipairs(options) do
    local what, words = follows(o)
    if what and o.kind ~= "switch" then
      local how = what == "words" and ("compgen -W '%s'"):format(words) or in_bash[what]
      out[#out + 1] = ('    --%s) %s -- "$word"; return ;;\n'):format(o.name, how)
    elseif o.kind ~= "switch" then
      free[#free + 1] = "--" .. o.name
    end
  end
  return table.concat(out) .. "    " .. table.concat(free, " | ") .. ") return ;;\n"
end

local function names(list, prefix, field)
  local out = {}
  for i, one in ipairs(list) do out[i] = prefix .. (field and one[field] or one) end
  return table.concat(out, " ")
end

local function bash(facts)
  return ([==[
# Completion of moonpool for bash. Written by script/papers of the table of options.
_moonpool_words() {
  local word=$1 before=$2 verb=$3
  case $before in
%s    --config | --socket | -s) compgen -f -- "$word"; return ;;
    -o | --output | --list | --verify | --sign | --program) compgen -f -- "$word"; return ;;
    --kind) compgen -W 'site api device' -- "$word"; return ;;
  esac
  case $verb in
    '') compgen -W '%s' -- "$word" ;;
    ctl) compgen -W '%s %s' -- "$word" ;;
    bundle) compgen -W '%s' -- "$word"; compgen -f -- "$word" ;;
    new) compgen -W '--kind' -- "$word" ;;
    help) compgen -W 'options' -- "$word" ;;
    version) ;;
    *)
      case $word in
        -*) compgen -W '%s --config --print-config' -- "$word" ;;
        *) compgen -f -- "$word" ;;
      esac ;;
  esac
}

_moonpool() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb=
  [[ $COMP_CWORD -gt 1 ]] && verb=${COMP_WORDS[1]}
  mapfile -t COMPREPLY < <(_moonpool_words "$word" "$before" "$verb")
}
complete -o filenames -F _moonpool moonpool
]==]):format(bash_cases(facts.options), names(facts.verbs, "", "name"), table.concat(facts.questions, " "),
    names(facts.ctl, "", "name"), names(facts.bundle, "", "name") .. " -o", names(facts.options, "--", "name"))
end

local in_zsh = { user = "_users", group = "_groups", folder = "_files -/", file = "_files" }

local function zsh_text(text) return (text:gsub("[%[%]:\\]", "\\%0"):gsub("'", "'\\''")) end

local function zsh_option(o)
  local what, words = follows(o)
  local how = what == "words" and ("(%s)"):format(words) or in_zsh[what] or " "
  local value = o.kind == "switch" and "" or (":%s:%s"):format(zsh_text(o.value), how)
  return ("    '%s--%s[%s]%s'\n"):format(o.kind == "list" and "*" or "", o.name, zsh_text(o.help), value)
end

local function zsh_flags(flags)
  local out = {}
  for i, f in ipairs(flags) do
    out[i] = ("    '%s[%s]%s'\n"):format(f.name, zsh_text(f.what), f.value and ":" .. f.value .. ":_files" or "")
  end
  return table.concat(out)
end

local function zsh(facts)
  local verbs, options = {}, {}
  for i, v in ipairs(facts.verbs) do verbs[i] = ("    '%s:%s'\n"):format(v.name, zsh_text(v.what)) end
  for i, o in ipairs(facts.options) do options[i] = zsh_option(o) end
  return ([==[
#compdef moonpool
# Completion of moonpool for zsh. Written by script/papers of the table of options.
_moonpool() {
  local -a verbs options ctl bundle
  verbs=(
%s  )
  options=(
%s    '--config[instead of moonpool.conf.lua in the folder of the app]:FILE:_files'
    '--print-config[say every setting and where it comes from]'
  )
  ctl=(
%s    ':question:(%s)'
  )
  bundle=(
%s    '-o[where to]:FILE:_files'
    ':app:_files'
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
    ctl) _arguments $ctl ;;
    bundle) _arguments $bundle ;;
    new) _arguments '--kind[what it is to be]:kind:(site api device)' ;;
    help) _arguments ':what:(options)' ;;
    version) ;;
    *) _arguments $options '*:app:_files' ;;
  esac
}
_moonpool "$@"
]==]):format(table.concat(verbs), table.concat(options), zsh_flags(facts.ctl), table.concat(facts.questions, " "),
    zsh_flags(facts.bundle))
end

-- Path -> what should stand there.
function M.of(facts)
  return {
    ["docs/operations.md"] = docs(facts),
    ["packaging/man/moonpool.1"] = manual(facts),
    ["packaging/man/moonpool.conf.lua.5"] = manual_of_file(facts),
    ["packaging/completion/moonpool.bash"] = bash(facts),
    ["packaging/completion/_moonpool"] = zsh(facts),
  }
end

return M
