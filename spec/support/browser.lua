-- Headless Chromium, driven through chromedriver over plain HTTP (W3C WebDriver).
--
--   local browser = require "spec.support.browser"
--   describe("the page", function()
--     local why = browser.missing()
--     if why then pending(why) return end                  -- nothing of it is installed: say so, and run nothing
--     after_each(server.stop_all)                          -- browsers that are open are spared
--     teardown(browser.stop_all)
--     it("…", function()
--       local page = browser.open()                        -- a window of its own, with a fresh profile
--       page:go("http://127.0.0.1:" .. s.port .. "/")
--       page:type("input[name=who]", "Ada") page:click "button"
--       page:wait_text("#greeting", "Hello Ada")           -- waits for the fact
--       assert.are.equal(2, page:eval("return 1 + arguments[0]", 1))
--       page:screenshot "/tmp/greeting.png"
--       assert.are.same({}, page:complaints())             -- what the console has of errors
--     end)
--   end)
--
-- One driver serves a spec file; a page ends by page:close(), all of it by stop_all.
local client = require "spec.support.client"
local dkjson = require "dkjson"
local host = require "host"
local lfs = require "lfs"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local M = {}
local Page = {}
Page.__index = Page

local PATIENCE = 60 -- seconds for one command: a slow machine starts Chromium slowly
local ELEMENT = "element-6066-11e4-a52e-4f735466cecf" -- WebDriver's name for a reference to an element

local driver -- { pid, port, folder }
local pages = {}

local function program(...)
  for _, name in ipairs { ... } do
    for folder in (os.getenv "PATH" or "/usr/bin"):gmatch "[^:]+" do
      local path = folder .. "/" .. name
      if lfs.attributes(path, "mode") == "file" then return path end
    end
  end
end

--- nil where browser specs can run; else what is missing, as a reason for pending().
function M.missing()
  if not program("chromium", "chromium-browser", "google-chrome") then
    return "no browser: script/bootstrap browser installs Chromium"
  elseif not program "chromedriver" then
    return "no chromedriver: script/bootstrap browser installs it"
  end
end

-- What Chromium leaves in a home (its crash handler's files) goes with the folder.
local function environment(folder)
  local env = { "HOME=" .. folder }
  for _, pair in ipairs(host.environ()) do
    if not pair:find "^HOME=" and not pair:find "^XDG_" then env[#env + 1] = pair end
  end
  return env
end

local function start_driver()
  local folder = assert(host.tempdir())
  local out = folder .. "/driver.log"
  local pid = assert(host.start {
    argv = { program "chromedriver", "--port=0" }, env = environment(folder), out = out, err = out, cwd = folder,
  })
  driver = { pid = pid, folder = folder }
  server.spare(function(other) return other == pid or proc.command(other):find(folder, 1, true) ~= nil end)
  driver.port = wait.until_true(function()
    assert(proc.alive(pid), "chromedriver ended: " .. server.read_file(out))
    return tonumber(server.read_file(out):match "successfully on port (%d+)")
  end, 20, "chromedriver")
end

-- One command; its value, or an error with the driver's own message.
local function command(method, path, body)
  local patience = client.patience
  client.patience = math.max(patience, PATIENCE / wait.slow)
  local ok, answer = pcall(client.request, driver.port, method, path, {
    headers = { ["Content-Type"] = "application/json" },
    body = method == "POST" and dkjson.encode(body or setmetatable({}, { __jsontype = "object" })) or nil,
  })
  client.patience = patience
  if not ok then error(answer, 0) end
  local value = (dkjson.decode(answer.body, 1, nil) or {}).value
  if answer.status ~= 200 then
    local why = type(value) == "table" and value or { error = answer.body }
    error(("browser: %s: %s"):format(tostring(why.error), tostring(why.message):match "^[^\n]*"), 0)
  end
  return value
end

local FLAGS = {
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-breakpad",
  "--disable-crash-reporter", "--mute-audio", "--hide-scrollbars",
}

--- A new window. options: width, height (1000 × 800), flags (more of Chromium's own), and those of page:look.
function M.open(options)
  options = options or {}
  if not driver then start_driver() end
  local profile = driver.folder .. "/profile-" .. (#pages + 1)
  local args = table.move(FLAGS, 1, #FLAGS, 1, {})
  args[#args + 1] = "--user-data-dir=" .. profile
  args[#args + 1] = ("--window-size=%d,%d"):format(options.width or 1000, options.height or 800)
  for _, flag in ipairs(options.flags or {}) do args[#args + 1] = flag end
  local value = command("POST", "/session", { capabilities = { alwaysMatch = {
    browserName = "chrome",
    ["goog:loggingPrefs"] = { browser = "ALL" },
    ["goog:chromeOptions"] = {
      args = args, binary = program("chromium", "chromium-browser", "google-chrome"),
    },
  } } })
  local page = setmetatable({ id = value.sessionId, heard = {} }, Page)
  pages[#pages + 1] = page
  if options.phone or options.dark then page:look(options) end
  return page
end

function Page:_ask(method, path, body) return command(method, ("/session/%s%s"):format(self.id, path), body) end

-- A command of the DevTools protocol.
function Page:_tell(what, params) self:_ask("POST", "/goog/cdp/execute", { cmd = what, params = params }) end

--- How the window is to look from now on: dark (prefers-color-scheme), phone (390 × 844), or else width, height.
function Page:look(options)
  local phone = options.phone or false
  self:_tell("Emulation.setDeviceMetricsOverride", {
    width = phone and 390 or options.width or 0, height = phone and 844 or options.height or 0,
    deviceScaleFactor = phone and 2 or 0, mobile = phone,
  })
  self:_tell("Emulation.setEmulatedMedia", {
    features = { { name = "prefers-color-scheme", value = options.dark and "dark" or "light" } },
  })
end

--- As a visitor who has never been here: no cookie is left.
function Page:forget() self:_ask("DELETE", "/cookie") end

--- Loads a page and waits until it has loaded.
function Page:go(url) self:_ask("POST", "/url", { url = url }) end
function Page:url() return self:_ask("GET", "/url") end
function Page:title() return self:_ask("GET", "/title") end
function Page:source() return self:_ask("GET", "/source") end
function Page:back() self:_ask("POST", "/back") end
function Page:reload() self:_ask("POST", "/refresh") end
function Page:resize(width, height) self:_ask("POST", "/window/rect", { width = width, height = height }) end

--- Runs the body of a JavaScript function; its value. Arguments are `arguments[0]`, …
function Page:eval(script, ...)
  local args = setmetatable({ ... }, { __jsontype = "array" })
  return self:_ask("POST", "/execute/sync", { script = script, args = args })
end

-- The first element that a CSS selector finds; nil when there is none.
local function find(page, css)
  local list = page:_ask("POST", "/elements", { using = "css selector", value = css })
  return list[1] and list[1][ELEMENT]
end

local function need(page, css)
  return wait.until_true(function() return find(page, css) end, 5, "an element " .. css)
end

-- Pages reload under our hands: what was found may be stale when it is asked.
local function steady(page, css, what, fn)
  return wait.until_true(function()
    local ok, value = pcall(fn, need(page, css))
    if ok then return { value } end
    if not tostring(value):find "stale" then error(value, 0) end
  end, 5, what .. " " .. css)[1]
end

--- Is there an element, and what does the user read in it?
function Page:has(css) return find(self, css) ~= nil end
function Page:text(css)
  return steady(self, css, "the text of", function(id) return self:_ask("GET", "/element/" .. id .. "/text") end)
end

function Page:attribute(css, name)
  return steady(self, css, "an attribute of", function(id)
    return self:_ask("GET", ("/element/%s/property/%s"):format(id, name))
  end)
end

function Page:style(css, property)
  return steady(self, css, "the style of", function(id)
    return self:_ask("GET", ("/element/%s/css/%s"):format(id, property))
  end)
end

function Page:click(css)
  return steady(self, css, "a click on", function(id) self:_ask("POST", "/element/" .. id .. "/click") return true end)
end

--- Types into a field, in place of what is there. keys() types wherever the focus is.
function Page:type(css, text)
  return steady(self, css, "typing into", function(id)
    self:_ask("POST", "/element/" .. id .. "/clear")
    self:_ask("POST", "/element/" .. id .. "/value", { text = text })
    return true
  end)
end

M.TAB, M.ENTER, M.ESCAPE, M.SPACE = "\u{E004}", "\u{E007}", "\u{E00C}", " "
function Page:keys(text)
  local actions = {}
  for _, code in utf8.codes(text) do
    actions[#actions + 1] = { type = "keyDown", value = utf8.char(code) }
    actions[#actions + 1] = { type = "keyUp", value = utf8.char(code) }
  end
  self:_ask("POST", "/actions", { actions = { { type = "key", id = "keyboard", actions = actions } } })
end

--- Waits until fn(page), or a script that returns something true, holds; its value.
function Page:wait(fact, timeout, what)
  if type(fact) == "string" then
    local script = fact
    fact = function() return self:eval(script) end
  end
  return wait.until_true(function() return fact(self) end, timeout or 10, what or "a fact in the page")
end

--- Waits until the text of an element contains `text`.
function Page:wait_text(css, text, timeout)
  local script = "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''"
  return self:wait(function() return (self:eval(script, css) or ""):find(text, 1, true) end, timeout,
    ("%q in %s"):format(text, css))
end

--- A PNG of the window; look at it.
function Page:screenshot(path)
  local base64 = self:_ask("GET", "/screenshot")
  server.write_file(path, (require "mime".unb64(base64)))
end

--- What the console has said as errors since the page was opened, as a list of messages.
function Page:complaints()
  for _, entry in ipairs(self:_ask("POST", "/se/log", { type = "browser" }) or {}) do
    if entry.level == "SEVERE" then self.heard[#self.heard + 1] = entry.message end
  end
  return self.heard
end

function Page:close()
  if self.closed then return end
  self.closed = true
  pcall(command, "DELETE", "/session/" .. self.id)
end

local function ours()
  local folder, pids = driver.folder, proc.descendants(driver.pid)
  for _, pid in ipairs(proc.named(folder)) do pids[#pids + 1] = pid end
  return pids
end

--- Ends every page and the driver, and whatever they have started.
function M.stop_all()
  if not driver then return end
  for _, page in ipairs(pages) do page:close() end
  local pids = ours()
  host.kill(driver.pid, "TERM")
  wait.until_true(function() return host.wait(driver.pid) ~= "running" end, 10, "chromedriver's end")
  wait.until_true(function()
    local left = false
    for _, pid in ipairs(pids) do
      if proc.alive(pid) then
        left = true
        host.kill(pid, "KILL")
      end
      if proc.stat(pid) then host.wait(pid) end -- nothing, unless it has become ours
    end
    return not left
  end, 10, "the browser's end")
  os.execute(("rm -rf '%s'"):format(driver.folder))
  server.spare(nil)
  driver, pages = nil, {}
end

return M
