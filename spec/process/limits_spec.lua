-- What a process may have: a place among --max-procs, a user, limits, a trace; and what happens when there is nothing left
-- to give it.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

local function say(...)
  local out = table.pack(...)
  for i = 1, out.n do out[i] = tostring(out[i]) end
  return table.concat(out, " ")
end

app:get("/exit/:n", function(req, res)
  local r, message, code = moonpool.run { "sh", "-c", "sleep 0.05; exit " .. req.params.n }
  res:text(r and tostring(r.code) or say(message, code))
end)
app:get("/hold/:s", function(req, res)
  res:text(tostring(moonpool.run { "sh", "-c", "sleep " .. req.params.s }))
end)
app:get("/forty", function(_, res)
  local held = {}
  for i = 1, 4 do held[i] = moonpool.spawn { "sleep", "0.2" } end
  local order, tasks = {}, {}
  for i = 1, 6 do
    tasks[i] = moonpool.spawn(function()
      moonpool.run { "true" }
      order[#order + 1] = i
    end)
  end
  moonpool.sleep(0.02)
  local queued = moonpool.stats().processes_queued
  local r, message, code = moonpool.run { "true", queue_timeout = 0.01 }
  tasks[2]:cancel()
  for _, t in ipairs(tasks) do pcall(t.wait, t) end
  res:text(say(queued, r, message, code, #order, moonpool.stats().processes_queued))
end)
app:get("/order", function(_, res)
  local order, tasks = {}, {}
  for i = 1, 12 do
    tasks[i] = moonpool.spawn(function()
      local p = moonpool.spawn { "true" }
      order[#order + 1] = i
      p:wait()
    end)
  end
  moonpool.wait_all(tasks)
  res:text(table.concat(order, ","))
end)
app:get("/stats", function(_, res)
  local s = moonpool.stats()
  res:text(say(s.processes, s.processes_queued))
end)

local function out(options)
  local r, message, code = moonpool.run(options)
  return r and (r.stdout:gsub("%s+$", "") .. (r.ok and "" or " " .. tostring(r))) or say(message, code)
end
app:get("/user", function(_, res)
  res:text(out { "sh", "-c", "id -u; id -g; id -G", uid = 65534, gid = 65534 } .. "|"
    .. out { "sh", "-c", "id -un; id -gn", uid = "nobody", gid = "nogroup" } .. "|"
    .. say(pcall(moonpool.run, { "true", uid = "no-such-user" })))
end)
app:get("/nice", function(_, res) res:text(out { "nice" } .. " " .. out { "nice", nice = 7 }) end)
app:get("/rlimit", function(_, res)
  res:text(out { "sh", "-c", "ulimit -n; ulimit -f; ulimit -t", rlimit = { nofile = 77, fsize = 5120, cpu = 9 } } .. "|"
    .. out { "sh", "-c", "while :; do :; done", rlimit = { cpu = 1 } } .. "|"
    .. out { "sh", "-c", "ulimit -v", rlimit = { as = 512 * 1024 * 1024 } } .. "|"
    .. say(pcall(moonpool.run, { "true", rlimit = { speed = 1 } })))
end)
app:get("/core", function(_, res)
  local r = moonpool.run { "sh", "-c", "kill -SEGV $$", rlimit = { core = 1 << 26 } }
  res:text(say(r.reason, r.signame, r.code, r.core))
end)
app:get("/limits-fail", function(_, res)
  res:text(out { "true", nice = -20, uid = 65534 } .. "|" .. out { "true", rlimit = { nofile = 1 << 40 } })
end)

app:get("/trace", function(_, res)
  local got = { out { "sh", "-c", "echo $TRACEPARENT" } }
  got[2] = out { "sh", "-c", "echo $TRACEPARENT", env = { PATH = "/usr/bin:/bin" } }
  got[3] = out { "sh", "-c", "echo $TRACEPARENT", setenv = { TRACEPARENT = "own" } }
  got[4] = out { "sh", "-c", "echo $TRACEPARENT", setenv = { TRACEPARENT = false } }
  local p = io.popen "echo $TRACEPARENT"
  got[5] = p:read "l"
  p:close()
  got[6] = moonpool.offload(function()
    return (require "moonpool".run { "sh", "-c", "echo $TRACEPARENT" }.stdout:gsub("%s", ""))
  end):wait()
  got[7] = moonpool.scope(function() return out { "sh", "-c", "echo $TRACEPARENT" } end)
  local after
  moonpool.background(function() after = out { "sh", "-c", "echo $TRACEPARENT" } end)
  while not after do moonpool.sleep(0.01) end
  got[8] = after
  res:text(table.concat(got, "|"))
end)
app:get("/environment", function(_, res) res:text(out { "env" }) end)

app:get("/big", function(_, res)
  local function faults()
    local f = io.open "/proc/self/stat"
    local stat = f:read "a"
    f:close()
    return tonumber((stat:match "^.*%) %S %S+ %S+ %S+ %S+ %S+ %S+ (%d+)"))
  end
  local t = {}
  for i = 1, 4 * 1024 * 1024 do t[i] = i end -- 64 MiB, all of it touched
  local n = 0
  local function touch() for i = 1, #t, 256 do t[i] = i end end
  touch()
  local before = faults()
  for _ = 1, 5 do
    assert(moonpool.run({ "true" }).ok)
    touch()
  end
  res:text(tostring(faults() - before))
end)

local held = {}
app:get("/few", function(_, res)
  local n, message, code = 0, nil, nil
  repeat
    local p
    p, message, code = moonpool.spawn { "sleep", "3631", stdout = "pipe", stderr = "pipe", stdin = "pipe" }
    held[#held + 1] = p
    n = n + 1
  until not p or n > 200
  res:text(say(n > 3, message, code))
end)
app:get("/more", function(_, res)
  for _, p in ipairs(held) do p:kill "SIGKILL" end
  for _, p in ipairs(held) do p:wait() end
  held = {}
  res:text(out { "echo", "well again" })
end)
return app
]]

describe("at most --max-procs processes", function()
  local s
  setup(function() s = server.start { app = app, args = { "--max-procs", 4 } } end)
  teardown(function() s:stop() end)

  it("live at once; who comes later waits in turn, and may give up or be cancelled (row 29)", function()
    assert.are.equal("6 nil run: no free place among 4 processes within 0.01 s EAGAIN 5 0", s:get("/forty").body)
    assert.are.equal("1,2,3,4,5,6,7,8,9,10,11,12", s:get("/order").body)
  end)

  it("live at once, and five hundred get the right answer (row 29)", function()
    client.patience = 60
    local answers = client.at_once(s.port, 500, function(n) return "GET", "/exit/" .. n % 256 end)
    client.patience = 5
    for n, r in ipairs(answers) do assert.are.equal(tostring(n % 256), r.body) end
    assert.are.equal("0 0", s:get("/stats").body)
  end)

  it("are queued for nobody who has left (row 29)", function()
    local c = {}
    for i = 1, 8 do
      c[i] = s:connect()
      c[i]:send(client.bytes("GET", "/hold/3632"))
    end
    wait.until_true(function() return s:get("/stats").body == "4 4" end, 5, "a queue")
    for i = 1, 8 do c[i]:rst() end
    wait.until_true(function() return s:get("/stats").body == "0 0" end, 5, "no queue")
    assert.are.same({}, proc.named "sleep 3632")
  end)
end)

describe("a process", function()
  local s
  setup(function() s = server.start { app = app, env = { TRACEPARENT = false } } end)
  teardown(function() s:stop() end)

  it("may be another user's (uid, gid)", function()
    if require("host").readlink "/proc/self/exe" and proc.field(require("host").pid(), "Uid"):match "^%d+" ~= "0" then
      return pending "changing the user needs root"
    end
    local body = s:get("/user").body
    assert.is_truthy(body:find('^65534\n65534\n65534|nobody\nnogroup|false .*no user "no%-such%-user"'), body)
  end)

  it("may be nice", function()
    local before, after = s:get("/nice").body:match "^(%-?%d+) (%-?%d+)$"
    assert.are.equal(math.min(19, tonumber(before) + 7), tonumber(after))
  end)

  it("may have limits, and an unknown one is named", function()
    local body = s:get("/rlimit").body
    assert.is_truthy(body:find "^77\n10\n9| killed by SIG%u+|524288|false .*speed" or body:find "^77\n5\n9|", body)
    assert.is_truthy(body:find "| ?killed by SIG[XK]", body)
  end)

  it("that dumps core says so (row 2)", function()
    local body = s:get("/core").body
    assert.is_truthy(body:find "^signal SIGSEGV nil ", body)
    if not body:find "true$" then return pending "this machine keeps no cores" end
  end)

  it("that may not have what it wants says which step failed (row 4)", function()
    local nice, limit = s:get("/limits-fail").body:match "^(.-)|(.*)$"
    assert.is_truthy(nice == "" or nice:find "E%u+$", nice)
    assert.is_truthy(limit:find "rlimit: .* E%u+$", limit)
  end)

  local valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
  local function trace(...) return client.request(s.port, "GET", "/trace", { headers = { ... } }).body end

  it("of a request gets its traceparent, whatever starts it (row 5)", function()
    local got = {}
    for part in (trace("traceparent: " .. valid) .. "|"):gmatch "([^|]*)|" do got[#got + 1] = part end
    assert.are.same({ valid, "", "own", "", valid, valid, valid, "" }, got)
  end)

  for name, value in pairs {
    ["too short"] = valid:sub(1, -2), ["too long for its version"] = valid .. "-01", ["in upper case"] = valid:upper(),
    ["of a trace that is all zero"] = valid:gsub("0af7651916cd43dd8448eb211c80319c", ("0"):rep(32)),
    ["of a parent that is all zero"] = valid:gsub("b7ad6b7169203331", ("0"):rep(16)), ["of version ff"] = "ff" .. valid:sub(3),
    ["that is no hex"] = valid:gsub("0af", "0xg"), ["that is a shell's"] = valid:sub(1, -3) .. "$(", ["empty"] = "",
  } do
    it("gets no traceparent " .. name .. " (row 5)", function()
      assert.are.equal("", trace("traceparent: " .. value):match "^[^|]*")
    end)
  end

  it("gets no traceparent that was sent twice (row 5)", function()
    assert.are.equal("", trace("traceparent: " .. valid, "Traceparent: " .. valid):match "^[^|]*")
  end)

  it("gets no other word of its client in the environment (row 5)", function()
    local body = client.request(s.port, "GET", "/environment", { headers = {
      "LD_PRELOAD: /tmp/forged", "ld-library-path: forged", "tracestate: forged=1", "Proxy: http://forged",
      "BASH_ENV: forged" } }).body
    assert.is_nil(body:find "forged", body)
    assert.is_nil(("\n" .. body):find "\nLD_", body)
    assert.is_nil(("\n" .. body):find "\nHTTP_PROXY", body)
  end)

  it("costs a big worker no copy of its memory (row 34)", function()
    client.patience = 20
    local faults = tonumber(s:get("/big").body)
    client.patience = 5
    assert.is_true(faults < 5 * 8000, faults) -- a fork would have each of 16 000 pages copied, five times
  end)
end)

describe("with no descriptor left", function()
  it("a process cannot start and says so, others are served, and all is well when there is room again (row 30)", function()
    local s = server.start { app = app, nofile = 90, args = { "--max-procs", 400 } }
    local body = s:get("/few").body
    assert.is_truthy(body:find "^true spawn: too many open files EMFILE$", body)
    assert.are.equal("400 0", s:get("/stats").body:gsub("^%d+", "400"))
    assert.are.equal("well again", s:get("/more").body)
    assert.are.same({}, proc.zombies(s:worker()))
    assert.are.equal("well again", s:get("/more").body)
    s:stop()
  end)
end)
