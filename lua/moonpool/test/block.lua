-- A block of tests: one `it` with what goes before and after it, or a describe. What is made while it is the innermost
-- one belongs to it: it is closed with the block, and what still runs then is named.

local core = require "moonpool.core"
local trial = core.trial

local M = {}

local blocks = {} -- outermost first

--- The innermost one.
function M.current()
  return blocks[#blocks] or error("moonpool.test works while tests run", 3)
end

--- An error that nobody took: its block has failed.
function M.note(block, err, traceback, what)
  local kind = tostring(what)
  local spawned = what.spawned_at and " (spawned at " .. what.spawned_at .. ")" or ""
  local request = what.request and " in " .. what.request or ""
  local text = type(err) == "table" and err.message ~= nil and err.message or err
  table.insert(block.problems, ("error of a %s that nobody took%s%s: %s\n%s"):format(kind, request, spawned,
    tostring(text), traceback or ""))
end

function M.open(name)
  local block = { name = name, site = trial.site(), closers = {}, problems = {} }
  block.site:answer(nil, nil, {
    on_error = function(err, traceback, what)
      M.note(block, err, traceback, what)
    end,
  })
  blocks[#blocks + 1] = block
  return block
end

--- To be called when the innermost block ends, latest first, unless it was called before. → the function that does it
function M.on_close(fn)
  local block, closed = M.current(), false
  local function close()
    if not closed then
      closed = true
      return fn()
    end
  end
  table.insert(block.closers, close)
  return close
end

local function close_all(block)
  for i = #block.closers, 1, -1 do
    local ok, err = pcall(block.closers[i])
    if not ok then
      table.insert(block.problems, tostring(err))
    end
  end
end

--- Closes what it has made, then ends what it has left. → a list of what went wrong
function M.close(block)
  assert(blocks[#blocks] == block, "blocks end in the order of their nesting")
  close_all(block)
  trial.settle()
  local left = block.site:left()
  blocks[#blocks] = nil
  block.site:stop()
  block.site:close()
  for _, what in ipairs(left) do
    table.insert(block.problems, what .. " was left behind: wait for it, or end it")
  end
  return block.problems
end

return M
