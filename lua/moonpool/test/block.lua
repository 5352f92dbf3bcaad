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
  local block = { name = name, realm = trial.realm(), closers = {}, problems = {} }
  block.realm:answer(nil, nil, {
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

-- An on_stop may hang as anything else may.
local function close_one(close, seconds)
  local task = core.spawn(close)
  local alarm = seconds > 0 and trial.alarm(seconds, task)
  local ok, err = pcall(core.wait, task)
  if alarm and alarm:close() then
    return ("what it has opened could not be closed within %g s"):format(seconds)
  end
  return not ok and tostring(err) or nil
end

local function close_all(block, seconds)
  for i = #block.closers, 1, -1 do
    block.problems[#block.problems + 1] = close_one(block.closers[i], seconds)
  end
end

--- Those that were left when the run itself has failed.
function M.abandon()
  while blocks[1] do
    M.close(blocks[#blocks], 1)
  end
end

--- Closes what it has made, then ends what it has left. → a list of what went wrong
function M.close(block, seconds)
  assert(blocks[#blocks] == block, "blocks end in the order of their nesting")
  close_all(block, seconds)
  trial.settle()
  local left = block.realm:left()
  blocks[#blocks] = nil
  block.realm:stop()
  block.realm:close()
  for _, what in ipairs(left) do
    table.insert(block.problems, what .. " was left behind: wait for it, or end it")
  end
  return block.problems
end

return M
