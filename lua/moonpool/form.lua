-- Forms: application/x-www-form-urlencoded, read whole, and multipart/form-data, taken apart as it comes.
--
--   req:form()  fields as strings, files as files on disk      req:parts()  one part after the other, piece by piece

local core = require "moonpool.core"

local M = {}

local URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"

local MAX_PAIRS = 10000
local MAX_FILES = 100             -- each holds a descriptor until the request ends
local MAX_TEXT = 2 * 1024 * 1024  -- bytes of all fields that are no files: they are held in memory

local function refuse(status, message)
  error({ status = status, message = message }, 0)
end

---- urlencoded

local function decode(text)
  return core.url_decode(text, true) or refuse(400, "the form holds a malformed escape")
end

local function add(lists, name, value)
  local list = lists[name]
  if not list then
    list = {}
    lists[name] = list
  end
  list[#list + 1] = value
end

--- "a=1&b=%20&a=2" → { a = { "1", "2" }, b = { " " } }. A bad escape raises a 400, too many pairs a 413.
---@param text string
---@return table<string, string[]>
function M.parse(text)
  local lists, n = {}, 0
  for pair in text:gmatch("[^&]+") do
    n = n + 1
    if n > MAX_PAIRS then
      refuse(413, "the form has too many fields")
    end
    local equals = pair:find("=", 1, true)
    add(lists, decode(pair:sub(1, (equals or 0) - 1)), equals and decode(pair:sub(equals + 1)) or "")
  end
  return lists
end

---- files

local function folder_of(path)
  local folder = path:match("^(.*)/[^/]*$")
  return not folder and "." or folder == "" and "/" or folder
end

local function check_path(path, what, level)
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
    error(what .. ": the path must be a string, not empty and without NUL", level + 1)
  end
end

-- Writes what `read` gives, piece by piece, and gives it its name once it is whole.
local function save(req, path, read)
  local sink <close> = core.sink(req, folder_of(path))
  for piece in read do
    local ok, message, code = sink:write(piece)
    if not ok then
      return nil, ("cannot write %s: %s"):format(path, message), code
    end
  end
  local ok, message, code = sink:place(path)
  if not ok then
    return nil, ("cannot write %s: %s"):format(path, message), code
  end
  return true
end

local sinks = setmetatable({}, { __mode = "k" }) -- file → what it is written to
local file_methods = {}
local file_meta = { __name = "moonpool.file" }

function file_meta.__index(file, key)
  if key == "path" then
    local path, message = sinks[file]:path()
    return path or error("file.path: " .. message, 2)
  end
  return file_methods[key]
end

function file_meta.__tostring(file)
  return ("file %q (%d bytes)"):format(file.name, file.size)
end

--- file:save(path): moves it there, over what is there. true, or nil, message, code.
---@param path string
function file_methods.save(file, path)
  check_path(path, "save", 2)
  local ok, message, code = sinks[file]:place(path)
  if code == "EALREADY" then
    return nil, "the file was saved already", code
  elseif not ok then
    return nil, ("cannot write %s: %s"):format(path, message), code
  end
  return true
end

-- What the disk has against an upload is not the client's fault, nor for its eyes.
local function storage_failed(message, code)
  if code == "ENOSPC" or code == "EDQUOT" then
    refuse(507, "there is no space for the uploaded file")
  elseif code == "EMFILE" or code == "ENFILE" then
    refuse(503, "there are too many open files")
  end
  error(("form: cannot keep an uploaded file in %s: %s"):format(os.getenv "TMPDIR" or "/tmp", message), 0)
end

---- parts

-- The pieces of a body, whether somebody has read it whole or nobody has read any of it.
local function pieces(req, what, level)
  local use = core.body_use(req)
  if use == "read" then
    error(what .. ": a part of the body was read already", level + 1)
  end
  local whole = use == "whole" and req:body()
  return function()
    if not whole then
      return use ~= "whole" and req:read() or nil
    end
    local piece = whole
    whole = nil
    return piece
  end
end

-- stream: { req, parser, source, part = the one under way }
local function next_event(stream)
  while true do
    local kind, value = stream.parser:next()
    if kind ~= "more" then
      return kind, value
    end
    local piece = stream.source()
    if not piece then
      return stream.parser:whole() and "over" or refuse(400, "the form was cut short")
    end
    stream.parser:feed(piece)
  end
end

local part_methods = {}
local part_meta = { __index = part_methods, __name = "moonpool.part" }
local streams = setmetatable({}, { __mode = "k" }) -- part → its stream

function part_meta.__tostring(part)
  return ("part %q"):format(part.name)
end

--- part:read(): the next piece of its content; nil at the end.
function part_methods.read(part)
  local stream = streams[part]
  if not stream then
    return nil
  end
  local kind, value = next_event(stream)
  if kind == "data" then
    return value
  end
  streams[part] = nil
  return nil
end

--- part:body([max]): all of its content as a string; more than `max` bytes (2 MiB) raise 413.
---@param max integer?
function part_methods.body(part, max)
  local list, size = {}, 0
  max = max or MAX_TEXT
  for piece in part_methods.read, part do
    size = size + #piece
    if size > max then
      refuse(413, "a field of the form is too large")
    end
    list[#list + 1] = piece
  end
  return table.concat(list)
end

--- part:save(path): its content to a file, under its name once it is whole. true, or nil, message, code.
---@param path string
function part_methods.save(part, path)
  check_path(path, "save", 2)
  local stream = streams[part]
  if not stream then
    error("part:save: the part was read already", 2)
  end
  return save(stream.req, path, function() return part_methods.read(part) end)
end

-- What nobody read of a part is passed over.
local function next_part(stream)
  local before = stream.part
  while before and streams[before] do
    part_methods.read(before)
  end
  local kind, value = next_event(stream)
  if kind == "over" then
    return nil
  end
  stream.part = setmetatable(value, part_meta)
  streams[value] = stream
  return value
end

local function open_stream(req, what, level)
  local kind = req.headers["Content-Type"] or ""
  local parser = core.multipart(kind)
  if not parser then
    refuse(415, kind == "" and "the request has no Content-Type; parts come as " .. MULTIPART
      or ("parts come as %s, not %s"):format(MULTIPART, kind:match("^%s*([^;%s]*)")))
  end
  return { req = req, parser = parser, source = pieces(req, what, level + 1) }
end

--- req:parts(): iterates over the parts of a multipart/form-data body as they come: `name`, `filename`, `type` (the
--- last two may be nil; all are the client's words), part:read(), part:body([max]), part:save(path).
function M.parts(req)
  return next_part, open_stream(req, "parts", 2)
end

---- whole forms

local function keep_file(req, part)
  local sink, size = core.sink(req), 0
  for piece in part_methods.read, part do
    size = size + #piece
    local ok, message, code = sink:write(piece)
    if not ok then
      storage_failed(message, code)
    end
  end
  if size == 0 and part.filename == "" then -- a browser's word for "no file chosen"
    sink:close()
    return nil
  end
  local ok, message, code = sink:finish()
  if not ok then
    storage_failed(message, code)
  end
  local file = setmetatable({ name = part.filename, type = part.type or "text/plain", size = size }, file_meta)
  sinks[file] = sink
  return file
end

local function read_multipart(req)
  local lists, n_files, left = {}, 0, MAX_TEXT
  for part in next_part, open_stream(req, "form", 4) do
    if part.filename then
      n_files = n_files + 1
      if n_files > MAX_FILES then
        refuse(413, "the form has too many files")
      end
      local file = keep_file(req, part)
      if file then
        add(lists, part.name, file)
      end
    else
      local text = part:body(left)
      left = left - #text
      add(lists, part.name, text)
    end
  end
  return lists
end

local function read_lists(req)
  local kind = (req.headers["Content-Type"] or ""):match("^%s*([^;%s]*)"):lower()
  if kind == URLENCODED then
    return M.parse(req:body())
  elseif kind == MULTIPART then
    return read_multipart(req)
  elseif kind == "" then
    return refuse(415, ("the request has no Content-Type; a form is %s or %s"):format(URLENCODED, MULTIPART))
  end
  return refuse(415, ("a form is %s or %s, not %s"):format(URLENCODED, MULTIPART, kind))
end

-- { first, lists }, or { refused }: kept with the request, so that its error page finds the same.
local function form_of(req)
  local own = core.request_table(req)
  local form = own.form
  if form and form.refused then
    error(form.refused, 0)
  elseif form then
    return form
  end
  local ok, lists = pcall(read_lists, req)
  if not ok then
    if type(lists) == "table" and lists.status then
      own.form = { refused = lists } -- the body is gone: asked again, it is the same
    end
    error(lists, 0)
  end
  form = { first = {}, lists = lists }
  for name, list in pairs(lists) do
    form.first[name] = list[1]
  end
  own.form = form
  return form
end

--- req:form(): name → first value: a string, or a file { name, type, size, path } with file:save(path). Raises 400,
--- 413, 415, and what reading the body raises.
function M.form(req)
  return form_of(req).first
end

--- req:form_list(name): all values of that name, in order; empty when there is none.
---@param name string
function M.form_list(req, name)
  if type(name) ~= "string" then
    error("form_list: the name must be a string, got " .. type(name), 2)
  end
  local list = form_of(req).lists[name]
  return list and table.move(list, 1, #list, 1, {}) or {}
end

--- req:save(path): the body as it is to a file, off the loop; under its name once it is whole. true, or nil, message,
--- code. Raises what reading the body raises.
---@param path string
function M.save(req, path)
  check_path(path, "save", 2)
  return save(req, path, pieces(req, "save", 2))
end

return M
