-- From a request to the functions that answer it.
--
--   path as sent ─ the core's map and tree of routes ────────► run(req, res)
--     └ handle: split, decode ─ tree of the app ─ (mount: tree of the mounted app …) ─ chain of middleware, handler ─┘
--
-- A site is an app at the place where it is mounted; the root's is at "". Chains are put together once: for every path
-- without parameters (core.add_route) and every other route of the root (core.add_pattern) when the first request
-- comes, for routes in mounts at their first use.

local core = require "moonpool.core"
local app_module = require "moonpool.app"
local later = require "moonpool.later"
local router = require "moonpool.router"

local errors = later "moonpool.errors"
local template = later "moonpool.template"

local M = {}

local STAR_METHODS = table.concat(router.METHODS, ", ") -- the answer to "OPTIONS *"

local MOST_REMEMBERED, LONGEST_REMEMBERED = 1000, 256

local MALFORMED = { status = 400, message = "the path holds a malformed escape" }
local TOO_LARGE = { status = 413, message = "the body is too large" }

---- sites

local function new_site(app, parent, base)
  local site = { app = app, parent = parent, base = base, sites = {}, chains = {} }
  site.prefixed = parent and parent.prefixed or false -- a chain depends on the path, not on the route alone
  for _, layer in ipairs(app._layers) do
    site.prefixed = site.prefixed or #layer.prefix > 0
  end
  for _, mount in ipairs(app._mounts) do
    if mount.app then
      site.sites[mount] = new_site(mount.app, site, base .. app_module.base(mount))
    end
  end
  return site
end

-- The error page that holds at a site: its own, or the nearest above it.
local function page_of(site)
  while site do
    if site.app._error_page then
      return site.app._error_page
    end
    site = site.parent
  end
end

-- Likewise the templates.
local function templates_of(site)
  while site do
    if site.app._templates then
      return site.app._templates
    end
    site = site.parent
  end
end

---- chains

local function neither(step)
  error(("the middleware at %s neither answered nor called next()"):format(app_module.home(step)), 0)
end

-- Runs steps[at] with a next() that runs what comes after it. The last step is the handler and gets no next.
local function run_from(steps, at, req, res)
  local step = steps[at]
  if at == #steps then
    step(req, res)
    return
  end
  local called = false
  step(req, res, function()
    if called then
      error("next() was called before", 2)
    end
    called = true
    run_from(steps, at + 1, req, res)
  end)
  if not called and not core.answered(res) then
    neither(step)
  end
end

local function chain(steps)
  if #steps == 1 then
    return steps[1]
  end
  return function(req, res)
    run_from(steps, 1, req, res)
  end
end

local function covers(prefix, segments, from)
  for i, text in ipairs(prefix) do
    if segments[from + i - 1] ~= text then
      return false
    end
  end
  return true
end

local function add_layers(steps, site, segments, from)
  local templates = site.app._templates
  if templates then
    steps[#steps + 1] = function(_, res, next)
      template._bind(res, templates)
      next()
    end
  end
  for _, layer in ipairs(site.app._layers) do
    if covers(layer.prefix, segments, from) then
      steps[#steps + 1] = layer.fn
    end
  end
end

-- What a route's options ask for, before the first middleware can read the body.
local function limits_of(route)
  local options = route.options
  if not options.keep and not options.max_body and not options.timeout then
    return nil
  end
  return function(req, _, next)
    core.set_limits(req, options)
    if options.keep then
      req:keep()
    end
    next()
  end
end

---- a whole dispatcher

-- `maps`: where the core finds routes without a call into Lua.
local function new_dispatcher(root_app, maps)
  local root                                         -- the site of root_app; nil: look at everything again
  local failed_in = {}                               -- a request's id → the mounted site that an error left

  local function report(err, traceback)
    core.log("error", "the error page failed: " .. traceback)
    M.tell(root_app, err, traceback, { kind = "handler" })
  end

  local function answer(site, req, res, e)
    local templates = templates_of(site)
    if templates then
      template._bind(res, templates)
    end
    errors.answer(page_of(site), req, res, errors.describe(e), report)
  end

  -- Leaving a mounted site by an error: the innermost is remembered for `fail`, which is called when nothing has been
  -- answered yet, and forgets it.
  local visit_meta = { __close = function(visit, err)
    if err == nil then
      core.set_base(visit.req, visit.site.parent.base)
    elseif err ~= core.cancelled and not core.answered(visit.res) then
      failed_in[visit.id] = failed_in[visit.id] or visit.site
    end
  end }

  -- The step that leads from a site into one mounted in it.
  local function entry(child)
    return function(req, res, next)
      core.set_base(req, child.base)
      local visit <close> = setmetatable({ req = req, res = res, id = req.id, site = child }, visit_meta)
      next()
      return visit
    end
  end

  local outside = { __close = function(stay) core.set_base(stay.req, stay.base) end }

  -- A function that is mounted in a site: the last step.
  local function guest(site, mount)
    local base = site.base .. app_module.base(mount)
    return function(req, res)
      local _ <close> = setmetatable({ req = req, base = site.base }, outside)
      core.set_base(req, base)
      mount.target(req, res)
    end
  end

  local function refusal(site, search)
    if #search.missed == 0 then
      return function(req, res)
        answer(site, req, res, { status = 404 })
      end
    end
    local allow = router.allow(search.missed)
    if search.method == "OPTIONS" then
      return function(_, res)
        res:status(204):header("Allow", allow):finish()
      end
    end
    return function(req, res)
      answer(site, req, res, { status = 405, headers = { Allow = allow } })
    end
  end

  -- Files of a folder, for what no route of the site takes: `skip` segments of the path lead to it.
  local function folder_step(site, lookup)
    local folder, skip = lookup.folder, lookup.at - 1
    local allow = router.allow { { GET = true }, table.unpack(lookup.missed) }
    if lookup.method == "OPTIONS" then
      return function(_, res)
        res:status(204):header("Allow", allow):finish()
      end
    elseif lookup.method ~= "GET" and lookup.method ~= "HEAD" then
      return function(req, res)
        answer(site, req, res, { status = 405, headers = { Allow = allow } })
      end
    end
    local not_there = refusal(site, lookup)
    return function(req, res)
      if core.dev and require("moonpool.dev").serve_page(req, res, folder.root, skip, folder.index) then
        return
      end
      local status, headers = core.serve(res, folder.root, skip, folder.index, folder.max_age, folder.dotfiles)
      if status == 404 and folder.fallback then
        status, headers = core.serve(res, folder.root, folder.fallback, false, folder.max_age)
      end
      if status == 404 then
        not_there(req, res)
      elseif status then
        answer(site, req, res, { status = status, headers = headers })
      end
    end
  end

  local function add_route(steps, route)
    local limits = limits_of(route)
    if limits then
      table.insert(steps, 1, limits)
    end
    table.move(route.steps, 1, #route.steps, #steps + 1, steps)
  end

  -- Follows a path through the sites. → run(req, res), params or nil, whether a route was found, or else a folder.
  local function resolve(method, segments)
    local site, from, steps = root, 1, {}
    while true do
      local search = site.app._router:find(method, segments, from)
      local route, mount = search.route, search.mount
      local known = route and site.chains[route]
      if known then
        return known, router.params(route, search.values), true
      end
      add_layers(steps, site, segments, from)
      if route then
        add_route(steps, route)
        local run = chain(steps)
        if not site.prefixed then
          site.chains[route] = run
        end
        return run, router.params(route, search.values), true
      elseif search.folder then
        steps[#steps + 1] = folder_step(site, search)
        return chain(steps), nil, false, true
      elseif not mount then
        steps[#steps + 1] = refusal(site, search)
        return chain(steps), nil, false
      elseif not mount.app then
        steps[#steps + 1] = guest(site, mount)
        return chain(steps), nil, false
      end
      site, from = site.sites[mount], search.at
      steps[#steps + 1] = entry(site)
      segments[from] = segments[from] or "" -- "/admin" is "/" to what is mounted there
    end
  end

  -- Other methods of its path may lead to another route, or to none: those are looked for when they come.
  local function methods_of(route)
    if route.method == router.ANY then
      return router.METHODS
    end
    return route.method == "GET" and { "GET", "HEAD" } or { route.method }
  end

  local function fill_static(site)
    for _, route in ipairs(site.app._router.routes) do
      local literal = router.literal_path(route)
      local path = literal and not site.base:find("%", 1, true) and site.base .. literal
      for _, method in ipairs(path and methods_of(route) or {}) do
        local run, params, found = resolve(method, router.split_path(path))
        if found and not params then
          maps.add_route(method, path, run)
        end
      end
    end
    for _, mount in ipairs(site.app._mounts) do
      if mount.app then
        fill_static(site.sites[mount])
      end
    end
  end

  -- All routes of the root, those of the map too: another may stand behind them. Where a chain depends on the path,
  -- each request finds its own.
  local function fill_tree()
    if root.prefixed then
      return
    end
    for _, mount in ipairs(root_app._mounts) do
      local way = {}
      for i, text in ipairs(mount.segments) do
        way[i] = { kind = "literal", text = text }
      end
      maps.add_mount(way)
    end
    for _, route in ipairs(root_app._router.routes) do
      local run = root.chains[route]
      if not run then
        local steps = {}
        add_layers(steps, root, {}, 1)
        add_route(steps, route)
        run = chain(steps)
        root.chains[route] = run
      end
      maps.add_pattern(route.method, route.segments, route.names, run)
    end
  end

  -- Paths of files that were there: the next request finds the way at once. The first ones only: a client could make up
  -- any number.
  local remembered, n_remembered = {}, 0

  function root_app._changed()
    root = nil
    remembered, n_remembered = {}, 0
    maps.clear_routes()
  end

  local function look()
    root = new_site(root_app, nil, "")
    if not core.dev then -- there every request passes by `handle`
      fill_static(root)
      fill_tree()
    end
  end

  local function remember(path, run)
    if n_remembered < MOST_REMEMBERED and #path <= LONGEST_REMEMBERED and not remembered[path] then
      maps.add_route("GET", path, run)
      remembered[path] = true
      n_remembered = n_remembered + 1
    end
  end

  -- The route that a path leads to, and the site that it ends in.
  local function route_of(method, segments)
    local site, from = root, 1
    while true do
      local search = site.app._router:find(method, segments, from)
      local mount = not search.route and not search.folder and search.mount
      if not (mount and mount.app) then
        return search.route, site
      end
      site, from = site.sites[mount], search.at
      segments[from] = segments[from] or ""
    end
  end

  -- A body above the general limit: only a route that names one of its own may take it.
  local function takes(req, res, method, path)
    local segments = router.split_path(path)
    local route, site = nil, root
    if segments then
      route, site = route_of(method, segments)
    end
    if route and route.options.max_body then
      return true
    end
    answer(site, req, res, segments and TOO_LARGE or MALFORMED)
    return false
  end

  local function handle(req, res, method, path, too_long)
    if not root then
      look()
    end
    if too_long and not takes(req, res, method, path) then
      return
    end
    local segments = router.split_path(path == "*" and "/*" or path)
    if not segments then
      answer(root, req, res, MALFORMED)
      return
    end
    local run, params, found, of_folder = resolve(method, segments)
    if path == "*" and not found then -- about the server as a whole; a route for every path may answer it
      res:header("Allow", STAR_METHODS):finish("")
      return
    end
    if params then
      core.set_params(req, params)
    end
    run(req, res)
    if of_folder and root and not core.dev and method == "GET" and res:status() == 200 then
      remember(path, run)
    end
  end

  local function fail(req, res, err)
    if not root then
      look()
    end
    local id = req.id
    local site = failed_in[id] or root
    failed_in[id] = nil
    answer(site, req, res, err)
  end

  return handle, fail
end

---- hooks

local function each_app(app, visit, seen)
  seen = seen or {}
  if seen[app] then
    return
  end
  seen[app] = true
  visit(app)
  for _, mount in ipairs(app._mounts) do
    if mount.app then
      each_app(mount.app, visit, seen)
    end
  end
end

local function hooks_of(app, kind)
  local list = {}
  each_app(app, function(each)
    table.move(each._hooks[kind], 1, #each._hooks[kind], #list + 1, list)
  end)
  return list
end

local function with_traceback(err)
  local text = type(err) == "string" and err or ("(error is a %s) %s"):format(type(err), tostring(err))
  return { value = err, traceback = debug.traceback(text, 2) }
end

--- Tells every on_error function of an error; one that fails is logged, and the others still hear of it.
function M.tell(app, err, traceback, what)
  if type(what) ~= "table" then
    what = { kind = what or "handler" }
  end
  if not getmetatable(what) then
    setmetatable(what, { __tostring = function(self) return tostring(self.kind) end })
  end
  for _, fn in ipairs(hooks_of(app, "error")) do
    local ok, own = xpcall(fn, with_traceback, err, traceback, what)
    if not ok then
      core.log("error", "on_error failed: " .. own.traceback)
    end
  end
end

-- All of them, latest first; the first error is raised once all have run, the others are logged.
local function run_stops(app)
  local list, failed = hooks_of(app, "stop"), nil
  for i = #list, 1, -1 do
    local ok, own = xpcall(list[i], with_traceback)
    if not ok and failed then
      core.log("error", "on_stop failed: " .. own.traceback)
    end
    failed = failed or not ok and own
  end
  if failed then
    error(failed.value, 0)
  end
end

-- A plain function(req, res) is given every path but the malformed ones.
local function plain(target, fail)
  return function(req, res, _, path, too_long)
    if path:find("%", 1, true) and not router.split_path(path) then
      return fail(req, res, MALFORMED)
    elseif too_long then
      return fail(req, res, TOO_LARGE)
    end
    return target(req, res)
  end
end

--- An app (or a plain handler) as boot hands it to the core: handle, fail, hooks.
--- `maps`: those of the site it is for; those of the worker when none are given.
---@param target table|function
---@param maps table?
function M.build(target, maps)
  local app = app_module.is_app(target) and target or app_module.new()
  local handle, fail = new_dispatcher(app, maps or core)
  if app ~= target then
    handle = plain(target, fail)
  end
  return handle, fail, {
    on_start = function()
      for _, fn in ipairs(hooks_of(app, "start")) do
        fn()
      end
    end,
    on_stop = function()
      run_stops(app)
    end,
    on_error = function(err, traceback, what)
      M.tell(app, err, traceback, what)
    end,
  }
end

return M
