-- The pages of the examples, as those who open them see them: with a pointer, by keyboard alone, on a phone, in the dark.
-- SPEC_PICTURES names a folder to be given a picture of each.
local browser = require "spec.support.browser"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local LOOKS = {
  { name = "desktop", width = 1200, height = 900 },
  { name = "desktop-dark", width = 1200, height = 900, dark = true },
  { name = "phone", phone = true },
  { name = "phone-dark", phone = true, dark = true },
}

describe("the pages of the examples", function()
  local why = browser.missing()
  if why then
    pending(why)
    return
  end

  local s, database, window
  local function start(name)
    database = os.tmpname()
    s = server.start { app = "examples/" .. name, workers = 4,
      env = { JOBS_DB = database, GUESTBOOK_DB = database, ERRORS_DB = database, CONSOLE_STATE = database .. ".json" } }
    window = browser.open()
  end
  after_each(function()
    window:close()
    server.stop_all()
    for _, suffix in ipairs { "", "-wal", "-shm", "-journal", ".json" } do os.remove(database .. suffix) end
  end)
  teardown(browser.stop_all)

  local function address(path) return ("http://127.0.0.1:%d%s"):format(s.port, path) end

  -- Nothing is wider than the window, and every control has a name.
  local function fits(page)
    assert.is_true(page:eval "return document.documentElement.scrollWidth <= window.innerWidth")
    assert.are.same({}, page:eval [[
      return [...document.querySelectorAll("input:not([type=hidden]), textarea, button")]
        .filter((e) => !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label")))
        .map((e) => e.outerHTML)]])
  end

  -- Looks at a page in each look; `act(page)` brings it to where it is worth looking at.
  local function in_each_look(name, act)
    local pictures = os.getenv "SPEC_PICTURES"
    for _, look in ipairs(LOOKS) do
      window:look(look)
      window:forget()
      act(window)
      fits(window)
      if pictures then window:screenshot(("%s/%s-%s.png"):format(pictures, name, look.name)) end
    end
  end

  it("of errors tell of a failure while one looks", function()
    start "errors"
    in_each_look("errors", function(page)
      page:go(address "/")
      page:click 'form[action="/fail/handler"] button'
      page:wait_text('form[action="/fail/handler"] .outcome', "The client saw 500")
      page:wait_text("#reports", "the handler broke")
      page:click 'form[action="/fail/late"] button'
      page:wait_text('form[action="/fail/late"] .outcome', "connection break")
      page:wait_text("#reports", "the handler broke after its head")
    end)
  end)

  it("of guestbook take an entry by keyboard alone", function()
    start "guestbook"
    in_each_look("guestbook", function(page)
      page:go(address "/")
      page:keys(browser.TAB) -- to the link that skips
      assert.are.equal("skip", page:eval "return document.activeElement.className")
      page:keys(browser.TAB .. "Ada" .. browser.TAB .. "Hello <b>" .. browser.TAB .. browser.ENTER)
      page:wait_text(".flash", "your entry is in the book")
      page:wait_text(".entries", "Hello <b>")
      assert.is_false(page:has ".entries b")
      assert.are.same({}, page:complaints())
    end)
  end)

  it("of jobs show output while it comes, then the history", function()
    start "jobs"
    in_each_look("jobs", function(page)
      page:go(address "/")
      page:wait_text("#jobs", "colours.sh")
      page:eval [[[...document.querySelectorAll(".job")].find((j) => j.innerText.includes("colours.sh")).id = "colours"]]
      page:click "#colours .run"
      page:wait_text("#colours .status", "exit 0", 20)
      assert.are.equal("colour-31", page:eval [[return document.querySelector("#colours .c31").textContent]])
    end)
    in_each_look("history", function(page)
      page:go(address "/history")
      page:wait_text("#lists", "done: exit 0")
      assert.are.same({}, page:complaints())
    end)
    wait.until_true(function() return #s:workers() == 4 end)
  end)

  it("of the console take a password, tell what the device does, and run a command", function()
    start "console"
    in_each_look("console", function(page)
      page:go(address "/")
      page:keys("a long word" .. browser.ENTER)
      page:wait_text("#link", "live")
      page:wait(function() return page:eval "return document.querySelector('#busy-plot polyline').points.length > 2" end)
      assert.are.same({}, page:complaints())
    end)
    in_each_look("console-commands", function(page)
      page:go(address "/")
      page:keys("a long word" .. browser.ENTER)
      page:wait_text("#link", "live")
      page:go(address "/commands")
      page:click 'form[action="/commands/disks"] button'
      page:wait_text("#output", "[done]")
      fits(page)
      page:go(address "/settings")
      page:click 'form[action="/settings"] button'
      page:wait_text(".good", "Saved")
      page:go(address "/commands")
      page:click 'form[action="/commands/disks"] button'
      page:wait_text("#output", "[done]")
      assert.are.same({}, page:complaints())
    end)
  end)
end)
