-- Whole files, off the loop.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

app:get("/round", function(_, res)
  local bytes = ("\0\1\255 text\n"):rep(1000)
  local a = moonpool.write_file("round", bytes)
  local b = moonpool.read_file "round" == bytes
  moonpool.write_file("round", "")
  local c = moonpool.read_file "round" == ""
  moonpool.write_file("round", "shorter")
  res:text(("%s %s %s %s"):format(a, b, c, moonpool.read_file "round"))
end)
app:get("/big", function(_, res)
  local bytes = ("0123456789abcdef"):rep(512 * 1024)
  assert(moonpool.write_file("big", bytes))
  res:text(tostring(assert(moonpool.read_file "big") == bytes))
end)
app:get("/errors", function(_, res)
  local out = {}
  local function add(...)
    local r, message, code = ...
    out[#out + 1] = ("%s|%s|%s"):format(r, message, code)
  end
  add(moonpool.read_file "nowhere/file")
  add(moonpool.write_file("nowhere/file", "x"))
  add(moonpool.read_file ".")
  add(moonpool.write_file(".", "x"))
  add(moonpool.read_file "round/below")
  add(moonpool.read_file "fifo")
  add(moonpool.write_file("/dev/full", "x"))
  add(moonpool.write_file("/dev/null", "x"))
  add(moonpool.read_file "/dev/zero")
  res:text(table.concat(out, "\n"))
end)
app:get("/kernel", function(_, res)
  res:text(tostring(#moonpool.read_file "/proc/self/status" > 100) .. " " .. #moonpool.read_file "/dev/null")
end)
app:get("/wrong", function(_, res)
  res:text(table.concat({ select(2, pcall(moonpool.read_file)), select(2, pcall(moonpool.read_file, "a\0b")),
    select(2, pcall(moonpool.write_file, "a", {})),
    tostring(select(2, pcall(table.sort, { 2, 1 }, function() moonpool.read_file "x" end))) }, "\n"))
end)
app:get("/cancelled", function(_, res)
  local out = {}
  for i = 1, 20 do
    local t = moonpool.spawn(function() return moonpool.read_file "/dev/zero" end)
    local w = moonpool.spawn(function() return moonpool.write_file("half", ("x"):rep(4 << 20)) end)
    moonpool.sleep(i * 0.0005)
    t:cancel()
    w:cancel()
    pcall(t.wait, t)
    pcall(w.wait, w)
    out[t:status()] = (out[t:status()] or 0) + 1
  end
  res:text(tostring(out.cancelled))
end)
app:get("/beside", function(_, res)
  local turns, t = 0, moonpool.spawn(function() return moonpool.write_file("beside", ("x"):rep(64 << 20)) end)
  while t:status() == "running" do
    moonpool.sleep(0.001)
    turns = turns + 1
  end
  res:text(tostring(turns > 3) .. " " .. tostring(t:wait()))
end)
app:get("/many", function(_, res)
  local tasks = {}
  for i = 1, 20 do
    tasks[i] = moonpool.spawn(function()
      assert(moonpool.write_file("many" .. i, tostring(i)))
      return moonpool.read_file("many" .. i)
    end)
  end
  res:text(table.concat(moonpool.wait_all(tasks), ","))
end)
return app
]]

describe("a whole file", function()
  local s
  setup(function()
    s = server.start { app = app }
    assert(os.execute(("mkfifo '%s/fifo'"):format(s.folder)))
  end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, path .. ": " .. tostring(r.body))
    assert.are.equal(text, r.body)
  end

  it("is written and read, byte by byte the same", function()
    says("/round", "true true true shorter")
    says("/big", "true")
    says("/many", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20")
  end)

  it("may be one that the kernel makes up", function() says("/kernel", "true 0") end)

  it("that cannot be had is nil, message, code", function()
    says("/round", "true true true shorter")
    says("/errors", table.concat({
      "nil|read_file: nowhere/file: no such file or directory|ENOENT",
      "nil|write_file: nowhere/file: no such file or directory|ENOENT",
      "nil|read_file: .: is a directory|EISDIR", "nil|write_file: .: is a directory|EISDIR",
      "nil|read_file: round/below: not a directory|ENOTDIR", "nil|read_file: fifo: invalid argument|EINVAL",
      "nil|write_file: /dev/full: no space left on device|ENOSPC", "true|nil|nil",
      "nil|read_file: /dev/zero: file too large|EFBIG",
    }, "\n"))
  end)

  it("does not hold up the loop", function() says("/beside", "true true") end)

  it("is let go of by a task that is cancelled, and leaves no descriptor", function()
    local before = proc.count_fds(s:worker())
    says("/cancelled", "20")
    wait.until_true(function() return proc.count_fds(s:worker()) <= before + 1 end, 5, "the descriptors")
  end)

  it("names a wrong argument", function()
    local body = s:get("/wrong").body
    assert.is_truthy(body:find "string expected", body)
    assert.is_truthy(body:find "a path holds no NUL", body)
    assert.is_truthy(body:find "read_file: cannot wait inside", body)
  end)

  it("may be many clients' at once", function()
    for _, r in ipairs(client.at_once(s.port, 8, function() return "GET", "/many" end)) do
      assert.are.equal(200, r.status)
    end
  end)
end)
