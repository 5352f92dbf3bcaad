-- What a script can reach, asked of the running binary, beside what is told of it: types (lua/moonpool/meta), docs, specs.
-- A name that begins with `_` is private; every other one that is registered has a type, an entry in docs/api.md and a
-- spec that calls it, and nothing has one that is not registered. There is no list of exceptions.
--
-- An id is "moonpool.sqlite.open" for a function of a module, "moonpool.sqlite:query" for a method of a class,
-- "moonpool.cors()" for a module that is called. In the docs they go by the name that their type has: `sqlite.open`,
-- `db:query`.

local moonpool = require "moonpool"

local M = {}

---- sources

local function read_all(...)
  local command = { "find", ... }
  command[#command + 1], command[#command + 2], command.check = "-type", "f", true
  local found = moonpool.run(command)
  local texts = {}
  for path in found.stdout:gmatch "[^\n]+" do
    texts[path] = assert(moonpool.read_file(path))
  end
  return texts
end

--- Everything that is compared, by path.
function M.sources()
  local specs = read_all("spec", "-name", "*.lua", "-not", "-path", "spec/support/surface.lua",
    "-not", "-path", "spec/test/surface_spec.lua")
  return {
    docs = read_all("docs/api.md", "docs/testing.md"), -- where each has its entry
    prose = read_all("README.md", "docs", "examples/README.md", "-name", "*.md"),
    inside = read_all("lua/moonpool", "src", "-not", "-path", "*/meta/*", "-not", "-path", "*/skeleton/*"),
    meta = read_all("lua/moonpool/meta", "-name", "*.lua"),
    specs = specs,
  }
end

---- what is registered

local function is_public(name)
  return type(name) == "string" and name:sub(1, 1) ~= "_"
end

-- Calls `see` once with each table and function that can be reached from `roots`: through fields, metatables, upvalues.
local function walk(roots, see)
  local seen, left = {}, {}
  local function reach(value)
    local kind = type(value)
    if (kind == "table" or kind == "function" or kind == "userdata") and not seen[value] then
      seen[value] = true
      left[#left + 1] = value
    end
  end
  for _, root in ipairs(roots) do reach(root) end
  while #left > 0 do
    local value = table.remove(left)
    if type(value) == "table" then
      for key, field in next, value do
        reach(key)
        reach(field)
      end
    elseif type(value) == "function" then
      local i, name, held = 1, debug.getupvalue(value, 1)
      while name do
        reach(held)
        i = i + 1
        name, held = debug.getupvalue(value, i)
      end
    end
    reach(debug.getmetatable(value))
    see(value)
  end
end

-- The tables in which an __index finds what it gives: itself, or those that it holds.
local function tables_of(index)
  if type(index) == "table" then
    return { index }
  end
  local tables, i = {}, 1
  local name, held = debug.getupvalue(index, i)
  while name do
    if type(held) == "table" and (name == "" or name:find "methods$") then -- the upvalues of C have no names
      tables[#tables + 1] = held
    end
    i = i + 1
    name, held = debug.getupvalue(index, i)
  end
  return tables
end

local function is_ours(fn)
  return type(fn) == "function" and debug.getinfo(fn, "S").source:find("moonpool/", 1, true) ~= nil
end

local function add_class(ids, faults, meta)
  local index, name = rawget(meta, "__index"), rawget(meta, "__name")
  if type(index) ~= "table" and type(index) ~= "function" then
    return
  end
  for _, methods in ipairs(tables_of(index)) do
    for key, value in next, methods do
      if is_public(key) and type(value) == "function" and methods ~= _G then
        if type(name) == "string" and name:find "^moonpool%." and not name:find "%._" then
          ids[name .. ":" .. key] = true
        elseif name == nil and is_ours(value) then
          local info = debug.getinfo(value, "S")
          faults[#faults + 1] = ("%s:%d: %s: a method of a class without a __name"):format(info.short_src,
            info.linedefined, key)
        end
      end
    end
  end
end

local function add_module(ids, name, module)
  local meta = getmetatable(module)
  if type(module) == "function" or type(meta) == "table" and meta.__call then
    ids[name .. "()"] = true
  end
  for key, value in next, type(module) == "table" and module or {} do
    if is_public(key) and type(value) == "function" then
      ids[name .. "." .. key] = true
    elseif is_public(key) and type(value) == "table" and not getmetatable(value) then
      add_module(ids, name .. "." .. key, value)
    end
  end
end

local function module_names(inside)
  local names = {}
  for path in pairs(inside) do
    local name = path:match "^lua/(.*)%.lua$"
    if name then
      names[#names + 1] = name:gsub("/init$", ""):gsub("/", ".")
    end
  end
  table.sort(names)
  return names
end

--- → a set of ids; what is wrong with itself goes to `faults`.
function M.registered(sources, modules, faults)
  local ids, roots = {}, { debug.getregistry() }
  for _, name in ipairs(module_names(sources.inside)) do
    local ok, module = pcall(require, name)
    roots[#roots + 1] = ok and module or nil
    if modules[name] and not ok then
      faults[#faults + 1] = ("%s: %s"):format(name, module)
    elseif modules[name] then
      add_module(ids, name, module)
    end
  end
  walk(roots, function(value)
    if type(value) == "table" then
      add_class(ids, faults, value)
    end
  end)
  return ids
end

---- types

-- `kind` and `name` of what a file of types tells of: local app = {} after its ---@class, function app:use(…).
local function add_local(types, owners, class, name, module)
  owners[name] = { class = class, module = module }
  types.receivers[name] = true
end

local function add_function(types, owners, receiver, mark, key, where)
  local owner = owners[receiver]
  if not owner then
    types.faults[#types.faults + 1] = ("%s: %s is of no class"):format(where, receiver)
    return
  end
  local id = (mark == ":" and owner.class or owner.module or owner.class) .. mark .. key
  if types.ids[id] then
    types.faults[#types.faults + 1] = ("%s: %s stands there twice"):format(where, id)
  end
  types.ids[id] = { name = receiver .. mark .. key, key = key, where = where, class = mark == ":" and owner.class or nil,
    module = owner.module }
end

local function add_callable(types, module, where)
  types.ids[module .. "()"] = { name = module, module = module, where = where, called = true }
end

-- `makers`: which functions give a class; `holders`: what a callback calls one that it is given.
local function add_uses(types, line, returns)
  for class in returns:gmatch "moonpool%.[%w_.]+" do
    types.pending[#types.pending + 1] = class
  end
  for names in line:gmatch "fun%(([^()]*)%)" do
    for name, class in names:gmatch "([%a_][%w_]*): (moonpool%.[%w_.]+)" do
      types.holders[class] = types.holders[class] or {}
      types.holders[class][name] = true
    end
  end
end

local function settle_makers(types, key)
  for _, class in ipairs(types.pending) do
    types.makers[class] = types.makers[class] or {}
    types.makers[class][key] = true
  end
  types.pending = {}
end

local function read_types(types, path, text)
  local whole, why = load(text, "@" .. path)
  if not whole then types.faults[#types.faults + 1] = why end
  local module, class, owners, n = nil, nil, {}, 0
  types.pending = {}
  for line in text:gmatch "([^\n]*)\n" do
    n = n + 1
    local where = ("%s:%d"):format(path, n)
    module = line:match "^%-%-%-@meta (moonpool[%w_.]*)" or module
    class = line:match "^%-%-%-@class (moonpool[%w_.]*)" or class
    add_uses(types, line, line:match "^%-%-%-@return (.*)" or line:match "^%-%-%-@overload fun%b(): (.*)" or "")
    if line:find "^%-%-%-@overload" then types.overload = true end
    local name = line:match "^local ([%w_]+) = {}"
    local receiver, mark, key = line:match "^function ([%w_.]-)([.:])([%a_][%w_]*)%("
    local table_name = line:match "^(moonpool%.[%w_]+) = {}"
    if name then
      if module and types.overload then add_callable(types, module, where) end
      add_local(types, owners, class, name, not types.seen_module and module or nil)
      types.seen_module = true
    elseif table_name then
      add_local(types, owners, class, table_name, table_name)
    elseif receiver then
      add_function(types, owners, receiver, mark, key, where)
      settle_makers(types, key)
    elseif line:find "^return function" then
      add_callable(types, module, where)
      settle_makers(types, module:match "[%w_]+$")
    end
    if not line:find "^%-%-%-" then types.overload, types.pending = nil, {} end
  end
  types.seen_module = nil
  if module then types.modules[module] = true end
end

--- What the types say: ids, and by what name the docs have them.
function M.types(meta)
  local types = { ids = {}, receivers = {}, modules = {}, makers = {}, holders = {}, faults = {} }
  local paths = {}
  for path in pairs(meta) do paths[#paths + 1] = path end
  table.sort(paths)
  for _, path in ipairs(paths) do
    types.seen_module = not meta[path]:find "^%-%-%-@meta moonpool"
    read_types(types, path, meta[path])
  end
  return types
end

--- The fields of each class: { name, optional, kind } in order.
function M.fields(meta)
  local classes = {}
  for path, text in pairs(meta) do
    local list
    for line in text:gmatch "[^\n]+" do
      local class = line:match "^%-%-%-@class ([%w_.]+)"
      local name, optional, kind = line:match "^%-%-%-@field ([%a_][%w_]*)(%??) (.*)"
      if class then
        assert(not classes[class], path .. ": " .. class .. " stands there twice")
        list = {}
        classes[class] = list
      elseif name then
        list[#list + 1] = { name = name, optional = optional == "?", kind = kind }
      end
    end
  end
  return classes
end

---- docs

-- The pieces of code in a text, fenced blocks left out, each with its line.
local function spans(text)
  text = text:gsub("```.-\n```", function(block) return (block:gsub("[^\n]", "")) end)
  local line, from, find = 1, 1, text:gmatch "()`([^`]+)`"
  return function()
    local at, code = find()
    if not at then return nil end
    local _, n = text:sub(from, at):gsub("\n", "")
    line, from = line + n, at + 1
    return line, code
  end
end

-- Names of functions in a piece of code: "app:get/post(…)" is two.
local function names_in(code)
  local list = {}
  for receiver, mark, keys in code:gmatch "%f[%w_]([%a_][%w_.]-)([.:])([%a_][%w_/]*)%s*[%(%{]" do
    for key in keys:gmatch "[^/]+" do
      list[#list + 1] = { receiver = receiver, name = receiver .. mark .. key }
    end
  end
  return list
end

local function is_luas_own(name)
  local value = _G
  for part in name:gmatch "[^.:]+" do
    local ok, inner = pcall(function() return value[part] end)
    if not ok or inner == nil then return false end
    value = inner
  end
  return true
end

--- → the names that stand there in code, each with its place; and those of modules
function M.documented(docs)
  local names, modules = {}, {}
  for path, text in pairs(docs) do
    for line, code in spans(text) do
      local where = ("%s:%d"):format(path, line)
      for _, each in ipairs(names_in(code)) do
        names[each.name] = names[each.name] or where
      end
      for module in code:gmatch "moonpool[%w_.]*" do
        modules[module] = true
      end
      for module in code:gmatch 'require "(moonpool[%w_.]*)"' do
        names["require " .. module] = names["require " .. module] or where
      end
    end
  end
  return names, modules
end

---- specs

-- What a file calls: "task:wait" with its receiver, ":wait" and ".wait" whatever that is; and the words it has in quotes.
local function index_calls(text)
  local has = {}
  for at, mark, key, behind in text:gmatch "()([.:])([%a_][%w_]*)%s*()" do
    if mark == "." or text:find("^[%({\"'%[]", behind) then
      has[text:sub(math.max(1, at - 40), at - 1):match "[%w_]*$" .. mark .. key] = true
      has[mark .. key] = true
    end
  end
  for word in text:gmatch '"(moonpool[%w_.]*)"' do has[word] = true end
  return has
end

local function any(set, test)
  for name in pairs(set or {}) do
    if test(name) then return true end
  end
  return false
end

-- A function counts where its module is required; a method where a callback's parameter of that class has it called, or
-- where the file also calls what gives such an object.
local function calls(has, entry, types)
  if not entry.class then
    local nested = entry.module:match "^moonpool%.([%w_]+)$"
    if types.modules[entry.module] and nested then
      return has[entry.module] and has["." .. entry.key]
    end
    return has[(nested or "moonpool") .. "." .. entry.key]
  end
  return any(types.holders[entry.class], function(name) return has[name .. ":" .. entry.key] end)
    or (has[":" .. entry.key] or has["." .. entry.key]) and any(types.makers[entry.class], function(maker)
      return has["." .. maker] or has[":" .. maker] or has["moonpool." .. maker]
    end)
end

local indexed = {} -- text → what it calls

-- name → what each of the files calls that call it
local function index_all(specs)
  local callers = {}
  for _, text in pairs(specs) do
    indexed[text] = indexed[text] or index_calls(text)
    for name in pairs(indexed[text]) do
      callers[name] = callers[name] or {}
      callers[name][indexed[text]] = true
    end
  end
  return callers
end

local function is_called(callers, entry, types)
  local function in_one(name)
    return any(callers[name], function(has) return calls(has, entry, types) end)
  end
  return entry.called and callers[entry.module] or entry.key and (in_one(":" .. entry.key) or in_one("." .. entry.key))
end

---- all together

-- Names in quotes, as in require "moonpool.form"; of "moonpool.argon2.hash" what stands before its last dot, too.
local function asked_for(inside)
  local asked = {}
  for _, text in pairs(inside) do
    for name in text:gmatch '"(moonpool%.[%w_.]+)"' do
      asked[name], asked[name:match "^(.*)%."] = true, true
    end
  end
  return asked
end

-- A module that nothing of ours asks for is there for scripts.
local function judge_modules(sources, types, fault)
  local asked = asked_for(sources.inside)
  for _, name in ipairs(module_names(sources.inside)) do
    if not types.modules[name] and not asked[name] then
      fault("%s: a module that nothing asks for, and that has no types", name)
    end
  end
end

--- → a list of what is missing or too much; empty when all is well.
function M.faults(sources)
  local faults = {}
  local function fault(...) faults[#faults + 1] = string.format(...) end
  local types = M.types(sources.meta)
  local ids = M.registered(sources, types.modules, faults)
  local names, modules = M.documented(sources.docs)
  local specs, told = index_all(sources.specs), {}
  table.move(types.faults, 1, #types.faults, #faults + 1, faults)
  judge_modules(sources, types, fault)
  for id in pairs(ids) do
    if not types.ids[id] then fault("%s is registered and has no type", id) end
  end
  for id, entry in pairs(types.ids) do
    told[entry.name] = true
    if not ids[id] then fault("%s: %s has a type and is not registered", entry.where, id) end
    if not (entry.called and modules[entry.module] or names[entry.name]) then
      fault("%s (%s) is not in docs/api.md", entry.name, id)
    end
    if not is_called(specs, entry, types) then fault("no spec calls %s (%s)", entry.name, id) end
  end
  for name, where in pairs(M.documented(sources.prose)) do
    names[name] = names[name] or where
  end
  for name, where in pairs(names) do
    local module = name:match "^require (.*)"
    if module and not types.modules[module] then
      fault("%s: tells of the module %s, which has no types", where, module)
    elseif not module and not told[name] and not is_luas_own(name) then
      fault("%s: tells of %s, which does not exist", where, name)
    end
  end
  table.sort(faults)
  return faults
end

return M
