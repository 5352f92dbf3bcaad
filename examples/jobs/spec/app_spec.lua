-- The scripts are played by fakes; what they do is not what is tested.
local test = require "moonpool.test"

describe("jobs", function()
  local client

  before_each(function()
    stub(os, "getenv", function(name) return name == "JOBS_DB" and ":memory:" or nil end)
    client = test.client "app.lua"
  end)

  it("lists the scripts with what they take", function()
    local names = {}
    for _, job in ipairs(client:get("/jobs"):json()) do
      names[job.name] = true
    end
    assert.is_true(names["hello.sh"] and names["count.sh"])
  end)

  it("gives a script its arguments as they are, and tells how it ended", function()
    local script = test.process("scripts/args.sh", { stdout = "out\n", code = 3 })
    local answer = client:post("/run/args.sh", { form = { arg = { "two words", "$(x)" } } })
    assert.same({ "scripts/args.sh", "two words", "$(x)" }, script.calls[1].argv)
    assert.matches("^out\n{.*}\n$", answer.body)
    assert.matches('"code":3', answer.body, 1, true)
  end)

  it("sends output while it comes, as events", function()
    test.process("scripts/hello.sh", { stdout = "hello\n" })
    local seen = {}
    for event in client:post("/run/hello.sh", { headers = { Accept = "text/event-stream" } }):events() do
      seen[#seen + 1] = event.event
    end
    assert.same({ "started", "output", "result" }, seen)
  end)

  it("starts nothing for an argument that the script does not take", function()
    local script = test.process("scripts/count.sh", {})
    local answer = client:post("/run/count.sh", { form = { arg = "x" } })
    assert.equal(422, answer.status)
    assert.matches("argument 1", answer.body, 1, true)
    assert.same({}, script.calls)
  end)

  it("keeps what was run", function()
    test.process("scripts/hello.sh", { code = 0 })
    client:post "/run/hello.sh"
    assert.matches("hello.sh</code></td><td class=\"status good\">done: exit 0", client:get("/history").body, 1, true)
  end)

  it("knows no other scripts", function()
    assert.equal(404, client:post("/run/other.sh").status)
  end)
end)
