-- Patterns and the tree they make: one node for each segment, so that a look-up costs what the path is long, not how
-- many routes there are. The path comes split and decoded (M.split_path); a node is visited at most once in a look-up.

local core = require "moonpool.core"

local M = {}

local concat, find, sub = table.concat, string.find, string.sub

M.ANY = "*" -- the method of app:any
M.METHODS = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" }

--- The segments of a path as sent, each decoded: "/a%2Fb/" is { "a/b", "" }. nil when an escape is bad or hides a NUL.
---@param path string
---@return string[]?
function M.split_path(path)
  local segments, n, from = {}, 0, 2
  local escaped = find(path, "%", 1, true)
  repeat
    local slash = find(path, "/", from, true)
    local segment = sub(path, from, slash and slash - 1)
    if escaped then
      segment = core.url_decode(segment)
      if not segment or find(segment, "\0", 1, true) then
        return nil
      end
    end
    n = n + 1
    segments[n] = segment
    from = slash and slash + 1
  until not from
  return segments
end

local function read_name(pattern, segment, names)
  local name = sub(segment, 2)
  if not find(name, "^[%a_][%w_]*$") then
    return nil, ("%s: %q is not the name of a parameter"):format(pattern, name)
  end
  for _, other in ipairs(names) do
    if other == name then
      return nil, ("%s: the parameter %q stands there twice"):format(pattern, name)
    end
  end
  names[#names + 1] = name
  return name
end

--- "/users/:id/*rest" → its segments, each { kind = "literal" | "param" | "rest", text }, and the parameters' names.
---@param pattern string
---@return table? segments, string[]|string names, or nil and what is wrong
function M.parse(pattern)
  if sub(pattern, 1, 1) ~= "/" then
    return nil, ("%q does not start with /"):format(pattern)
  elseif find(pattern, "[?#]") then
    return nil, ("%s: a pattern is a path, without query or fragment"):format(pattern)
  end
  local segments, names = {}, {}
  for segment in pattern:gmatch("/([^/]*)") do
    local mark = sub(segment, 1, 1)
    local kind = mark == ":" and "param" or mark == "*" and "rest" or "literal"
    if #segments > 0 and segments[#segments].kind == "rest" then
      return nil, ("%s: nothing may follow *%s"):format(pattern, names[#names])
    end
    local text = segment
    if kind ~= "literal" then
      local name, why = read_name(pattern, segment, names)
      if not name then
        return nil, why
      end
      text = name
    end
    segments[#segments + 1] = { kind = kind, text = text }
  end
  return segments, names
end

--- "/admin/" → { "admin" }: the segments of a prefix, which has no parameters and no slash at its end.
---@return string[]?, string? why
function M.parse_prefix(prefix)
  local segments, why = M.parse(prefix)
  if not segments then
    return nil, why
  end
  local texts = {}
  for i, segment in ipairs(segments) do
    if segment.kind ~= "literal" then
      return nil, ("%s: a prefix holds no :name or *name"):format(prefix)
    elseif segment.text ~= "" or i < #segments then
      texts[i] = segment.text
    end
  end
  return texts
end

local function new_node()
  return { literals = {}, leaf = nil, param = nil, rest = nil, mount = nil }
end

local function literal_child(node, text)
  local child = node.literals[text]
  if not child then
    child = new_node()
    node.literals[text] = child
  end
  return child
end

local methods = {}

-- The table of methods at the end of `segments`: method → route.
local function leaf_of(root, segments)
  local node = root
  for _, segment in ipairs(segments) do
    if segment.kind == "rest" then
      node.rest = node.rest or {}
      return node.rest
    elseif segment.kind == "param" then
      node.param = node.param or new_node()
      node = node.param
    else
      node = literal_child(node, segment.text)
    end
  end
  node.leaf = node.leaf or {}
  return node.leaf
end

--- Adds a route (a table with `method` and `pattern`; `names` and `segments` are filled in). Returns true; or nil and
--- what is wrong, and the route that stands there already if that is the reason.
function methods:add(route)
  local segments, names = M.parse(route.pattern)
  if not segments then
    return nil, names
  end
  local leaf = leaf_of(self.root, segments)
  if leaf[route.method] then
    return nil, "is already defined", leaf[route.method]
  end
  route.segments, route.names = segments, names
  leaf[route.method] = route
  self.routes[#self.routes + 1] = route
  return true
end

-- The node at a prefix and its segments; nil and what is wrong with the prefix.
local function node_at(root, prefix)
  local segments, why = M.parse_prefix(prefix)
  if not segments then
    return nil, why
  end
  local node = root
  for _, text in ipairs(segments) do
    node = literal_child(node, text)
  end
  return node, segments
end

--- Everything at `prefix` and below that no route takes belongs to `mount`.
function methods:add_mount(prefix, mount)
  local node, segments = node_at(self.root, prefix)
  if not node then
    return nil, segments
  elseif node.mount then
    return nil, "something is already mounted there"
  end
  node.mount = mount
  mount.segments = segments
  return true
end

--- Files for what is asked for at `prefix` and below, where no route and no deeper mount takes it.
function methods:add_folder(prefix, folder)
  local node, why = node_at(self.root, prefix)
  if not node then
    return nil, why
  elseif node.folder then
    return nil, "a folder is already served there"
  end
  node.folder = folder
  return true
end

local function pick(leaf, method)
  return leaf[method] or method == "HEAD" and leaf.GET or leaf[M.ANY]
end

-- Literal before :name before *name before a mount, going back where a choice leads nowhere. What matches but for the
-- method is noted in `search.missed`.
local function try(search, leaf)
  local route = pick(leaf, search.method)
  if route then
    search.route = route
    return true
  end
  search.missed[#search.missed + 1] = leaf
  return false
end

local function take_mount(search, mount, at)
  if not search.folder then -- one that lies deeper comes first
    search.mount, search.at = mount, at
  end
  return true
end

-- The deepest folder is remembered; a route found on the way back is still better.
local function note_folder(search, folder, at)
  if not search.folder then
    search.folder, search.at = folder, at
  end
end

-- Nothing further down at this node: a mount takes all, a folder what routes leave.
local function take_rest(search, node, at)
  if node.folder then
    note_folder(search, node.folder, at)
  end
  return node.mount and take_mount(search, node.mount, at)
end

local function walk(search, node, at, n_values)
  local segments, values = search.segments, search.values
  local segment = segments[at]
  if not segment then
    return node.leaf and try(search, node.leaf) or take_rest(search, node, at)
  end
  local child = node.literals[segment]
  if child and walk(search, child, at + 1, n_values) then
    return true
  end
  if node.param and segment ~= "" then
    values[n_values + 1] = segment
    if walk(search, node.param, at + 1, n_values + 1) then
      return true
    end
  end
  if node.rest and try(search, node.rest) then
    values[n_values + 1] = concat(segments, "/", at)
    return true
  end
  return take_rest(search, node, at)
end

--- Looks up what segments[from] and following lead to. The result has `route` and `values` (of its parameters, in
--- order; there may be more, left over from a way not taken), or `mount` or `folder`
--- and `at` (its first segment), and `missed`:
--- what is there for other methods, empty when nothing is.
---@param method string
---@param segments string[]
---@param from integer
function methods:find(method, segments, from)
  local search = { method = method, segments = segments, values = {}, missed = {} }
  walk(search, self.root, from, 0)
  return search
end

--- "GET, HEAD, OPTIONS": the field of a 405, or of the answer to OPTIONS.
function M.allow(missed)
  local has, list = { OPTIONS = true }, {}
  for _, leaf in ipairs(missed) do
    for method in pairs(leaf) do
      has[method] = true
    end
  end
  has.HEAD = has.HEAD or has.GET
  for _, method in ipairs(M.METHODS) do
    if has[method] then
      list[#list + 1] = method
    end
  end
  return concat(list, ", ")
end

--- name → value, or nil for a route without parameters.
function M.params(route, values)
  local names = route.names
  if #names == 0 then
    return nil
  end
  local params = {}
  for i, name in ipairs(names) do
    params[name] = values[i]
  end
  return params
end

--- The one path that a route without parameters answers to, as it is sent; nil when it would need an escape.
function M.literal_path(route)
  if #route.names > 0 or find(route.pattern, "%", 1, true) then
    return nil
  end
  return route.pattern
end

local metatable = { __index = methods, __name = "moonpool._router" }

function M.new()
  return setmetatable({ root = new_node(), routes = {} }, metatable)
end

return M
