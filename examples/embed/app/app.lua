-- The page of sensord: readings as they come, and a button. `sensor` is a module of the daemon, written in C.
local moonpool = require "moonpool"
local sensor = require "sensor"
local app = moonpool.app()

local page = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sensor</title>
<style>
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
  body { max-width: 30rem; margin: 3rem auto; padding: 0 1rem; text-align: center }
  #celsius { font-size: 4rem; font-variant-numeric: tabular-nums }
  button { font: inherit; padding: .5rem 1rem }
</style>
<h1>Sensor</h1>
<p id="celsius">–</p>
<p><button id="calibrate">Calibrate to 21 °C</button></p>
<p id="said" role="status">&nbsp;</p>
<script src="page.js"></script>
</html>
]]

local script = [[
const show = (id, text) => { document.getElementById(id).textContent = text }
new EventSource("readings").onmessage = event => {
  show("celsius", JSON.parse(event.data).celsius.toFixed(2) + " °C")
}
document.getElementById("calibrate").onclick = async event => {
  event.target.disabled = true
  show("said", "calibrating…")
  const answer = await fetch("calibrate", { method: "POST" })
  show("said", await answer.text())
  event.target.disabled = false
}
]]

app:get("/", function(_, res) res:html(page) end)
app:get("/page.js", function(_, res) res:header("Content-Type", "text/javascript; charset=utf-8"):text(script) end)
app:get("/reading", function(_, res) res:json(sensor.read()) end)

-- Each reading once, for as long as the browser listens: sensor.next waits for the daemon's loop.
app:get("/readings", function(_, res)
  local events = res:sse()
  while true do
    local reading = sensor.next()
    if reading then
      events:send(reading, { id = tostring(reading.reading) })
    else
      moonpool.sleep(0.1) -- too many wait; the next one will do
    end
  end
end)

app:post("/calibrate", function(_, res)
  local offset, message, code = sensor.calibrate(21)
  if not offset then
    return res:status(code == "EBUSY" and 409 or 503):text(message)
  end
  res:text(("calibrated, the offset is %.2f °C"):format(offset))
end)

return app
