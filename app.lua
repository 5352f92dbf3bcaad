local moonpool = require "moonpool"
local app = moonpool.app()
app:get("/api", function(_, res) res:text "api" end)
app:get("/file", function(req, res) res:file(req.query.p, { root = req.query.root, download = req.query.dl, max_age = tonumber(req.query.age or nil) }) end)
app:static("/", "public", { max_age = 60 })
return app
