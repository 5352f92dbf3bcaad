local moonpool = require "moonpool"
local app = moonpool.app()

app:get("/", function(_, res) res:text("hello from worker " .. moonpool.worker.id .. "\n") end)

app:get("/hello/:name", function(req, res)
  res:text("hello, " .. req.params.name .. "\n")
end)

return app
