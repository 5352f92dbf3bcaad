-- Writes Moonpool's own Lua as C: every file named, one array each, and one table of all by module name.
--
--   lua5.4 cmake/embed.lua ROOT OUT moonpool/app.lua…     paths below ROOT; OUT is what becomes a C file
--
-- Compiled, with its lines and names for tracebacks: to load that is eight times as fast as to read the text, and a
-- worker does so at each start. Then compressed, each by itself, so that a worker unpacks what it requires and no more.
-- As text, which packs smaller, what no worker that serves requires: a developer's verbs, and types for an editor.

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

local function content(file)
  local text = read(root .. "/" .. file)
  if TEXT[file:match "^moonpool/(%w+)"] then return text end
  return string.dump(assert(load(text, "@moonpool:" .. file, "t")))
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
