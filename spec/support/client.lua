-- A client of HTTP/1.1 on a bare socket: it sends the bytes it is told to, and reads strictly.
-- One at a time every call blocks until its deadline; inside M.together many run at once, each in a coroutine.
local host = require "host"
local socket = require "socket"
local wait = require "spec.support.wait"

local M = {}
local Client = {}
Client.__index = Client

M.patience = 5 -- seconds, times wait.slow, for any one answer

function M.connect(port, address)
  local sock = assert(socket.tcp())
  sock:settimeout(M.patience * wait.slow)
  assert(sock:connect(address or "127.0.0.1", port))
  sock:setoption("tcp-nodelay", true)
  sock:settimeout(0)
  return setmetatable({ sock = sock, buffer = "", eof = false }, Client)
end

-- Waits until the socket can be read (or written); false when the deadline is over.
local function ready(self, direction, deadline)
  if coroutine.isyieldable() and self.shared then
    return coroutine.yield(self, direction, deadline) ~= false
  end
  local left = deadline - host.now()
  if left < 0 then return false end
  local read, write = socket.select(direction == "read" and { self.sock } or nil,
    direction == "write" and { self.sock } or nil, left)
  return #read + #write > 0
end

local function deadline_after(seconds) return host.now() + (seconds or M.patience * wait.slow) end

-- Sends all of it. true, or nil and why; patience is not exact: it holds for each wait.
function Client:send(bytes, timeout)
  local at, deadline = 1, deadline_after(timeout)
  while at <= #bytes do
    local last, err, partial = self.sock:send(bytes, at)
    at = (last or partial or at - 1) + 1
    if err and err ~= "timeout" then return nil, err end
    if at <= #bytes and not ready(self, "write", deadline) then return nil, "timeout" end
  end
  return true
end

-- Takes what is there into the buffer, waiting for at least a byte. False at the end; nil on timeout.
function Client:fill(timeout)
  local deadline = deadline_after(timeout)
  while not self.eof do
    local bytes, err, partial = self.sock:receive(65536)
    bytes = bytes or partial or ""
    if err == "closed" then self.eof = true end
    if #bytes > 0 then
      self.buffer = self.buffer .. bytes
      return true
    end
    if not self.eof and not ready(self, "read", deadline) then return nil end
  end
  return false
end

local function must_fill(self, what)
  local got = self:fill()
  if got then return end
  error((got == nil and "timeout while reading " or "connection closed while reading ") .. what, 0)
end

-- Exactly n bytes.
function Client:read(n, what)
  while #self.buffer < n do must_fill(self, what or "bytes") end
  local bytes = self.buffer:sub(1, n)
  self.buffer = self.buffer:sub(n + 1)
  return bytes
end

-- A line without its CRLF.
function Client:line(what)
  local at = 1
  while true do
    local first = self.buffer:find("\r\n", at, true)
    if first then
      local line = self.buffer:sub(1, first - 1)
      self.buffer = self.buffer:sub(first + 2)
      assert(not line:find "[\r\n]", "a bare CR or LF in a line of the answer")
      return line
    end
    at = math.max(1, #self.buffer)
    must_fill(self, what or "a line")
  end
end

-- What comes until the end of the connection.
function Client:rest(timeout)
  while self:fill(timeout) do end
  local bytes = self.buffer
  self.buffer = ""
  return bytes, self.eof
end

-- True when the server has closed and nothing more came.
function Client:at_eof(timeout)
  while not self.eof and #self.buffer == 0 do
    if self:fill(timeout) == nil then return false end
  end
  return self.eof and #self.buffer == 0
end

-- True when nothing comes for `seconds`.
function Client:silent(seconds)
  if #self.buffer > 0 then return false end
  return self:fill(seconds) == nil
end

function Client:half_close() self.sock:shutdown "send" end

function Client:rst()
  self.sock:setoption("linger", { on = true, timeout = 0 })
  self.sock:close()
end

function Client:close() self.sock:close() end

-- status, reason, headers (small names; repeated ones joined with ", "), lines (as sent), version.
function Client:head()
  local first = self:line "a status line"
  local version, status, reason = first:match "^HTTP/(%d%.%d) (%d%d%d) ?(.*)$"
  assert(version, "not a status line: " .. first)
  local head = { version = version, status = tonumber(status), reason = reason, headers = {}, lines = {} }
  while true do
    local line = self:line "a header"
    if line == "" then return head end
    local name, value = line:match "^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.-)[ \t]*$"
    assert(name, "not a header line: " .. line)
    name = name:lower()
    head.lines[#head.lines + 1] = line
    head.headers[name] = head.headers[name] and head.headers[name] .. ", " .. value or value
  end
end

-- The next chunk, "" at the end (its trailers are read and must be none).
function Client:chunk()
  local line = self:line "a chunk size"
  local size = assert(tonumber(line:match "^%x+$", 16), "not a chunk size: " .. line)
  if size == 0 then
    assert(self:line "the end of the chunks" == "", "trailers were not expected")
    return ""
  end
  local bytes = self:read(size, "a chunk")
  assert(self:read(2, "the end of a chunk") == "\r\n", "a chunk without its line end")
  return bytes
end

local function read_chunks(self)
  local pieces = {}
  repeat
    pieces[#pieces + 1] = self:chunk()
  until pieces[#pieces] == ""
  return table.concat(pieces)
end

-- One answer with its body. `method`: an answer to HEAD has none. 1xx answers come in `interim`.
function Client:response(method)
  local interim = {}
  local r = self:head()
  while r.status < 200 do
    interim[#interim + 1] = r.status
    r = self:head()
  end
  r.interim = interim
  local coding, length = r.headers["transfer-encoding"], r.headers["content-length"]
  assert(not (coding and length), "both Transfer-Encoding and Content-Length")
  if method == "HEAD" or r.status == 204 or r.status == 304 then
    r.body = ""
  elseif coding then
    assert(coding == "chunked", "an unknown transfer coding: " .. coding)
    r.chunked, r.body = true, read_chunks(self)
  elseif length then
    r.body = self:read(assert(tonumber(length:match "^%d+$")), "a body")
  else
    r.by_close, r.body = true, self:rest()
  end
  return r
end

-- The bytes of a request; headers may be a table, or a list of lines. Host, and Content-Length of a body, are added.
function M.bytes(method, target, options)
  options = options or {}
  local lines = { ("%s %s HTTP/%s"):format(method, target, options.version or "1.1") }
  if options.host ~= false then lines[#lines + 1] = "Host: " .. (options.host or "localhost") end
  for key, value in pairs(options.headers or {}) do
    lines[#lines + 1] = type(key) == "number" and value or key .. ": " .. value
  end
  if options.chunks then
    lines[#lines + 1] = "Transfer-Encoding: chunked"
  elseif options.body then
    lines[#lines + 1] = "Content-Length: " .. #options.body
  end
  local bytes = table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or "")
  for _, chunk in ipairs(options.chunks or {}) do bytes = bytes .. ("%x\r\n%s\r\n"):format(#chunk, chunk) end
  return bytes .. (options.chunks and "0\r\n\r\n" or "")
end

function Client:ask(method, target, options)
  assert(self:send(M.bytes(method, target, options)))
  return self:response(method)
end

-- One request on a connection of its own.
function M.request(port, method, target, options)
  local c = M.connect(port)
  local ok, answer = pcall(c.ask, c, method, target, options)
  c:close()
  if not ok then error(answer, 0) end
  return answer
end

-- One turn over all: waits for the sockets that are wanted, resumes whose turn has come. `jobs`: co -> wish.
local function turn(jobs, until_when)
  local read, write, soonest = {}, {}, until_when
  for _, job in pairs(jobs) do
    local list = job.direction == "write" and write or read
    list[#list + 1] = job.client.sock
    soonest = math.min(soonest, job.deadline)
  end
  local can_read, can_write = socket.select(read, write, math.max(0, soonest - host.now()))
  for co, job in pairs(jobs) do
    local can = job.direction == "write" and can_write or can_read
    local due = can[job.client.sock] ~= nil
    if due or host.now() >= job.deadline then job.resume(co, due) end
  end
end

-- Runs fn(1) … fn(count) at once. `between` is called after each turn (at least every 50 ms) until it says true.
-- What fn raises ends all of it. Connections made inside come from M.shared.
function M.beside(count, fn, between)
  local jobs, over = {}, between == nil
  local function step(co, ...)
    local ok, c, direction, deadline = coroutine.resume(co, ...)
    if not ok then error(debug.traceback(co, c), 0) end
    if coroutine.status(co) == "suspended" then
      jobs[co] = { client = c, direction = direction, deadline = deadline,
                   resume = function(_, due) jobs[co] = nil; step(co, due) end }
    end
  end
  for index = 1, count do step(coroutine.create(fn), index) end
  while next(jobs) do
    local now_jobs = {}
    for co, job in pairs(jobs) do now_jobs[co] = job end
    turn(now_jobs, host.now() + 0.05)
    if not over then over = between() end
  end
end

-- Runs fn(1) … fn(count) at once; what each returned or raised comes in a list of { ok =, value = }.
function M.together(count, fn)
  local results = {}
  M.beside(count, function(index)
    local ok, value = pcall(fn, index)
    results[index] = { ok = ok, value = value }
  end)
  return results
end

-- A connection that waits by yielding to M.together.
function M.shared(port)
  local c = M.connect(port)
  c.shared = true
  return c
end

-- `count` requests at once, each on a connection of its own; request(index) -> method, target, options.
-- The answers in order; raises what the first failed one raised.
function M.at_once(port, count, request)
  local results = M.together(count, function(index)
    local c = M.shared(port)
    local answer = c:ask(request(index))
    c:close()
    return answer
  end)
  local answers = {}
  for index = 1, count do
    if not results[index].ok then error(("request %d: %s"):format(index, results[index].value), 0) end
    answers[index] = results[index].value
  end
  return answers
end

-- Load that goes on while the spec does something to the server: `clients` ask for `target` again and again, each on
-- one connection (keep) or a new one each time. `between()` is called again and again; the load ends when it says true.
function M.under_load(port, options, between)
  local over, done, failures = false, 0, {}
  local function one(c, last)
    c = c or M.shared(port)
    local answer = c:ask("GET", options.target or "/", { headers = last and { Connection = "close" } or nil })
    if answer.status ~= 200 then error("status " .. answer.status, 0) end
    done = done + 1
    local closes = (answer.headers.connection or ""):lower():find "close"
    if last or closes then
      c:close()
      return nil
    end
    return c
  end
  local function client_loop(keep)
    local c
    while not over do
      local ok, next_c = pcall(one, c, not keep)
      if ok then
        c = next_c
      else
        failures[#failures + 1] = tostring(next_c)
        if c then c:close() end
        c = nil
      end
    end
    if c then c:close() end
  end
  M.beside(options.clients or 4, function(index)
    client_loop(options.keep == true or (options.keep == nil and index % 2 == 0))
  end, function()
    over = between(done) == true
    return over
  end)
  return done, failures
end

return M
