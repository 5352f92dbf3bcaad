-- What examples/jobs keeps: a line of those that wait, a history that survives its workers, and who may come in.
local client = require "spec.support.client"
local host = require "host"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

local FORM = { ["Content-Type"] = "application/x-www-form-urlencoded" }

describe("examples/jobs", function()
  local s, database

  local function start(env)
    env = env or {}
    database = os.tmpname()
    env.JOBS_DB = database
    s = server.start { app = "examples/jobs", workers = 2, env = env }
  end
  after_each(function()
    s:stop()
    for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(database .. suffix) end
  end)

  -- The rows of the history as { id, command, state }.
  local function jobs()
    local list = {}
    for row in s:get("/history/lists").body:gmatch "<tr><td>%d+</td>.-</tr>" do
      local id, command, state = row:match '<td>(%d+)</td><td><code>(.-)</code>.-<td class="status[^"]*">(.-)</td>'
      list[#list + 1] = { id = tonumber(id), command = command, state = state }
    end
    return list
  end

  local function wait_state(index, pattern)
    return wait.until_true(function()
      local job = jobs()[index]
      return job and job.state:find(pattern) and job
    end, 12, "a job that is " .. pattern)
  end

  local function begin(name, body)
    local c = s:connect()
    assert(c:send(client.bytes("POST", "/run/" .. name, { body = body or "", headers = FORM })))
    return c
  end

  -- The cookie and the token of a page; posts with them.
  local function as_browser(cookie)
    local page = s:get("/login", { headers = { Cookie = cookie } })
    cookie = (page.headers["set-cookie"] or ""):match "^[^;]+" or cookie
    return cookie, page.body:match 'name="csrf_token" value="([^"]+)"'
  end
  local function post(path, cookie, body)
    return s:post(path, body, { headers = { Cookie = cookie, ["Content-Type"] = FORM["Content-Type"] } })
  end

  it("keeps what was run, by the page and by programs, with how it ended", function()
    start()
    s:post("/run/hello.sh", "")
    s:post("/run/count.sh", "arg=1", { headers = FORM })
    s:post("/api/run/fail.sh", "arg=SEGV", { headers = FORM })
    wait.until_true(function() return #jobs() == 3 end, 5, "three jobs")
    local list = jobs()
    assert.are.same({ "fail.sh SEGV", "count.sh 1", "hello.sh" }, { list[1].command, list[2].command, list[3].command })
    assert.is_truthy(list[1].state:find("failed: killed by SIGSEGV", 1, true))
    assert.are.equal("done: exit 0", list[2].state)
    assert.are.equal("failed: exit 27", list[3].state)
    assert.is_truthy(s:get("/history").body:find("hello.sh as 1", 1, true), "the audit log")
  end)

  it("refuses arguments that a script does not take, and says which", function()
    start()
    for body, why in pairs { ["arg=x"] = "argument 1 (number) must be a whole number from 1 to 100000", ["arg=0"] = "argument 1",
      ["arg="] = "argument 1", ["arg=1e3"] = "argument 1", ["arg=1&arg=2"] = "count.sh takes at most 1 argument" } do
      local answer = s:post("/run/count.sh", body, { headers = { ["Content-Type"] = FORM["Content-Type"],
        Accept = "application/json" } })
      assert.are.equal(422, answer.status, body)
      assert.is_truthy(answer.body:find(why, 1, true), answer.body)
    end
    assert.are.equal(422, s:post("/api/run/fail.sh", "arg=STOP", { headers = FORM }).status)
    assert.are.same({}, jobs())
  end)

  it("runs at most so many at once in all workers, shows the others waiting, and gives each its turn", function()
    start { JOBS_AT_ONCE = "2" }
    local clients = {}
    for i = 1, 5 do clients[i] = begin("count.sh", "arg=2") end
    local function count(state)
      local n = 0
      for _, job in ipairs(jobs()) do n = n + (job.state:find("^" .. state) and 1 or 0) end
      return n
    end
    wait.until_true(function() return count "running" == 2 and count "queued" == 3 end, 5, "two that run, three that wait")
    wait.until_true(function()
      assert.is_true(count "running" <= 2)
      return count "done" == 5
    end, 10, "five that are done; the log:\n" .. s:log())
    for _, c in ipairs(clients) do
      assert.is_truthy(c:response().body:find('"code":0', 1, true))
      c:close()
    end
  end)

  it("marks as cancelled what its client hung up on, and frees its place", function()
    start { JOBS_AT_ONCE = "1" }
    local first = begin "stubborn.sh"
    first:head()
    first:chunk()
    local second = begin "stubborn.sh"
    wait_state(1, "queued")
    second:close()
    wait_state(1, "^running") -- the first one: what has ended comes behind
    first:close()
    wait.until_true(function()
      local list = jobs()
      return list[1].state:find "^cancelled" and list[2].state:find "^cancelled"
    end, 8, "both cancelled")
    assert.are.equal(200, s:post("/run/count.sh", "arg=1", { headers = FORM }).status)
  end)

  it("cancels from the history, in whichever worker, what runs and what waits", function()
    start { JOBS_AT_ONCE = "1" }
    local running = begin("count.sh", "arg=900")
    running:head()
    local waiting = begin("count.sh", "arg=901")
    wait_state(2, "running")
    local cookie, token = as_browser()
    assert.are.equal(403, post("/history/1/cancel", cookie, "").status)
    assert.are.equal(303, post("/history/2/cancel", cookie, "csrf_token=" .. token).status)
    assert.are.equal(500, waiting:response().status)
    assert.are.equal(303, post("/history/1/cancel", cookie, "csrf_token=" .. token).status)
    local last, piece = "", running:chunk()
    while piece ~= "" do last, piece = piece, running:chunk() end
    assert.is_truthy(last:find('"signame":"SIGTERM"', 1, true), last)
    for i = 1, 2 do wait_state(i, "^cancelled") end
    running:close()
    waiting:close()
  end)

  it("shows a job whose worker died as lost, never as a success", function()
    start()
    local c = begin("count.sh", "arg=900")
    c:head()
    c:chunk()
    local script
    -- A shell that is about to start a program is one of two with that name for a moment.
    local function runs(pid) return (proc.command(pid) or ""):find("count.sh", 1, true) end
    wait.until_true(function()
      for _, pid in ipairs(s:descendants()) do
        local stat = proc.stat(pid)
        if stat and runs(pid) and not runs(stat.ppid) then script = pid end
      end
      return script
    end, 5, "its process")
    assert(host.kill(proc.stat(script).ppid, "KILL"))
    wait_state(1, "^lost with its worker$")
    assert.is_false(proc.alive(script))
    c:close()
  end)

  it("keeps its history across a reload", function()
    start()
    s:post("/run/hello.sh", "")
    s:signal "HUP"
    s:wait_log("worker ready", 10, 4)
    assert.are.equal("failed: exit 27", jobs()[1].state)
  end)

  it("lets in who logs in, when there is an account, and programs of this machine to their route", function()
    start { JOBS_LOGIN = "ada:correct horse" }
    assert.are.equal(401, s:get("/jobs").status)
    assert.are.equal(401, s:post("/run/hello.sh", "").status)
    local asked = s:get("/history", { headers = { Accept = "text/html" } })
    assert.are.same({ 303, "/login" }, { asked.status, asked.headers.location })
    assert.is_truthy(s:post("/api/run/hello.sh", "").body:find('"code":27', 1, true))
    assert.are.equal(401, s:post("/api/run/hello.sh", "", { headers = { ["X-Forwarded-For"] = "192.0.2.1" } }).status)

    local cookie, token = as_browser()
    local body = "csrf_token=" .. token .. "&name=ada&password="
    assert.are.equal(403, post("/login", cookie, body .. "wrong").status)
    assert.are.equal(403, post("/login", cookie, "name=ada&password=correct+horse").status)
    local answer = post("/login", cookie, body .. "correct+horse")
    assert.are.equal(303, answer.status)
    local fresh = answer.headers["set-cookie"]:match "^[^;]+"
    assert.are_not.equal(cookie, fresh)
    assert.are.equal(401, s:get("/jobs", { headers = { Cookie = cookie } }).status)
    assert.are.equal(200, s:get("/jobs", { headers = { Cookie = fresh } }).status)
    assert.are.equal(200, post("/run/hello.sh", fresh, "").status)
    local page = s:get("/history", { headers = { Cookie = fresh } }).body
    for _, word in ipairs { "login refused", "<td>ada</td>", "hello.sh as" } do
      assert.is_truthy(page:find(word, 1, true), word)
    end
    assert.is_nil(server.read_file(database):find("correct horse", 1, true))
    token = page:match 'name="csrf_token" value="([^"]+)"'
    assert.are.equal(303, post("/logout", fresh, "csrf_token=" .. token).status)
    assert.are.equal(401, s:get("/jobs", { headers = { Cookie = fresh } }).status)
  end)

  it("allows a few tries of a password a minute", function()
    start { JOBS_LOGIN = "ada:correct horse" }
    local cookie, token = as_browser()
    local last
    for _ = 1, 11 do last = post("/login", cookie, "csrf_token=" .. token .. "&name=eve&password=guess") end
    assert.are.equal(429, last.status)
  end)

  it("is right for two hundred programs at once", function()
    start()
    local answers = client.at_once(s.port, 200, function() return "POST", "/api/run/hello.sh", { body = "" } end)
    for _, answer in ipairs(answers) do
      assert.is_truthy(answer.body:find('"code":27', 1, true), answer.body)
    end
    wait.until_true(function() return jobs()[1].id == 200 end, 20, "all of them in the history")
  end)
end)
