-- Writes Moonpool's own Lua as C: every file named, one array each, and one table of all by module name.
--
--   lua5.4 cmake/embed.lua ROOT OUT moonpool/app.lua…     paths below ROOT; OUT is what becomes a C file
--
-- Compiled, with its lines for tracebacks but without the names of locals, which are half of the rest: to load that is
-- eight times as fast as to read the text, and a worker does so at each start. Then compressed, each by itself, so that
-- a worker unpacks what it requires and no more. As text, which packs smaller, what no worker that serves requires: a
-- developer's verbs, and types for an editor.

local root, out = arg[1], arg[2]

local TEXT = { dev = true, meta = true, new = true, skeleton = true, test = true }

local function read(path, mode)
  local file <close> = assert(io.open(path, mode or "rb"))
  return file:read "a"
end

local function quote(path) return "'" .. path:gsub("'", "'\\''") .. "'" end

-- As a raw deflate stream: gzip's without its header of 10 bytes, and the sums at its end.
local function deflated(bytes)
  local path = out .. ".tmp"
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  file:close()
  local pipe = assert(io.popen("gzip -9nc <" .. quote(path)))
  local packed = pipe:read "a"
  assert(pipe:close(), "gzip failed")
  os.remove(path)
  return packed:sub(11, -9)
end

---- what string.dump of Lua 5.4 writes (ldump.c)

local HEADER = 4 + 1 + 1 + 6 + 3 + 8 + 8 + 1 -- up to the number of upvalues
local NUMBER, STRING = { [0x03] = true, [0x13] = true }, { [0x04] = true, [0x14] = true }

local Reader = {}
Reader.__index = Reader

function Reader:byte()
  local byte = self.bytes:byte(self.at)
  self.at = self.at + 1
  return byte
end

-- Seven bits a byte, the highest first; the last one is marked.
function Reader:int()
  local value = 0
  while true do
    local byte = self:byte()
    value = value << 7 | byte & 0x7F
    if byte >= 0x80 then return value end
  end
end

function Reader:skip(n) self.at = self.at + n end

function Reader:string()
  local size = self:int() -- with one more; 0: none
  if size > 0 then self:skip(size - 1) end
end

function Reader:each(item)
  for _ = 1, self:int() do item(self) end
end

function Reader:constant()
  local kind = self:byte()
  if NUMBER[kind] then self:skip(8) elseif STRING[kind] then self:string() end
end

function Reader:locals()
  local from = self.at
  self:each(function() self:string() self:int() self:int() end)
  self.cuts[#self.cuts + 1] = { from, self.at }
end

function Reader:body()
  self:string() -- the source
  self:int() self:int() -- its lines
  self:skip(3)
  self:skip(4 * self:int()) -- instructions
  self:each(self.constant)
  self:skip(3 * self:int()) -- upvalues
  self:each(self.body)
  self:skip(self:int()) -- a line for each instruction
  self:each(function() self:int() self:int() end)
  self:locals()
  self:each(self.string) -- names of upvalues
end

local function without_locals(bytes)
  local reader = setmetatable({ bytes = bytes, at = HEADER + 1, cuts = {} }, Reader)
  reader:body()
  assert(reader.at == #bytes + 1, "this Lua dumps in another format")
  local pieces, at = {}, 1
  for _, cut in ipairs(reader.cuts) do
    pieces[#pieces + 1] = bytes:sub(at, cut[1] - 1) .. "\x80" -- none
    at = cut[2]
  end
  return table.concat(pieces) .. bytes:sub(at)
end

local function content(file)
  local text = read(root .. "/" .. file)
  if TEXT[file:match "^moonpool/(%w+)"] then return text end
  local bytes = without_locals(string.dump(assert(load(text, "@moonpool:" .. file, "t"))))
  assert(load(bytes, file, "b"))
  return bytes
end

local function array(name, bytes)
  local numbers = bytes:gsub(".", function(c) return c:byte() .. "," end)
  return ("static const unsigned char %s[] = {%s};\n"):format(name, numbers)
end

local function main()
  local arrays, rows = {}, {}
  for i = 3, #arg do
    local bytes = content(arg[i])
    local packed, name = deflated(bytes), "file_" .. i - 2
    local module = arg[i]:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
    arrays[#arrays + 1] = array(name, packed)
    rows[#rows + 1] = ('  {"%s", "%s", %s, sizeof %s, %d},\n'):format(module, arg[i], name, name, #bytes)
  end
  local file <close> = assert(io.open(out, "wb"))
  assert(file:write('#include "api/embedded.h"\n', table.concat(arrays),
    "\nconst struct mp_embedded mp_embedded_files[] = {\n", table.concat(rows), "  {0, 0, 0, 0, 0}};\n"))
end

main()
