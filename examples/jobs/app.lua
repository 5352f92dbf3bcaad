-- A page that runs the scripts of a folder, each with its arguments, and shows what they print while they print it.
--
--   curl 127.0.0.1:8080/jobs                                          the scripts, as JSON
--   curl -N -X POST 127.0.0.1:8080/run/hello.sh                       output as it comes; the last line is the result
--   curl -d arg=one -d 'arg=two words' 127.0.0.1:8080/run/args.sh     arguments go as they are, never through a shell
--   curl -X POST 127.0.0.1:8080/api/run/hello.sh                      all of it in one JSON answer
--
-- A job lives in the request that started it. Whoever hangs up ends it, with every process it started. /history shows
-- what runs, waits and ran, by all workers, and cancels any of it.
--
--   catalogue.lua   the scripts and what they take      gate.lua      who may come in: JOBS_LOGIN=name:password
--   places.lua      JOBS_AT_ONCE (8) of /run at once    history.lua   what was run, in JOBS_DB (jobs.db)
--
-- /api/run is for programs: it stands in no line, and asks programs of this machine for no login.

local moonpool = require "moonpool"
local catalogue = require "catalogue"
local csrf = require "moonpool.csrf"
local gate = require "gate"
local history = require "history"
local page = require "page"
local places = require "places"
local text = require "text"

local LONGEST = 600 -- seconds a job may take
local MOST_ARGUMENTS, LONGEST_ARGUMENT = 32, 4096

local app = moonpool.app()

-- Another site's page must not start jobs through the browser of somebody who can reach this one.
local function same_origin(req, _, next)
  local origin = req.headers["Origin"]
  if req.method ~= "GET" and req.method ~= "HEAD" and origin and origin:match("^%a+://(.*)$") ~= req.host then
    error { status = 403, message = "jobs are started from this site's own page only" }
  end
  next()
end

local function careful(_, res, next)
  res:header("X-Content-Type-Options", "nosniff")
  res:header("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
  next()
end

app:use(careful)
app:use(same_origin)
gate.install(app)
app:on_start(function()
  history.open()
  gate.open()
  places.open()
end)

---- the page

local function file(name, kind)
  local handle = assert(io.open("public/" .. name, "rb"))
  local bytes = assert(handle:read("a"))
  handle:close()
  return function(_, res)
    res:header("Content-Type", kind):header("Cache-Control", "no-cache"):finish(bytes)
  end
end

app:get("/", file("index.html", "text/html; charset=utf-8"))
app:get("/style.css", file("style.css", "text/css; charset=utf-8"))
app:get("/history.js", file("history.js", "text/javascript; charset=utf-8"))
app:get("/app.js", file("app.js", "text/javascript; charset=utf-8"))
app:get("/favicon.svg", file("favicon.svg", "image/svg+xml"))

---- the scripts

app:get("/jobs", function(_, res)
  res:json(catalogue.list())
end)

local function script_of(req)
  return catalogue.find(req.params.name) or error { status = 404, message = "there is no script of that name" }
end

---- running one

local function bad(message)
  error { status = 400, message = message }
end

-- { "args": ["one", "two words"] } as JSON, or a form with a field `arg` for each.
local function arguments_of(req)
  local kind = req.headers["Content-Type"] or ""
  local arguments = {}
  if kind:find("^application/json") then
    local sent = req:json()
    arguments = type(sent) == "table" and sent.args or {}
  elseif kind ~= "" then
    arguments = req:form_list("arg")
  end
  if type(arguments) ~= "table" or #arguments > MOST_ARGUMENTS or #arguments == 0 and next(arguments) then
    bad(("args is a list of at most %d strings"):format(MOST_ARGUMENTS))
  end
  for _, argument in ipairs(arguments) do
    if type(argument) ~= "string" or #argument > LONGEST_ARGUMENT or argument:find("\0", 1, true) then
      bad(("an argument is a string of at most %d bytes, without NUL"):format(LONGEST_ARGUMENT))
    end
  end
  return arguments
end

-- → the command, the script, its arguments
local function command_of(req)
  local script = script_of(req)
  local arguments = arguments_of(req)
  local fault = catalogue.fault(script, arguments)
  if fault then
    error { status = 422, message = fault }
  end
  local command = { "scripts/" .. script.name, timeout = LONGEST }
  table.move(arguments, 1, #arguments, 2, command)
  return command, script, arguments
end

local function could_not_start(message)
  error { status = 500, message = "the script could not be started: " .. message }
end

local function summary(result)
  return {
    ok = result.ok,
    reason = result.reason,
    code = result.code,
    signal = result.signal,
    signame = result.signame,
    timed_out = result.timed_out or nil,
    elapsed = result.elapsed,
    text = tostring(result),
  }
end

---- jobs of /run: they have a line in the history, and a place

local running = {} -- number of the job → the job

-- What has not ended when its request does was cancelled by it, and that is written when the request is over.
local job_meta = {
  __close = function(job)
    running[job.id or job] = nil
    if not job.over then
      moonpool.background(history.ended, job.id, "cancelled", { text = "its client hung up" })
    end
  end,
}

local function state_of(job, result)
  return result.ok and "done" or result.reason == "lost" and "lost" or job.cancelled and "cancelled" or "failed"
end

local function new_job(req, script, arguments)
  local who = gate.who(req)
  local shown = moonpool.json.array {}
  for i, argument in ipairs(arguments) do
    shown[i] = text.utf8(argument)
  end
  local job = setmetatable({ id = history.add(text.utf8(script.name), shown, who) }, job_meta)
  running[job.id or job] = job
  history.audit(who, req.ip, "run", text.utf8(script.name) .. (job.id and " as " .. job.id or ""))
  return job
end

local function end_job(job, state, result)
  job.over = true
  history.ended(job.id, state, result)
end

-- → the process; nil, message
local function start(job, command)
  command.stdout, command.stderr = "pipe", "stdout"
  local process, message = moonpool.spawn(command)
  if not process then
    end_job(job, "failed", { text = message })
    return nil, message
  end
  job.process = process
  if job.cancelled then -- while it was on its way here
    moonpool.background(process.stop, process)
  end
  history.started(job.id)
  return process
end

-- Said to all workers, for one of them has it.
local function cancel_here(id)
  local job = running[id]
  if job and not job.over then
    job.cancelled = true
    if job.process then
      moonpool.background(job.process.stop, job.process)
    elseif job.give_up then
      job.give_up()
    end
  end
end

app:on_start(function()
  local told = moonpool.subscribe "jobs.cancel"
  moonpool.background(function()
    for id in told:values() do
      cancel_here(id)
    end
  end)
end)

-- for piece in pieces(stream) do … end: what is there, as soon as it is there
local function pieces(stream)
  return function()
    return stream:read()
  end
end

-- How a client hears of its job. For programs: the bytes as they are, then the result as a line of JSON.
local function plain_client(res)
  local last = "\n"
  res:header("Content-Type", "text/plain; charset=utf-8"):header("X-Accel-Buffering", "no")
  return {
    waits = function() end,
    begins = function() end,
    output = function(piece)
      res:write(piece)
      last = piece:sub(-1)
    end,
    ends = function(result)
      res:finish((last == "\n" and "" or "\n") .. moonpool.json.encode(result) .. "\n")
    end,
  }
end

-- For the page: an event for each piece, then one for the result.
local function page_client(res)
  local events
  local whole = text.whole_characters()
  local function send(event, data)
    events = events or res:sse()
    events:send(data, { event = event })
  end
  return {
    waits = function() send("queued", "waiting") end,
    begins = function(process) send("started", tostring(process.pid)) end,
    output = function(piece) send("output", moonpool.json.encode(whole(piece))) end,
    ends = function(result)
      local rest = whole()
      if rest ~= "" then
        send("output", moonpool.json.encode(rest))
      end
      send("result", result)
    end,
  }
end

local function not_run(job, res, client, message)
  if not job.over then
    end_job(job, job.cancelled and "cancelled" or "failed", { text = message })
  end
  if not res.sent then
    could_not_start(message)
  end
  client.ends { ok = false, reason = "not started", elapsed = 0, text = message }
end

app:post("/run/:name", function(req, res)
  local command, script, arguments = command_of(req)
  local wants_events = (req.headers["Accept"] or ""):find("text/event-stream", 1, true)
  local client = (wants_events and page_client or plain_client)(res)
  local job <close> = new_job(req, script, arguments)
  local place <close> = not job.cancelled and places.wait(function(give_up)
    job.give_up = give_up
    client.waits()
  end)
  if not place then
    return not_run(job, res, client, job.cancelled and "cancelled while it waited" or "too many jobs wait already")
  end
  local process <close>, message = start(job, command)
  if not process then
    return not_run(job, res, client, message)
  end
  client.begins(process)
  for piece in pieces(process.stdout) do
    client.output(piece)
  end
  local result = summary(moonpool.wait(process))
  end_job(job, state_of(job, result), result)
  client.ends(result)
end)

app:post("/api/run/:name", function(req, res)
  local command, script, arguments = command_of(req)
  local result, message = moonpool.run(command)
  if not result then
    could_not_start(message)
  end
  local answer = summary(result)
  moonpool.background(history.record, text.utf8(script.name), arguments, state_of({}, answer), answer)
  answer.stdout, answer.stderr = text.utf8(result.stdout), text.utf8(result.stderr)
  answer.truncated = result.truncated
  res:json(answer)
end)

---- what was run

local function lists(req)
  return page.lists(history.latest(50), history.audited(30), csrf.field(req), history.is_open())
end

app:get("/history", function(req, res)
  res:html(page.history(lists(req), gate.is_on() and csrf.field(req), places.MOST))
end)

app:get("/history/lists", function(req, res)
  res:html(lists(req))
end)

app:post("/history/:id/cancel", function(req, res)
  local id = math.tointeger(tonumber(req.params.id:match "^%d+$"))
  if not id then
    error { status = 404, message = "there is no such job" }
  end
  history.audit(gate.who(req), req.ip, "cancel", tostring(id))
  moonpool.publish("jobs.cancel", id)
  res:redirect("/history", 303)
end)

return app
