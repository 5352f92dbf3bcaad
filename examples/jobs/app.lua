-- A page that runs the scripts of a folder, each with its arguments, and shows what they print while they print it.
--
--   curl 127.0.0.1:8080/jobs                                          the scripts, as JSON
--   curl -N -X POST 127.0.0.1:8080/run/hello.sh                       output as it comes; the last line is the result
--   curl -d arg=one -d 'arg=two words' 127.0.0.1:8080/run/args.sh     arguments go as they are, never through a shell
--   curl -X POST 127.0.0.1:8080/api/run/hello.sh                      all of it in one JSON answer
--
-- A job lives in the request that started it. Whoever hangs up ends it, with every process it started; so cancelling is
-- closing the connection, and no worker needs to know of another's jobs.

local moonpool = require "moonpool"
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
app:get("/app.js", file("app.js", "text/javascript; charset=utf-8"))
app:get("/favicon.svg", file("favicon.svg", "image/svg+xml"))

---- the scripts

-- A script's second line, when it is a comment, says what it does.
local function about(name)
  local handle = io.open("scripts/" .. name, "rb")
  if not handle then
    return ""
  end
  local first, second = handle:read("l", "l")
  handle:close()
  return first and text.utf8((second or ""):match("^#%s*(.*)") or "") or ""
end

local function list_scripts()
  local found = moonpool.run {
    "find", "scripts", "-maxdepth", "1", "-type", "f", "-perm", "-u+x", "-printf", "%f\\0", check = true,
  }
  local names = {}
  for name in found.stdout:gmatch("[^%z]+") do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

app:get("/jobs", function(_, res)
  local jobs = moonpool.json.array {}
  for i, name in ipairs(list_scripts()) do
    jobs[i] = { name = text.utf8(name), about = about(name) }
  end
  res:json(jobs)
end)

-- Only what the listing names is run: a name is compared, never made into a path first.
local function script_of(req)
  for _, name in ipairs(list_scripts()) do
    if name == req.params.name then
      return "scripts/" .. name
    end
  end
  error { status = 404, message = "there is no script of that name" }
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

local function command_of(req)
  local command = { script_of(req), timeout = LONGEST }
  table.move(arguments_of(req), 1, MOST_ARGUMENTS, 2, command)
  return command
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

local function start(req)
  local command = command_of(req)
  command.stdout, command.stderr = "pipe", "stdout"
  local process, message = moonpool.spawn(command)
  return process or could_not_start(message)
end

-- for piece in pieces(stream) do … end: what is there, as soon as it is there
local function pieces(stream)
  return function()
    return stream:read()
  end
end

-- For programs: the bytes as they are, then the result as a line of JSON.
local function stream_plainly(process, res)
  local last = "\n"
  res:header("Content-Type", "text/plain; charset=utf-8")
  res:header("X-Accel-Buffering", "no")
  for piece in pieces(process.stdout) do
    res:write(piece)
    last = piece:sub(-1)
  end
  local line = moonpool.json.encode(summary(moonpool.wait(process)))
  res:finish((last == "\n" and "" or "\n") .. line .. "\n")
end

-- For the page: an event for each piece, then one for the result.
local function stream_events(process, res)
  local events = res:sse()
  local whole = text.whole_characters()
  events:send(tostring(process.pid), { event = "started" })
  for piece in pieces(process.stdout) do
    events:send(moonpool.json.encode(whole(piece)), { event = "output" })
  end
  local rest = whole()
  if rest ~= "" then
    events:send(moonpool.json.encode(rest), { event = "output" })
  end
  events:send(summary(moonpool.wait(process)), { event = "result" })
end

app:post("/run/:name", function(req, res)
  local wants_events = (req.headers["Accept"] or ""):find("text/event-stream", 1, true)
  local process <close> = start(req)
  local stream = wants_events and stream_events or stream_plainly
  stream(process, res)
end)

app:post("/api/run/:name", function(req, res)
  local result, message = moonpool.run(command_of(req))
  if not result then
    could_not_start(message)
  end
  local answer = summary(result)
  answer.stdout, answer.stderr = text.utf8(result.stdout), text.utf8(result.stderr)
  answer.truncated = result.truncated
  res:json(answer)
end)

return app
