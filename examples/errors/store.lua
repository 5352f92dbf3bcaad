-- A service: it has a thread and a Lua state of its own.

return {
  fail = function()
    error "the service broke"
  end,
}
