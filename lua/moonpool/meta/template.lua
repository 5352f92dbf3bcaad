---@meta moonpool.template

---@class moonpool.template
local template = {}

---@class moonpool.templates.options
---@field reload? boolean look each time whether the file has changed
---@field globals? table functions and values for all of them

--- The templates of a folder.
---@param folder string
---@param options? moonpool.templates.options
---@return moonpool.templates
function template.new(folder, options) end

--- A function(vars) that gives the text.
---@param text string
---@param name? string
---@return fun(vars?: table): string
function template.compile(text, name) end

--- What `<%= %>` shows as it is.
---@param text string
---@return moonpool.template.safe
function template.raw(text) end

---@class moonpool.template.safe

---@class moonpool.templates
---@field folder string
local templates = {}

---@async
---@param name string
---@param vars? table
---@return string
function templates:render(name, vars) end

return template
