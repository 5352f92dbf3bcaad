-- Gives back what it is sent.
--   curl -d 'some text' '127.0.0.1:8080/look?a=1'        what the server saw, as JSON
--   curl -T big.iso 127.0.0.1:8080/stream -o copy.iso    the body itself, piece by piece, as fast as you read it

local moonpool = require "moonpool"
local app = moonpool.app()

local function headers_of(req)
  local headers = {}
  for name, value in pairs(req.headers) do
    headers[name] = value
  end
  return headers
end

-- It is never held as a whole, so that it may be longer than --max-body.
app:any("/stream", { max_body = 1 << 40 }, function(req, res)
  res:header("Content-Type", req.headers["Content-Type"] or "application/octet-stream")
  local piece = req:read()
  while piece do
    res:write(piece)
    piece = req:read()
  end
end)

app:any("/*path", function(req, res)
  res:json {
    method = req.method,
    target = req.target,
    path = req.path,
    query = req.query,
    headers = headers_of(req),
    from = req.remote,
    body = req:body(),
  }
end)

return app
