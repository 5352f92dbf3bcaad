-- os.execute and io.popen: the manual's results, and nobody held up (row 21).
local client = require "spec.support.client"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local app = [[
local moonpool = require "moonpool"
local app = moonpool.app()

local function three(a, b, c) return ("%s %s %s"):format(a, b, c) end
local at_load = three(os.execute "exit 12")
local load_pipe = io.popen "echo at load; exit 13"
local load_text = load_pipe:read "a"
local load_end = three(load_pipe:close())

app:get("/execute/:code", function(req, res) res:text(three(os.execute("exit " .. req.params.code))) end)
app:get("/execute-signal", function(_, res) res:text(three(os.execute "kill -9 $$")) end)
app:get("/execute-nothing", function(_, res) res:text(tostring(os.execute())) end)
app:get("/popen", function(_, res)
  local f = assert(io.popen "printf 'one\n2.5 three\nlast'; exit 7")
  local a, b, c, d = f:read("l", "n", "L", "a")
  res:text(("%s|%s|%s|%s|%s"):format(a, b, c, d, three(f:close())))
end)
app:get("/popen-lines", function(_, res)
  local lines = {}
  for line in io.popen("printf 'a\nb\nc'"):lines() do lines[#lines + 1] = line end
  res:text(table.concat(lines, "|"))
end)
app:get("/popen-write", function(_, res)
  local name = os.tmpname()
  local f = assert(io.popen("cat > " .. name, "w"))
  assert(f:write("written ", 1, "\n"))
  f:flush()
  local ended = three(f:close())
  res:text(io.open(name):read "a" .. ended)
  os.remove(name)
end)
app:get("/popen-type", function(_, res)
  local f = io.popen "true"
  local before = io.type(f)
  local ok, why, code = f:seek "set"
  f:close()
  res:text(("%s %s %s %s"):format(before, io.type(f), ok, code))
end)
app:get("/popen-bad", function(_, res) res:text(tostring(pcall(io.popen, "true", "rw"))) end)
app:get("/slow", function(_, res) res:text(three(os.execute "sleep 1; exit 3")) end)
app:get("/slow-popen", function(_, res) res:text(io.popen("sleep 1; echo slept"):read "l") end)
app:get("/sort", function(_, res)
  local list = { 3, 1, 2 }
  table.sort(list, function(a, b)
    os.execute "true"
    return a < b
  end)
  res:text(table.concat(list))
end)
app:get("/load", function(_, res) res:text(("%s|%s|%s"):format(at_load, load_text, load_end)) end)
app:get("/trivial", function(_, res) res:text "at once" end)
return app
]]

describe("os.execute and io.popen", function()
  local s
  setup(function() s = server.start { app = app } end)
  teardown(function() s:stop() end)

  local function says(path, text)
    local r = s:get(path)
    assert.are.equal(200, r.status, r.body)
    assert.are.equal(text, r.body)
  end

  it("give the manual's three results", function()
    says("/execute/0", "true exit 0")
    says("/execute/27", "nil exit 27")
    says("/execute-signal", "nil signal 9")
    says("/execute-nothing", "true")
  end)

  it("give a handle that reads and writes like a file", function()
    says("/popen", "one|2.5| three\n|last|nil exit 7")
    says("/popen-lines", "a|b|c")
    says("/popen-write", "written 1\ntrue exit 0")
    says("/popen-type", "file closed file nil ESPIPE")
    assert.are.equal("false", s:get("/popen-bad").body:match "^%a+")
  end)

  it("hold up nobody else", function()
    local took = {}
    client.beside(3, function(n)
      local c = client.shared(s.port)
      local path = ({ "/slow", "/slow-popen", "/trivial" })[n]
      took[n] = wait.took(function() took[path] = c:ask("GET", path).body end)
      c:close()
    end)
    assert.are.equal("nil exit 3", took["/slow"])
    assert.are.equal("slept", took["/slow-popen"])
    assert.is_true(took[3] < 0.5, took[3])
    assert.is_true(took[1] < 1.9 * wait.slow)
  end)

  it("block and are right where Lua cannot yield", function()
    says("/sort", "123")
    says("/load", "nil exit 12|at load\n|nil exit 13")
  end)
end)
