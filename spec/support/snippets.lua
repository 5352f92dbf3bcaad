-- Code in the docs: found, and run as a reader would run it. A fenced block is
--
--   lua   an app, or a piece of one; without `app` in it, what stands in a handler, which is asked once
--   c     compiled; what is no program is taken for the body of main
--   sh    run, by a shell that knows `moonpool`
--   nginx read by nginx, where it is installed
--   html  a template: a file
--
-- and what begins with a comment such as `-- app.lua` is the file of that name; where a section has a spec among its
-- files, `moonpool test` runs it. What a block needs beside that stands in a comment of HTML just above it, which readers
-- do not see, by these words:
--
--   <!-- as: views/home.html                                  it is that file
--        with: local users = {}                               Lua in front of it
--        then: assert.equal(200, client:get("/").status)      Lua behind it, with client, test, folder and output
--        skip: why -->                                        it is not run
--
-- A fence without a language is a drawing. The blocks of a section share a folder. Every handler and middleware of a
-- block has to be asked by its `then`.

local moonpool = require "moonpool"
local test = require "moonpool.test"

local M = {}

---- reading

local WORDS = { as = true, with = true, ["then"] = true, skip = true }

-- "as: a\n with: b\n c" → { as = "a", with = "b\n c" }
local function read_notes(comment, where)
  local notes, current = {}, nil
  for line in (comment .. "\n"):gmatch "([^\n]*)\n" do
    local word, rest = line:match "^%s*(%l+): ?(.*)$"
    if WORDS[word] then
      assert(not notes[word], where .. ": `" .. word .. "` stands there twice")
      current, notes[word] = word, rest
    elseif current then
      notes[current] = notes[current] .. "\n" .. line
    else
      assert(not line:find "%S", where .. ": a note that begins with no word that is known: " .. line)
    end
  end
  assert(not notes.skip or notes.skip:find "%S", where .. ": `skip` needs a reason")
  return notes
end

local Reader = {}
Reader.__index = Reader

function Reader:outside(line)
  local fence, title = line:match "^```(%l+)$", line:match "^##+ (.*)"
  if fence then
    local where = ("%s:%d"):format(self.path, self.n)
    self.block = { lang = fence, lines = {}, line = self.n, where = where, notes = read_notes(self.comment or "", where) }
    self.comment = nil
  elseif title then
    self:open_section(title)
  elseif line:find "^<!%-%-" then
    self.comment, self.in_comment = "", true
    self:inside_comment(line:sub(5))
  elseif line:find "%S" then
    self.comment = nil -- of something else
  end
end

function Reader:inside_comment(line)
  local last = line:match "^(.*)%-%->%s*$"
  self.comment = self.comment .. (last or line) .. "\n"
  self.in_comment = not last
end

function Reader:inside_block(line)
  if line == "```" then
    table.insert(self.sections[#self.sections].blocks, self.block)
    self.block = nil
  else
    table.insert(self.block.lines, line)
  end
end

function Reader:open_section(title)
  table.insert(self.sections, { title = title, path = self.path, line = self.n, blocks = {} })
end

--- → the sections that hold blocks: { title, path, line, blocks = { { lang, lines, line, where, notes } … } }
function M.read(path, text)
  local reader = setmetatable({ path = path, n = 0, sections = {} }, Reader)
  reader:open_section(path)
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    reader.n = reader.n + 1
    if reader.block then
      reader:inside_block(line)
    elseif reader.in_comment then
      reader:inside_comment(line)
    else
      reader:outside(line)
    end
  end
  assert(not reader.block and not reader.in_comment, path .. ": a block or comment has no end")
  local sections = {}
  for _, section in ipairs(reader.sections) do
    sections[#sections + 1] = #section.blocks > 0 and section or nil
  end
  return sections
end

---- what was asked

local unasked = {} -- handler's place → true

local function watched(fn)
  if type(fn) ~= "function" then return fn end
  local info = debug.getinfo(fn, "S")
  local place = ("%s:%d"):format(info.short_src, info.linedefined)
  unasked[place] = true
  return function(...)
    unasked[place] = nil
    return fn(...)
  end
end

--- Handlers and middleware are watched from here on; → a function that ends it.
function M.watch()
  local methods = getmetatable(moonpool.app()).__index
  local own = {}
  for _, word in ipairs { "get", "post", "put", "patch", "delete", "head", "options", "any", "use" } do
    own[word] = methods[word]
    methods[word] = function(app, ...)
      local given = table.pack(...)
      for i = 1, given.n do given[i] = watched(given[i]) end
      return own[word](app, table.unpack(given, 1, given.n))
    end
  end
  return function()
    for word, method in pairs(own) do methods[word] = method end
  end
end

---- running

local function text_of(block) return table.concat(block.lines, "\n") .. "\n" end

local function name_of(block)
  return block.notes.as and block.notes.as:match "%S+" or (block.lines[1] or ""):match "^%-%- ([%w_/.-]+%.%l+)$"
end

local function write(folder, name, text)
  local inner = name:match "^(.*)/"
  if inner then moonpool.run { "mkdir", "-p", folder .. "/" .. inner, check = true } end
  assert(moonpool.write_file(folder .. "/" .. name, text))
end

-- An app of the block, each line of it where it stands in the document.
local function app_of(block)
  local text = text_of(block)
  local is_app = text:find "%f[%w_]app%f[^%w_]"
  local front = {}
  if not text:find "local moonpool" then front[#front + 1] = 'local moonpool = require "moonpool"' end
  if not text:find("local app", 1, true) then front[#front + 1] = "local app = moonpool.app()" end
  front[#front + 1] = block.notes.with
  local before = table.concat(front, " "):gsub("%s*\n%s*", " ")
  if not is_app then before = before .. ' app:get("/", function(req, res)' end
  local behind = (not is_app and "end) " or "") .. (text:find "\nreturn [^\n]*\n$" and is_app and "" or "return app")
  return ("\n"):rep(block.line - 1) .. before .. "\n" .. text .. behind, is_app
end

-- Lua that a note holds, with a few names of its own.
local function run_note(block, names)
  local chunk = assert(load(block.notes["then"] or "", "=" .. block.where .. " (then)", "t",
    setmetatable(names, { __index = function(_, name)
      local own = names.env[name]
      return own == nil and _G[name] or own
    end })))
  chunk()
end

local run = {}

function run.lua(block, folder, env)
  local text, is_app = app_of(block)
  write(folder, "app.lua", text)
  unasked = {}
  local client <close> = test.client(folder .. "/app.lua")
  if not is_app and not block.notes["then"] then
    local answer = client:get "/"
    assert(answer.status < 500, ("%s: %d %s"):format(block.where, answer.status, answer.body))
  end
  run_note(block, { client = client, folder = folder, env = env })
  local place = next(unasked)
  assert(not place, ("%s: nobody has asked the handler at %s"):format(block.where, tostring(place)))
end

function run.c(block, folder)
  local text = text_of(block)
  if not text:find "int main" then
    text = "#include <moonpool.h>\nint main(int argc, char **argv) {\n  struct mp_modules *modules = 0;\n" .. text
      .. "  return 0;\n}\n"
  end
  write(folder, "main.c", text)
  local made = moonpool.run { "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-Iinclude", folder .. "/main.c"
    }
  assert(made and made.ok, block.where .. ": " .. tostring(made and made.stderr))
end

function run.sh(block, folder, env)
  local text = (block.notes.with or "") .. "\n" .. text_of(block)
  local made = moonpool.run { "sh", "-eu", "-c", text, cwd = folder, timeout = 30,
    setenv = { PATH = folder .. "/.bin:" .. os.getenv "PATH" } }
  assert(made.ok, ("%s: %s\n%s%s"):format(block.where, tostring(made), made.stdout, made.stderr))
  run_note(block, { output = made.stdout, folder = folder, env = env })
end

-- A piece of its configuration that stands in http { … }; → why it was not read
function run.nginx(block, folder)
  local whole = "pid %s/pid; error_log stderr; events {} http { access_log off; %s }"
  write(folder, "nginx.conf", whole:format(folder, text_of(block)))
  local r, _, code = moonpool.run { "nginx", "-t", "-p", folder, "-c", folder .. "/nginx.conf" }
  if code == "ENOENT" then return "nginx is not installed" end
  assert(r.ok, block.where .. ": " .. r.stderr)
end

-- What `moonpool.conf.lua` says is read by the server itself.
local function read_configuration(block, folder)
  write(folder, ".bin/app.lua", "return function() end")
  local r = moonpool.run { M.binary(), "check", "--config", folder .. "/moonpool.conf.lua", folder .. "/.bin/app.lua" }
  assert(r.ok, block.where .. ": " .. r.stderr)
end

local function prepare(folder)
  moonpool.run { "mkdir", "-p", folder .. "/.bin", check = true }
  moonpool.run { "ln", "-s", M.binary(), folder .. "/.bin/moonpool", check = true }
end

--- The program that runs.
function M.binary()
  return moonpool.run({ "readlink", "/proc/" .. moonpool.worker.pid .. "/exe" }).stdout:match "%S+"
end

-- The specs that a section has among its files; their notes see what was said.
local function run_specs(section, folder, env)
  local r = moonpool.run { M.binary(), "test", cwd = folder, setenv = { MOONPOOL_SECRET = false } }
  assert(r.ok, ("%s:%d: %s\n%s%s"):format(section.path, section.line, tostring(r), r.stdout, r.stderr))
  for _, block in ipairs(section.blocks) do
    if name_of(block) and name_of(block):find "_spec%.lua$" then
      run_note(block, { output = r.stdout, folder = folder, env = env })
    end
  end
end

--- Runs a section's blocks in a folder of its own; raises what is wrong. → reasons of those that were skipped
function M.run(section, env)
  local folder = moonpool.run({ "mktemp", "-d" }).stdout:match "%S+"
  local _ <close> = setmetatable({}, { __close = function() moonpool.run { "rm", "-r", folder } end })
  local skipped, has_spec = {}, false
  prepare(folder)
  for _, block in ipairs(section.blocks) do
    local name = name_of(block)
    if name then
      write(folder, name, text_of(block))
      has_spec = has_spec or name:find "_spec%.lua$"
    end
  end
  for _, block in ipairs(section.blocks) do
    local name = name_of(block)
    if block.notes.skip then
      skipped[#skipped + 1] = block.where .. ": " .. block.notes.skip
    elseif name == "moonpool.conf.lua" then
      read_configuration(block, folder)
    elseif not name or name == "app.lua" and not has_spec then
      local how = assert(run[block.lang], ("%s: nothing is known of %s"):format(block.where, block.lang))
      local reason = how(block, folder, env)
      skipped[#skipped + 1] = reason and block.where .. ": " .. reason
    end
  end
  if has_spec then run_specs(section, folder, env) end
  return skipped
end

---- command lines, in lines of their own or within the text

local helps = {}

-- What a verb says of itself; nil for what is none. The master's own children are verbs without a help.
local function help_of(...)
  local words = table.concat({ ... }, " ")
  if helps[words] == nil then
    local r = moonpool.run { M.binary(), ... }
    helps[words] = not r.stderr:find("unknown verb", 1, true) and r.stdout .. r.stderr .. "\n" or false
  end
  return helps[words]
end

local function has_option(option, ...)
  for _, help in ipairs { ... } do
    if help:find(option:gsub("%-", "%%-") .. "%f[^%l-]") then return true end
  end
  return false
end

local function judge_command(line, fault)
  local verb, rest = line:match "^moonpool (%l+)(.*)"
  if not verb then return end
  local help = help_of(verb, "--help")
  if not help then return fault("there is no moonpool " .. verb) end
  for option in rest:gmatch "%f[%S]%[?(%-%-[%l-]+)" do
    if not has_option(option, help, help_of("help", "options")) then
      fault(("moonpool %s has no %s"):format(verb, option))
    end
  end
end

local function busted_help()
  helps.busted = helps.busted or moonpool.run { "busted", "--help", stderr = "stdout" }
  return helps.busted.stdout
end

local function judge_option(code, fault)
  local option = code:match "^(%-%-[%l-]+)"
  if option and not has_option(option, help_of "--help", help_of("help", "options"), help_of("test", "--help"),
    help_of("bundle", "--help"), help_of("ctl", "--help"), busted_help()) and not moonpool.run({ M.binary(), option }).ok then
    fault("nothing has the option " .. option)
  end
end

--- → faults of verbs and options that a document tells of and the program does not have
function M.judge_commands(path, text)
  local faults, n = {}, 0
  local function fault(what) faults[#faults + 1] = ("%s:%d: %s"):format(path, n, what) end
  for line in text:gmatch "([^\n]*)\n" do
    n = n + 1
    judge_command(line:match "^    %$? ?(moonpool .*)" or "", fault)
    for code in line:gmatch "`([^`]+)`" do
      judge_command(code, fault)
      judge_option(code, fault)
    end
  end
  return faults
end

return M
