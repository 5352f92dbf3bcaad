-- The soak: a random mix of everything against a real server, each answer judged by what was asked for.
--
--   MOONPOOL=build/dev/moonpool lua5.4 --cpath… spec/soak/mixer.lua [--seed N] [--seconds N] [--operations N]
--     [--workers N] [--clients N] [--round SECONDS]
--
-- A run is a row of rounds. In a round many clients work at once, while workers are killed and the app is reloaded;
-- after each all is quiet, and whatever is left over then is a fault. The last two fifths have no such storms: there the
-- memory of the workers must stay flat. A failure prints the seed and the last operations, and keeps the log.
local client = require "spec.support.client"
local host = require "host"
local lfs = require "lfs"
local log_reader = require "spec.soak.log"
local operations = require "spec.soak.operations"
local quiet = require "spec.soak.quiet"
local random = require "spec.soak.random"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local options = { seed = os.time() % 1000000, seconds = 30, operations = math.maxinteger, workers = 2, clients = 8, round = 8 }

local function read_options()
  local i = 1
  while i <= #arg do
    local name, value = arg[i]:match "^%-%-(%a+)$", tonumber(arg[i + 1])
    if not (name and options[name] and value) then
      io.stderr:write("soak: no such option: ", arg[i], "\n")
      os.exit(2)
    end
    options[name], i = value, i + 2
  end
end

-- What all clients share.
local run = {
  done = 0,      -- operations judged right
  void = 0,      -- operations that met the kill of a worker, and of which nothing can be said
  ids = 0,
  storms = 0,    -- kills, retirements and reloads
  kills = 0,     -- counts up before a worker is killed
  retired = 0,   -- when a worker was last told to leave, for whatever reason
  undecided = 0, -- how many reloads will have been decided once the last one is: a later one would take its place
  version = 1,   -- of the newest app
  settled = 1,   -- the oldest version that may still answer
  last = {},     -- what was done lately, for a report
  n_last = 0,
  tally = {},
}

local function note(text)
  run.n_last = run.n_last + 1
  run.last[run.n_last % 60 + 1] = ("%9.3f %s"):format(host.now() - run.began, text)
end

-- ---- a client ----

local Client = {}
Client.__index = Client

function Client:id()
  run.ids = run.ids + 1
  return tostring(run.ids)
end

local function escape(text)
  return (tostring(text):gsub("[^%w._-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function target_of(path, query)
  local pairs_ = {}
  for name, value in pairs(query) do pairs_[#pairs_ + 1] = name .. "=" .. escape(value) end
  table.sort(pairs_)
  return #pairs_ > 0 and path .. "?" .. table.concat(pairs_, "&") or path
end

function Client:bytes(method, path, query)
  query.word = self.word
  return client.bytes(method, target_of(path, query))
end

function Client:open() -- luacheck: ignore self
  local conn = client.shared(run.server.port)
  run.opened[conn] = true
  return conn
end

function Client:drop()
  if self.conn then self.conn:close() end
  self.conn = nil
end

function Client:must(truth, why)
  if not truth then error(("%s: %s"):format(self.doing, why), 0) end
end

-- A worker that is killed takes answers along that were on their way.
function Client:met_a_kill() return run.kills > self.kills or host.now() - run.killed < 1 end

-- Which versions may answer; an answer is never that of an app that was replaced long ago.
local function judge_head(c, r)
  c.pid = tonumber(r.headers["x-pid"])
  local version = tonumber(r.headers["x-version"])
  if version then
    c:must(version >= run.settled and version <= run.version,
      ("version %d answers, not %d to %d"):format(version, run.settled, run.version))
  end
end

function Client:judge(r, expected)
  judge_head(self, r)
  self:must(r.status == 200 and r.body == expected,
    ("status %d, %q instead of %q"):format(r.status, r.body:sub(1, 300), expected:sub(1, 300)))
end

-- A worker that was told to leave may close a connection at rest at the very moment it is used again: then nothing was
-- answered, and the request may be sent anew.
local function crossed(c, conn)
  return not c:met_a_kill() and c.used > 0 and #conn.buffer == 0 and conn.eof and host.now() - run.retired < 60
end

local function ask_once(c, method, bytes)
  if not c.conn then c.conn, c.used = c:open(), 0 end
  local conn, before = c.conn, #c.conn.buffer
  c:must(before == 0, "bytes that nobody asked for: " .. conn.buffer:sub(1, 200))
  local sent, why = conn:send(bytes)
  local ok, r = pcall(function()
    if not sent and why ~= "closed" then error("cannot send: " .. why, 0) end
    return conn:response(method)
  end)
  return ok, r, conn
end

function Client:ask(method, bytes)
  if self.conn and self.random:chance(0.4) then self:drop() end
  local ok, r, conn = ask_once(self, method, bytes)
  if not ok and crossed(self, conn) then
    self:drop()
    ok, r = ask_once(self, method, bytes)
  end
  if not ok then error(r, 0) end
  self.used = self.used + 1
  judge_head(self, r)
  if (r.headers.connection or "") == "close" or r.by_close then self:drop() end
  return r
end

function Client:get(path, query)
  query.word = self.word
  self.doing = "GET " .. target_of(path, query)
  return self:ask("GET", client.bytes("GET", target_of(path, query)))
end

function Client:post(path, body)
  self.doing = ("POST %s of %d bytes"):format(path, #body)
  return self:ask("POST", client.bytes("POST", path, { body = body }))
end

function Client:says(path, query, expected) self:judge(self:get(path, query), expected) end

function Client:matches(path, query, pattern)
  local r = self:get(path, query)
  self:must(r.status == 200 and r.body:find(pattern), ("status %d, %q instead of %q"):format(r.status, r.body, pattern))
  return r.body
end

-- The log must have `text` once, when all is quiet; at most once when a worker was killed meanwhile.
-- `of_worker`: what tells it belongs to the worker and not to the request: it ends with its worker.
function Client:expect_line(text, fn, of_worker)
  run.expected[text] = { kills = run.kills, least = 1 }
  local ok, err = pcall(fn)
  run.expected[text].worker = of_worker and self.pid
  if not ok then
    run.expected[text].least = 0
    error(err, 0)
  end
end

-- A client's own connections end with its operation, however that ends.
local function perform(c, one)
  c.kills, c.doing = run.kills, one.name
  local ok, err = pcall(one.fn, c)
  if ok then
    run.done = run.done + 1
    run.tally[one.name] = (run.tally[one.name] or 0) + 1
    return note(("client %d ok    %s"):format(c.index, c.doing))
  end
  c:drop()
  local cut = type(err) == "string" and (err:find "^connection closed" or err:find "closed$" or err:find "reset")
  if cut and c:met_a_kill() then
    run.void = run.void + 1
    return note(("client %d void  %s"):format(c.index, c.doing))
  end
  note(("client %d WRONG %s: %s"):format(c.index, c.doing, tostring(err)))
  error(("%s: %s: %s"):format(one.name, c.doing, tostring(err)), 0)
end

local function client_loop(index, round)
  local source = random.new(options.seed * 7919 + round * 131 + index)
  local c = setmetatable({ index = index, random = source, word = "soak" .. index, used = 0 }, Client)
  while host.now() < run.round_ends and run.done < options.operations do
    perform(c, source:weighed(operations.list, operations.sum))
  end
  c:drop()
end

-- ---- storms ----

local app_text, more_text = server.read_file "spec/soak/app.lua", server.read_file "spec/soak/more.lua"
local function app_of(version) return ("soak_version = %d "):format(version) .. app_text end

local storms = {}

function storms.kill(source)
  local pid = source:pick(run.log:workers())
  run.kills, run.killed = run.kills + 1, host.now()
  run.log:has_to_go(pid, "KILL")
  note("storm: kill -9 of worker " .. pid)
  host.kill(pid, "KILL")
end

function storms.term(source)
  local pid = source:pick(run.log:workers())
  run.retired = host.now()
  run.log:has_to_go(pid, "TERM")
  note("storm: TERM to worker " .. pid)
  host.kill(pid, "TERM")
end

local function reload(what)
  run.retired = host.now()
  run.undecided = run.log.decided + 1
  note("storm: HUP, " .. what)
  run.server:signal "HUP"
end

function storms.reload() reload "the same app" end

function storms.new_app()
  run.version = run.version + 1
  server.write_file(run.server.app, app_of(run.version))
  reload("version " .. run.version)
end

-- The broken app stays only until the log has told of it: a worker that is killed then must find one that loads.
function storms.broken_app()
  local before = run.log.broken
  run.log.breaking = run.log.breaking + 1
  server.write_file(run.server.app, "error 'soak: broken app'\n")
  reload "a broken app"
  run.mending = function()
    if run.log.broken == before then return false end
    server.write_file(run.server.app, app_of(run.version))
    return true
  end
end

-- `weather`: called again and again while a round goes on.
local function weather_of(source)
  local kinds = { storms.kill, storms.kill, storms.term, storms.reload, storms.new_app, storms.broken_app }
  local next_storm = host.now() + source:below(1)
  return function()
    run.log:read()
    if run.mending then
      if run.mending() then run.mending = nil end
    elseif host.now() >= next_storm and host.now() < run.round_ends and run.log:all_ready(options.workers)
      and run.log.decided >= run.undecided then
      source:pick(kinds)(source)
      run.storms = run.storms + 1
      next_storm = host.now() + source:below(2.5)
    end
  end
end

-- ---- rounds ----

local function stormy(round)
  local share = math.max((host.now() - run.began) / options.seconds, run.done / options.operations)
  return share < 0.6 and round % 4 ~= 1 -- the first round, and each fourth, have fair weather
end

local function one_round(round)
  local source = random.new(options.seed + round * 1000003)
  local weather = stormy(round) and weather_of(source) or function() run.log:read() end
  run.expected, run.opened = {}, setmetatable({}, { __mode = "k" })
  run.round_ends = math.min(host.now() + options.round, run.began + options.seconds)
  note("round " .. round)
  client.beside(options.clients, function(index) client_loop(index, round) end, weather)
  for conn in pairs(run.opened) do conn:close() end
  wait.until_true(function()
    weather()
    return not run.mending and run.log.decided >= run.undecided
  end, 20, "the end of the last reload")
  quiet.judge(run, options.workers)
  run.settled = run.version
end

-- Beside the app: files whose every byte the operations know.
local function files()
  local list = { ["plain.txt"] = "no program\n", ["more.lua"] = more_text }
  for _, size in ipairs { 0, 1, 5000, 70000, 2000000 } do
    list[("public/%d.txt"):format(size)] = (("0123456789abcde\n"):rep(size // 16 + 1)):sub(1, size)
  end
  return list
end

local function start()
  local temporary = assert(host.tempdir())
  run.began, run.killed = host.now(), -1000
  local sanitizer = os.getenv "ASAN_OPTIONS"
  run.server = server.start {
    app = app_of(1), workers = options.workers, files = files(),
    args = { "--max-procs", "24" },
    env = { ASAN_OPTIONS = (sanitizer and sanitizer .. ":" or "") .. "quarantine_size_mb=8", TMPDIR = temporary },
  }
  run.temporary = temporary
  run.log = log_reader.open(run.server.log_file)
  operations.only(run.server:get("/features").body)
end

local function over() return run.done >= options.operations or host.now() >= run.began + options.seconds end

local function soak()
  start()
  quiet.judge(run, options.workers, true)
  local round = 0
  repeat
    round = round + 1
    one_round(round)
  until over()
  quiet.judge_memory(run)
  run.server:stop(30)
  assert(lfs.rmdir(run.temporary))
end

local function report_failure(err)
  local lines = { "soak: FAILED with --seed " .. options.seed, tostring(err), "last operations:" }
  for n = math.max(1, run.n_last - 59), run.n_last do lines[#lines + 1] = "  " .. run.last[n % 60 + 1] end
  if run.server then
    local kept = os.tmpname()
    server.write_file(kept, run.server:log())
    lines[#lines + 1] = "the server's log is kept: " .. kept
    pcall(run.server.abandon, run.server)
  end
  io.stderr:write(table.concat(lines, "\n"), "\n")
end

read_options()
local ok, err = xpcall(soak, function(e) return type(e) == "string" and debug.traceback(e, 2) or e end)
if not ok then
  report_failure(err)
  os.exit(1)
end
print(("soak: %d operations right, %d cut by a kill; %d storms, %d kills; seed %d, %.0f s"):format(run.done, run.void,
  run.storms, run.kills, options.seed, host.now() - run.began))
print(quiet.summary(run))
