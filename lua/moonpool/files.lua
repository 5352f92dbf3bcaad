-- Where the text of an app's own files comes from: templates, and whatever else is part of the app and read as a whole.
-- One place, so that files which do not lie on the disk can be found by all of them.

local core = require "moonpool.core"

local M = {}

--- The bytes of a file; or nil and why not. It blocks: for what is read once.
---@param path string
---@return string?, string?
function M.read(path)
  local held = core.app_file and core.app_file(path)
  if held then
    return held
  end
  local file, why = io.open(path, "rb")
  if not file then
    return nil, (why:gsub("^.*: ", ""))
  end
  local text
  text, why = file:read "a"
  file:close()
  return text, why
end

--- What is another after a change of the file; nil when it is not there.
---@param path string
---@return string?
function M.stamp(path)
  return core.app_file and core.app_file(path) or core.file_stamp(path)
end

return M
