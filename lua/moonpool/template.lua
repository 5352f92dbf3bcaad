-- Templates: text with Lua in it (template/parse.lua says how it is written), escaped for HTML unless told otherwise.
-- Each is compiled once, or when its file has changed. A template sees the variables that it was given and a few
-- functions that change nothing; it may wait.

local core = require "moonpool.core"
local files = require "moonpool.files"
local parse = require "moonpool.template.parse"

local M = {}

local DEEPEST = 100 -- templates within each other

---- values

local Safe = { __name = "moonpool.template.safe" }

function Safe:__tostring()
  return self[1]
end

--- What <%= … %> shows as it is.
function M.raw(text)
  if type(text) ~= "string" then
    error("template.raw: a string is wanted, got " .. type(text), 2)
  end
  return setmetatable({ text }, Safe)
end

local function text_of(value)
  if type(value) == "table" or type(value) == "userdata" then
    local meta = getmetatable(value)
    if type(meta) == "table" and meta.__tostring then
      return tostring(value)
    end
  elseif type(value) == "number" or type(value) == "boolean" then
    return tostring(value)
  end
  error(("a %s cannot be shown"):format(type(value)), 3)
end

local function escaped(value)
  if type(value) == "string" then
    return core.escape(value)
  elseif value == nil then
    return ""
  elseif getmetatable(value) == Safe then
    return value[1]
  end
  return core.escape(text_of(value))
end

local function raw(value)
  if type(value) == "string" then
    return value
  elseif value == nil then
    return ""
  elseif getmetatable(value) == Safe then
    return value[1]
  end
  return text_of(value)
end

---- what every template sees

local function copy(from, names)
  local to = {}
  if names then
    for _, name in ipairs(names) do
      to[name] = from[name]
    end
    return to
  end
  for name, value in pairs(from) do
    to[name] = value
  end
  return to
end

local function globals(more)
  local g = copy(_G, {
    "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type",
  })
  g.math, g.string, g.table, g.utf8 = copy(math), copy(string), copy(table), copy(utf8)
  g.os = copy(os, { "date", "time", "clock", "difftime" })
  g.escape, g.raw = core.escape, M.raw
  g.json = core.json and copy(core.json)
  g.url = { encode = core.url_encode, decode = core.url_decode }
  for name, value in pairs(more or {}) do
    g[name] = value
  end
  return g
end

-- A table of its own: what a template assigns is gone after it.
local function environment(vars, common)
  local meta = { __index = common }
  if getmetatable(vars) then
    function meta.__index(_, name)
      local value = vars[name]
      if value == nil then
        return common[name]
      end
      return value
    end
    return setmetatable({}, meta)
  end
  return setmetatable(copy(vars), meta)
end

---- a run

local run_template

-- What one template asks for while it runs: `page` is what it shares with the templates around it.
local function new_run(set, page, vars)
  local run = { escaped = escaped, raw = raw, concat = table.concat, safe = M.raw }
  local layout

  function run.include(name, given)
    return M.raw((run_template(set, name, given or vars, page)))
  end

  function run.layout(name, given)
    if type(name) ~= "string" then
      error("layout: a name is wanted, got " .. type(name), 2)
    end
    layout = { name, given or vars }
  end

  function run.yield(name)
    if name == nil then
      return page.content or error("yield: nothing is rendered within this template", 2)
    end
    return page.blocks[name]
  end

  function run.block(name)
    return page.blocks[name]
  end

  function run.define(name, text)
    if layout then
      page.blocks[name] = text
    end
    return layout ~= nil
  end

  function run.wanted_layout()
    return layout
  end
  return run
end

-- → the text; what stands around it, if it asked for that, included
function run_template(set, name, vars, page)
  if page.depth >= DEEPEST then
    error(("%s: more than %d templates within each other"):format(tostring(name), DEEPEST), 0)
  end
  local chunk = set:_find(name)
  local run = new_run(set, page, vars)
  local env = environment(vars, set._globals)
  env.include, env.layout, env.yield = run.include, run.layout, run.yield
  page.depth = page.depth + 1
  chunk(env, run)
  local text, outer = table.concat(run.out), run.wanted_layout()
  if outer then
    local content = page.content
    page.content = M.raw(text)
    text = run_template(set, outer[1], outer[2], page)
    page.content = content
  end
  page.depth = page.depth - 1
  return text
end

local function compile(text, name)
  local chunk, message = load(parse.source(text, name), "@" .. name, "t", {})
  if not chunk then
    error(message, 0)
  end
  return chunk
end

---- a folder of them

local Set = { __name = "moonpool.templates" }
Set.__index = Set

-- "pages/home" → "pages/home.html". No segment begins with a dot, so none leads out.
local function file_of(name)
  if type(name) ~= "string" then
    error("a template's name must be a string, got " .. type(name), 0)
  end
  for segment in (name .. "/"):gmatch "([^/]*)/" do
    if segment == "" or segment:find "^%." or segment:find "[%c\\]" then
      error(("%q is no name of a template"):format(name), 0)
    end
  end
  return name:find "%.[^/]*$" and name or name .. ".html"
end

function Set:_find(name)
  local known = self._cache[name]
  if known and not (self._reload and files.stamp(known.path) ~= known.stamp) then
    return known.chunk
  end
  local path = self.folder .. "/" .. file_of(name)
  local stamp = self._reload and files.stamp(path)
  local text, why = files.read(path)
  if not text then
    error(("template %s: %s"):format(path, why), 0)
  end
  known = { path = path, stamp = stamp, chunk = compile(text, path) }
  self._cache[name] = known
  return known.chunk
end

local function check_vars(what, vars, level)
  if vars ~= nil and type(vars) ~= "table" then
    error(("%s: the variables must be a table, got %s"):format(what, type(vars)), level + 1)
  end
end

--- The text of a template.
---@param name string
---@param vars table?
---@return string
function Set:render(name, vars)
  if getmetatable(self) ~= Set then
    error("render: call it with a colon, on templates", 2)
  end
  check_vars("render", vars, 2)
  return (run_template(self, name, vars or {}, { depth = 0, blocks = {} }))
end

function Set:__tostring()
  return ("templates (%s)"):format(self.folder)
end

local OPTIONS = { reload = "boolean", globals = "table" }

local function check_options(what, options, level)
  if options ~= nil and type(options) ~= "table" then
    error(("%s: options must be a table, got %s"):format(what, type(options)), level + 1)
  end
  for name, value in pairs(options or {}) do
    if not OPTIONS[name] then
      error(("%s: unknown option %s"):format(what, tostring(name)), level + 1)
    elseif type(value) ~= OPTIONS[name] then
      error(("%s: %s must be a %s, got %s"):format(what, name, OPTIONS[name], type(value)), level + 1)
    end
  end
  return options or {}
end

function M._new_set(what, folder, options, level)
  if type(folder) ~= "string" or folder:find("\0", 1, true) then
    error(("%s: the folder must be a string, got %s"):format(what, type(folder)), level + 1)
  end
  options = check_options(what, options, level + 1)
  return setmetatable({
    folder = (folder:gsub("(.)/+$", "%1")),
    _cache = {},
    _globals = globals(options.globals),
    _reload = options.reload == nil and core.dev or options.reload,
  }, Set)
end

--- templates(folder[, { reload, globals }]): nothing is read before it is rendered.
function M.new(folder, options)
  return M._new_set("template.new", folder, options, 2)
end

--- compile(text[, name]) → function(vars): its text. It has no folder: nothing can be included.
---@param text string
---@param name string?
function M.compile(text, name)
  if type(text) ~= "string" then
    error("template.compile: the text must be a string, got " .. type(text), 2)
  end
  name = name or "template"
  local chunk = compile(text, name)
  local set = setmetatable({ folder = name, _globals = globals() }, Set)
  function set._find(_, wanted)
    if wanted ~= nil then
      error("a template without a folder can include nothing", 0)
    end
    return chunk
  end
  return function(vars)
    check_vars(name, vars, 2)
    return (run_template(set, nil, vars or {}, { depth = 0, blocks = {} }))
  end
end

---- responses

local of_response = setmetatable({}, { __mode = "k" })

--- From now on `res:render` of this response takes templates of that set.
function M._bind(res, set)
  of_response[res] = set
end

--- res:render(name[, vars]): ends the response.
function M._respond(res, name, vars)
  local set = of_response[res]
  if not set then
    error("render: this app has no templates; app:templates(folder) says where they are", 2)
  end
  check_vars("render", vars, 2)
  return res:html(set:render(name, vars))
end

return M
