-- The trials of spec/support/trials.lua in full size, for bench/pool. Prints a line of figures each.
local trials = require "spec.support.trials"

local function print_figures(what, figures)
  local names, words = {}, {}
  for name in pairs(figures) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do words[#words + 1] = ("%s=%g"):format(name, figures[name]) end
  print(what .. ": " .. table.concat(words, " "))
end

local all = {
  reloads = function() print_figures("reloads", trials.reloads(100, 8, 8)) end,
  kills = function()
    local figures = trials.kills(20, 2, 16)
    print_figures("kills", figures)
    assert(figures.median_respawn_ms < 100, "a worker takes too long to come back")
  end,
  shares = function()
    print_figures("shares", trials.shares(2, 64, 20))
    print_figures("shares", trials.shares(4, 64, 20))
  end,
  stops = function() print_figures("stops", trials.stops(10)) end,
}

local failed = false
for _, what in ipairs(#arg > 0 and arg or { "reloads", "kills", "shares", "stops" }) do
  local ok, why = pcall(assert(all[what], "no such trial: " .. what))
  if not ok then
    failed = true
    print(what .. ": FAILED: " .. tostring(why))
  end
end
os.exit(not failed)
