-- A server whose worker runs under callgrind: what bench/instructions and bench/growth count with.
--
-- The server runs as users run it, with one worker, which bench/wrap.c puts under callgrind. What the kernel does is
-- not counted, nor what a spawned process does once it is one. Needs valgrind, lua-socket and a C compiler.

local socket = require "socket"

local DUMP = 34 + 9 -- SIGRTMIN + 9, as wrap.c has it
local PATIENCE = 600 -- seconds for a start or an answer: a worker under callgrind is fifty times slower

local M = {}

function M.quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

function M.output(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("%s+$", ""))
end

-- nil when there is no such file.
function M.contents(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

function M.free_port()
  local probe = assert(socket.bind("127.0.0.1", 0))
  local _, port = probe:getsockname()
  probe:close()
  return math.tointeger(tonumber(port))
end

-- Waits for a fact, and returns it.
function M.await(what, holds)
  local deadline = socket.gettime() + PATIENCE
  local value = holds()
  while not value do
    if socket.gettime() > deadline then error(what .. ": not within " .. PATIENCE .. " s", 0) end
    socket.sleep(0.05)
    value = holds()
  end
  return value
end

local quote, output, contents, await = M.quote, M.output, M.contents, M.await

local Server = {}
Server.__index = Server

-- A background process of the shell that popen starts; its pid is the one of the program, because of exec.
---@param bench table from prepare
---@param options string? for serve
function M.start(bench, options)
  bench.servers = bench.servers + 1
  local dir = ("%s/%d"):format(bench.dir, bench.servers)
  local self = setmetatable({ dir = dir, port = M.free_port(), dumps = 0 }, Server)
  assert(os.execute("mkdir " .. quote(self.dir)))
  local environment = ("BENCH_ROOT=%s LD_PRELOAD=%s BENCH_BINARY=%s BENCH_VALGRIND=%s BENCH_OUT=%s"):format(
    quote(bench.dir), quote(bench.wrap), quote(bench.binary), quote(bench.valgrind),
    quote("--callgrind-out-file=" .. dir .. "/out.%p"))
  local serve = ("exec env %s %s serve %s --workers 1 --listen 127.0.0.1:%d %s"):format(environment,
    quote(bench.binary), quote(bench.app), self.port, options or "")
  self.pid = output(("sh -c %s >%s 2>&1 </dev/null & echo $!"):format(quote(serve), quote(self.dir .. "/log")))
  return self
end

function Server:alive() return os.execute("kill -0 " .. self.pid .. " 2>/dev/null") == true end

function Server:log() return contents(self.dir .. "/log") or "" end

function Server:connect()
  local client
  await("no worker", function()
    if not self:alive() then error("the server has ended", 0) end
    self.worker = self:log():match "worker ready .*pid=(%d+)"
    return self.worker
  end)
  client = assert(socket.connect("127.0.0.1", self.port))
  client:settimeout(PATIENCE)
  client:setoption("tcp-nodelay", true)
  return client
end

-- Callgrind writes what was counted since the time before, and counts from 0 again.
function Server:dump()
  self.dumps = self.dumps + 1
  local file = ("%s/out.%s.%d"):format(self.dir, self.worker, self.dumps)
  os.execute(("kill -%d %s"):format(DUMP, self.worker))
  local total
  await("callgrind's figures", function()
    total = (contents(file) or ""):match "\ntotals: (%d+)"
    return total
  end)
  return { total = math.tointeger(tonumber(total)), file = file }
end

function Server:stop()
  os.execute("kill -TERM " .. self.pid .. " 2>/dev/null")
  await("the end of the server", function() return not self:alive() end)
end

function Server:kill()
  if self:alive() then os.execute("kill -KILL " .. self.pid) end
end

function M.read_answer(client, expected)
  local line = assert(client:receive("*l"))
  if not line:find("^HTTP/1.1 200") then error("the answer was: " .. line, 0) end
  local length
  repeat
    line = assert(client:receive("*l"))
    length = length or line:lower():match("^content%-length:%s*(%d+)")
  until line == ""
  local body = assert(client:receive(math.tointeger(tonumber(length)) or error("an answer without a length", 0)))
  if not body:find(expected, 1, true) then error("the body was: " .. body:sub(1, 200), 0) end
end

--- The program to be measured, a folder for what is needed meanwhile (the caller's to remove), and the app of this one.
function M.prepare()
  local here = output("cd " .. quote(arg[0]:match("^(.*)/[^/]*$") or ".") .. " && pwd")
  local binary = output("readlink -f " .. quote(os.getenv("MOONPOOL") or here .. "/../build/release/moonpool"))
  if not os.execute("test -x " .. quote(binary)) then error("no program at " .. binary .. "; MOONPOOL names one", 0) end
  local valgrind = output("command -v valgrind")
  if valgrind == "" then error("valgrind is not installed", 0) end
  local dir = output("mktemp -d")
  local bench = { here = here, app = here .. "/app.lua", binary = binary, valgrind = valgrind, dir = dir, servers = 0 }
  bench.wrap = dir .. "/wrap.so"
  local compile = "cc -O2 -D_GNU_SOURCE -shared -fPIC -o %s %s -ldl"
  if not os.execute(compile:format(quote(bench.wrap), quote(here .. "/wrap.c"))) then error("cc failed", 0) end
  return bench
end

return M
