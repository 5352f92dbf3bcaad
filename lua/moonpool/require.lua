-- require as the manual has it (results, errors, package.loaded, searchers), written in Lua so that a module's body may
-- wait: the stock one is a C function that no yield can cross.
--
-- While a body waits, another task may ask for the same module; it waits for the first. The table of bodies that run
-- now is `loading`; an entry leaves it when its body ends, however it ends.

local core = require "moonpool.core"
local substitutes = require "moonpool.substitutes"

local M = {}

local package, loaded = package, package.loaded -- as the stock one, which does not look them up again

local FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
-- Lua's own require ends a module that requires itself by "C stack overflow", at about 200. Here each round may wait,
-- so the end comes sooner.
local MAX_DEPTH = 10

local loading = {}                                    -- name → { owner, over, depth, thread }
local waits_for = setmetatable({}, { __mode = "k" })  -- task → the entry it waits for

-- Raises with the position of the call of require.
local function raise(message)
  local level = 2
  while debug.getinfo(level, "f").func ~= M.body do
    level = level + 1
  end
  local outer = debug.getinfo(level + 1, "f")
  error(message, level + (outer and outer.func == M.require and 2 or 1))
end

-- As luaL_checkstring: numbers are strings.
local function check_name(name, given)
  if type(name) == "number" then
    return tostring(name)
  elseif type(name) ~= "string" then
    local got = given == 0 and "no value" or type(name)
    raise(("bad argument #1 to 'require' (string expected, got %s)"):format(got))
  end
  return name
end

local function find_loader(name)
  local searchers = package.searchers
  if type(searchers) ~= "table" then
    raise "'package.searchers' must be a table"
  end
  local tried = {}
  local i = 1
  while rawget(searchers, i) ~= nil do
    -- Under pcall, so that a C searcher sees a C caller and puts no position in front of its message.
    local ok, loader, data = pcall(searchers[i], name)
    if not ok then
      error(loader, 0)
    elseif type(loader) == "function" then
      return loader, data
    elseif type(loader) == "string" or type(loader) == "number" then
      tried[#tried + 1] = "\n\t" .. loader
    end
    i = i + 1
  end
  raise(("module '%s' not found:%s"):format(name, table.concat(tried)))
end

-- A coroutine that was dropped in the middle of a body never ends it.
local function is_over(entry)
  local thread = entry.thread[1]
  return entry.over or not thread or coroutine.status(thread) == "dead"
end

-- Does the task of `entry` wait, perhaps through others, for a module that `me` is loading?
local function waits_for_me(entry, me)
  local seen = {}
  while entry and not is_over(entry) and not seen[entry] do
    if entry.owner == me then
      return true
    end
    seen[entry] = true
    entry = entry.owner and waits_for[entry.owner]
  end
  return false
end

local function forget_wait(guard)
  waits_for[guard.task] = nil
end

-- A body that waits and is wanted by two at once is rare, and no longer than a module takes to load: looking again
-- after a pause needs no bookkeeping that a cancelled owner could leave behind.
local function await(entry, me)
  local guard <close> = setmetatable({ task = me }, { __close = forget_wait })
  waits_for[guard.task] = entry
  local pause = FIRST_PAUSE
  repeat
    core.sleep(pause)
    pause = math.min(pause * 2, LONGEST_PAUSE)
  until is_over(entry)
end

local function leave(entry)
  entry.over = true
  if loading[entry.name] == entry then
    loading[entry.name] = entry.outer
  end
end

local entry_meta = { __close = leave }

local function enter(name, me)
  local outer = loading[name]
  if outer and is_over(outer) then
    outer = nil
  end
  local entry = {
    name = name,
    owner = me,
    outer = outer,
    depth = outer and outer.depth + 1 or 1,
    thread = setmetatable({ (coroutine.running()) }, { __mode = "v" }),
  }
  if entry.depth > MAX_DEPTH then
    raise(("stack overflow (module '%s' is required by its own body)"):format(name))
  end
  loading[name] = setmetatable(entry, entry_meta)
  return entry
end

local function run_body(name, loader, data, entry)
  local _ <close> = entry
  local value = loader(name, data)
  if value ~= nil then
    loaded[name] = value
  end
  if loaded[name] == nil then
    loaded[name] = true
  end
  return loaded[name], data
end

-- The entry that this call has to wait for, if any. A cycle within one task, or through several that wait for each
-- other, is run again as Lua's require does: it ends by package.loaded, or by the depth.
local function in_the_way(name, me)
  local entry = loading[name]
  if not entry or is_over(entry) or waits_for_me(entry, me) then
    return nil
  elseif not core.yieldable() then
    raise(("module '%s' is being loaded by another task, and this place cannot wait for it"):format(name))
  end
  return entry
end

function M.body(...)
  local name = check_name(..., select("#", ...))
  if loaded[name] then
    return loaded[name]
  end
  local me = core.running() or false
  local entry = in_the_way(name, me)
  while entry do
    await(entry, me)
    if loaded[name] then
      return loaded[name]
    end
    entry = in_the_way(name, me)
  end
  local loader, data = find_loader(name)
  substitutes.note(name)
  local value, extra = run_body(name, loader, data, enter(name, me))
  return value, extra
end

-- As a C function where the core offers one: a tail call of a Lua function would lose the line that called it.
M.require = core.native and core.native(M.body) or M.body

return M
