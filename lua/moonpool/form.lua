-- Forms of type application/x-www-form-urlencoded.

local core = require "moonpool.core"

local M = {}

local function malformed()
  error({ status = 400, message = "the form holds a malformed escape" }, 0)
end

local function decode(text)
  return core.url_decode(text, true) or malformed()
end

--- "a=1&b=%20&a=2" → { a = { "1", "2" }, b = { " " } }. A bad escape raises a 400.
---@param text string
---@return table<string, string[]>
function M.parse(text)
  local lists = {}
  for pair in text:gmatch("[^&]+") do
    local equals = pair:find("=", 1, true)
    local name = decode(pair:sub(1, (equals or 0) - 1))
    local list = lists[name]
    if not list then
      list = {}
      lists[name] = list
    end
    list[#list + 1] = equals and decode(pair:sub(equals + 1)) or ""
  end
  return lists
end

local function check_type(field)
  local kind = (field or ""):match("^%s*([^;%s]*)"):lower()
  if kind == "application/x-www-form-urlencoded" then
    return
  end
  local message = kind == "multipart/form-data" and "forms of type multipart/form-data are not read yet"
    or kind == "" and "the request has no Content-Type; a form is application/x-www-form-urlencoded"
    or "a form is application/x-www-form-urlencoded, not " .. kind
  error({ status = 415, message = message }, 0)
end

local read = setmetatable({}, { __mode = "k" }) -- request → { first, lists }

local function form_of(req)
  local form = read[req]
  if not form then
    check_type(req.headers["Content-Type"])
    form = { first = {}, lists = M.parse(req:body()) }
    for name, list in pairs(form.lists) do
      form.first[name] = list[1]
    end
    read[req] = form
  end
  return form
end

--- req:form(): name → first value. Raises 415, and what req:body() raises.
function M.form(req)
  return form_of(req).first
end

--- req:form_list(name): all values of that name, in order; empty when there is none.
function M.form_list(req, name)
  if type(name) ~= "string" then
    error("form_list: the name must be a string, got " .. type(name), 2)
  end
  local list = form_of(req).lists[name]
  return list and table.move(list, 1, #list, 1, {}) or {}
end

return M
