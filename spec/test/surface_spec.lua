local auth = require "moonpool.auth"
local cookie = require "moonpool.cookie"
local moonpool = require "moonpool"
local session = require "moonpool.session"
local sqlite = require "moonpool.sqlite"
local surface = require "spec.support.surface"
local template = require "moonpool.template"
local test = require "moonpool.test"
local v = require "moonpool.validate"

describe("the surface", function()
  local whole, sources
  setup(function() whole = surface.sources() end)
  before_each(function()
    sources = {}
    for kind, texts in pairs(whole) do
      sources[kind] = {}
      for path, text in pairs(texts) do sources[kind][path] = text end
    end
  end)

  local function change(kind, path, from, to)
    local at, stop = assert(sources[kind][path], path):find(from, 1, true)
    assert(at, from)
    sources[kind][path] = sources[kind][path]:sub(1, at - 1) .. to .. sources[kind][path]:sub(stop + 1)
  end

  local function faults() return table.concat(surface.faults(sources), "\n") end

  it("has a type, an entry in the docs and a spec for each function, and none for what is not there", function()
    assert.equal("", faults())
  end)

  it("lacks a type where one is taken away, and has one too many where one is added", function()
    change("meta", "lua/moonpool/meta/moonpool.lua", "function moonpool.sleep(", "function moonpool.slep(")
    change("meta", "lua/moonpool/meta/tasks.lua", "function task:cancel(", "function task:abandon(")
    local said = faults()
    for _, fault in ipairs { "moonpool.sleep is registered and has no type", "moonpool.task:cancel is registered and has no type",
      "moonpool.slep has a type and is not registered", "moonpool.task:abandon has a type and is not registered",
      "no spec calls moonpool.slep" } do
      assert.is_truthy(said:find(fault, 1, true), said)
    end
  end)

  it("lacks an entry in the docs where one is taken away, and has one too many where one is added", function()
    change("docs", "docs/api.md", "`shared:incr(", "`shared:raise(")
    change("prose", "docs/guide.md", "`app:use(fn)`", "`app:wear(fn)`")
    change("docs", "docs/api.md", "`moonpool.escape(s)`", "`moonpool.escape`, `os.exec(s)`")
    local said = faults()
    for _, fault in ipairs { "shared:incr (moonpool.shared:incr) is not in docs/api.md",
      "tells of shared:raise, which does not exist",
      "tells of app:wear, which does not exist",
      "moonpool.escape (moonpool.escape) is not in docs/api.md", "tells of os.exec, which does not exist" } do
      assert.is_truthy(said:find(fault, 1, true), said)
    end
  end)

  it("lacks a spec where nobody calls a function", function()
    for path, text in pairs(sources.specs) do
      sources.specs[path] = text:gsub("write_error", "write"):gsub("needs_rehash", "verify")
    end
    assert.equal("no spec calls child:write_error (moonpool.test.child:write_error)\n"
      .. "no spec calls password.needs_rehash (moonpool.password.needs_rehash)", faults())
  end)

  it("does not know a module that nothing asks for and nobody tells of", function()
    sources.inside["lua/moonpool/new_and_forgotten.lua"] = "return {}"
    assert.equal("moonpool.new_and_forgotten: a module that nothing asks for, and that has no types", faults())
  end)

  it("has types for each module that the docs tell of", function()
    sources.meta["lua/moonpool/meta/password.lua"] = nil
    assert.is_truthy(faults():find("docs/api.md:%d+: tells of password.hash, which does not exist"))
  end)
end)

-- What a value may be by the first word of its type: "integer", "string|false", "table<string, string>", "moonpool.pipe".
local function fits(value, kind)
  local words = kind:match "^[^ ]+"
  for word in words:gmatch "[^|]+" do
    local is = word:match '^"(.*)"$' and value == word:match '^"(.*)"$'
      or word == "integer" and math.type(value) == "integer" or word == "any" or word == tostring(value)
      or word == type(value) or word:find "^table<" and type(value) == "table" or word:find "^moonpool%." and value ~= nil
      or word:find "[{%]]" and type(value) == "table"
    if is then return true end
  end
  return false
end

describe("a type", function()
  local FILES = { file = { name = "a.txt", type = "text/plain", body = "text" } }
  local fields, judged = surface.fields(surface.sources().meta), nil

  before_each(function() judged = {} end)

  -- `whole`: it is a plain table, so that what it has beyond its type can be seen, too.
  local function judge(class, object, whole)
    local known = {}
    judged[#judged + 1] = class
    for _, field in ipairs(fields[class]) do
      local value = object[field.name]
      known[field.name] = true
      assert.is_true(value == nil and field.optional or fits(value, field.kind),
        ("%s.%s is %s, and not %s"):format(class, field.name, tostring(value), field.kind))
    end
    for name in pairs(whole and object or {}) do
      assert.is_true(known[name] or type(name) == "string" and name:find "^_" ~= nil, class .. " has no field " .. tostring(name))
    end
  end

  it("tells of the fields that there are: of a request and what comes with it", function()
    local app = moonpool.app()
    app:use(session { keys = ("k"):rep(32) })
    app:post("/parts", function(req)
      for part in req:parts() do judge("moonpool.part", part) end
    end)
    app:post("/:id", function(req, res)
      judge("moonpool.request", req)
      judge("moonpool.response", res)
      judge("moonpool.session", req.ctx.session)
      judge("moonpool.file", req:form().file)
      moonpool.spawn(function() error "nobody's" end)
      error { status = 409, message = "no" }
    end)
    app:error_page(function(_, _, e) judge("moonpool.error", e) end)
    app:on_error(function(_, _, what) judge("moonpool.origin", what, true) end)
    local client = test.client(app, { strict = false })
    assert.equal(204, client:post("/parts", { files = FILES }).status)
    local answer = client:post("/7?a=b", { files = FILES })
    assert.equal(409, answer.status)
    test.settle()
    judge("moonpool.test.client", client)
    judge("moonpool.test.response", answer)
    table.sort(judged)
    assert.same({ "moonpool.error", "moonpool.file", "moonpool.origin", "moonpool.part", "moonpool.request", "moonpool.response",
      "moonpool.session", "moonpool.test.client", "moonpool.test.response" }, judged)
  end)

  it("tells of the fields that there are: of processes, tasks and what else is made", function()
    judge("moonpool.result", moonpool.run({ "sh", "-c", "echo abc; sleep 9", max_output = 1, timeout = 0.01 }), true)
    local fake, clock = test.process("play", { stdout = "out", stderr = "err", code = 3 }), test.clock()
    local process <close> = moonpool.spawn { "play", stdin = "pipe", stdout = "pipe", stderr = "pipe" }
    judge("moonpool.process", process)
    judge("moonpool.result", moonpool.run { "play" }, true)
    judge("moonpool.task", moonpool.running())
    moonpool.scope(function(scope) judge("moonpool.scope", scope) end)
    judge("moonpool", moonpool)
    judge("moonpool.json", moonpool.json)
    judge("moonpool.worker", moonpool.worker)
    judge("moonpool.stats", moonpool.stats(), true)
    judge("moonpool.templates", template.new "spec")
    judge("moonpool.sqlite.module", sqlite)
    judge("moonpool.test.clock", clock)
    judge("moonpool.test.process", fake)
    local db <close> = assert(sqlite.open ":memory:")
    judge("moonpool.sqlite", db)
    judge("moonpool.test.event", test.client(function(_, res) res:sse():send "x" end):get("/"):event(), true)
  end)

  -- What takes the options of each class; an error about their values is well, one about an unknown name is not.
  local TAKERS = {
    ["moonpool.auth.basic"] = auth.basic,
    ["moonpool.auth.bearer"] = auth.bearer,
    ["moonpool.cookie"] = function(o) cookie.format("a", "b", o, 1) end,
    ["moonpool.cors"] = require "moonpool.cors",
    ["moonpool.csrf"] = require "moonpool.csrf",
    ["moonpool.file"] = function(o)
      local told
      test.client(function(_, res) told = select(2, pcall(res.file, res, "spec", o)) end):get "/"
      error(told)
    end,
    ["moonpool.limit"] = moonpool.limit,
    ["moonpool.rate_limit"] = require "moonpool.rate_limit",
    ["moonpool.route"] = function(o) moonpool.app():get("/", o, print) end,
    ["moonpool.security_headers"] = require "moonpool.security_headers",
    ["moonpool.session"] = session,
    ["moonpool.spawn"] = function(o) moonpool.run(o) end,
    ["moonpool.sqlite"] = function(o) sqlite.open("", o) end,
    ["moonpool.static"] = function(o) moonpool.app():static("/", "spec", o) end,
    ["moonpool.templates"] = function(o) template.new("spec", o) end,
    ["moonpool.test.client"] = function(o) test.client(print, o) end,
    ["moonpool.test.request"] = function(o) test.client(print):get("/", o) end,
    ["moonpool.validate"] = v.boolean,
    ["moonpool.validate.email"] = v.email,
    ["moonpool.validate.list"] = function(o) v.list(v.boolean {}, o) end,
    ["moonpool.validate.number"] = v.number,
    ["moonpool.validate.object"] = function(o) v.object({}, o) end,
    ["moonpool.validate.string"] = v.string,
  }
  -- These take any name and look at those that they know: what they know is not asked.
  local LENIENT = { ["moonpool.cookies"] = true, ["moonpool.secret_cookie"] = true }

  it("tells of no option that is not known where it is given", function()
    for class, list in pairs(fields) do
      local what = class:match "^(.*)%.options$"
      local take = TAKERS[what]
      assert.is_truthy(not what or take or LENIENT[what], class .. ": what takes it?")
      for _, field in ipairs(take and list or {}) do
        local _, told = pcall(take, { [field.name] = function() end })
        assert.is_nil(tostring(told):find("unknown option", 1, true), tostring(told))
      end
      local _, told = pcall(take or error, take and { no_such_option = true } or "unknown option")
      assert.is_truthy(not take or tostring(told):find("unknown option", 1, true), tostring(what) .. ": " .. tostring(told))
    end
  end)
end)
