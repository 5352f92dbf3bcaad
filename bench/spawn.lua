-- What bench/spawn asks for: /spawn runs /bin/true and answers with its exit code, in a heap of BENCH_BALLAST_MB.
local moonpool = require "moonpool"
local app = moonpool.app()

local ballast = {}
collectgarbage "stop"
for i = 1, tonumber(os.getenv "BENCH_BALLAST_MB" or 0) * 16 do ballast[i] = ("x"):rep(65000) .. i end
collectgarbage "restart"

app:get("/hello", function(_, res) res:text("hello world") end)
app:get("/spawn", function(_, res) res:text(tostring(moonpool.run({ "/bin/true" }).code)) end)
app:on_start(function() moonpool.log.debug(("%d strings are held"):format(#ballast)) end)

return app
