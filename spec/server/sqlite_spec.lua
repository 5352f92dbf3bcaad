-- SQLite: queries, transactions, what goes wrong, and that none of it holds up anybody else.
local client = require "spec.support.client"
local proc = require "spec.support.proc"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

-- POST / runs its body as Lua; what that returns is told as text, one value a line.
local app = [[
local moonpool = require "moonpool"
local sqlite = require "moonpool.sqlite"
local app = moonpool.app()
local db = sqlite.open("test.db", { timeout = 60 })
local env = setmetatable({ moonpool = moonpool, sqlite = sqlite, db = db, kept = {} }, { __index = _G })

env.SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?) SELECT max(x) FROM c"
function env.show(value)
  if type(value) ~= "table" then return math.type(value) == "float" and ("%a"):format(value) or tostring(value) end
  local keys, parts = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do parts[i] = tostring(key) .. "=" .. env.show(value[key]) end
  return "{" .. table.concat(parts, ",") .. "}"
end
function env.refused(fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok, "it was not refused")
  return err
end
app:get("/ping", function(_, res) res:text "pong" end)
app:get("/slow", function(_, res) res:text(env.show(db:value(env.SLOW, 4000000000))) end)
app:get("/slow/transaction", function(_, res)
  db:transaction(function(tx)
    assert(tx:exec "INSERT INTO t(name) VALUES('lost')")
    tx:value(env.SLOW, 4000000000)
  end)
  res:text "?"
end)
app:get("/stats", function(_, res) res:text(tostring(moonpool.stats().in_flight)) end)
app:post("/", function(req, res)
  local run = assert(load(req:body(), "=body", "t", env))
  local values = table.pack(run())
  for i = 1, values.n do values[i] = env.show(values[i]) end
  res:text(table.concat(values, "\n"))
end)
return app
]]

local TABLE = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, name TEXT UNIQUE, n, b BLOB)"

describe("sqlite", function()
  local s

  local function lua(code)
    local answer = s:post("/", code, { timeout = 30 })
    assert(answer.status == 200, ("%d: %s\n%s"):format(answer.status, answer.body, s:log()))
    return answer.body
  end

  local function start(options)
    options = options or {}
    options.app = options.app or app
    s = server.start(options)
    return s
  end

  before_each(function() s = nil end)
  after_each(function() server.stop_all() end)

  it("gives rows by the names of their columns, and values of each kind", function()
    start()
    assert.equal("{changes=0}", lua(("return db:exec %q"):format(TABLE)))
    assert.equal("{changes=1,last_id=1}", lua [[return db:exec("INSERT INTO t(name, n) VALUES(?, ?)", "a", 1 << 62)]])
    assert.equal("{changes=2,last_id=3}",
      lua [[return db:exec("INSERT INTO t(name, n, b) VALUES(:x, 0.5, @b), ($y, NULL, NULL)",
        { x = "b\0c", b = sqlite.blob "\0\255", y = "d" })]])
    assert.equal("{id=1,n=4611686018427387904,name=a}", lua [[return db:row("SELECT id, name, n, b FROM t WHERE id = 1")]])
    assert.equal("integer\nfloat\ntrue\ntrue\nblob\ntext\n3", lua [[
      local list = db:query("SELECT *, typeof(b) AS tb, typeof(name) AS tn FROM t ORDER BY id")
      return math.type(list[1].n), math.type(list[2].n), list[2].name == "b\0c", list[2].b == "\0\255", list[2].tb,
        list[2].tn, list.n
    ]])
    assert.equal("nil", lua [[return db:row "SELECT 1 WHERE 0"]])
    assert.equal('[]\n[{"a":1},{"a":2}]\n2', lua [[
      local two = db:query "SELECT 1 AS a UNION ALL SELECT 2"
      return moonpool.json.encode(db:query "SELECT 1 WHERE 0"), moonpool.json.encode(two), two.n]])
    assert.equal("1\n0\nnil\nnil\n7", lua [[return db:value("SELECT ?", true), db:value("SELECT ?", false),
      db:value("SELECT ?", nil), db:value("SELECT :x", { x = sqlite.null }), db:value("SELECT ?2 + ?1", { 3, 4 })]])
    assert.equal("3", lua [[return db:value("SELECT count(*) FROM t WHERE n IS ? OR 1", nil)]])
  end)

  it("runs several statements, and says where in the SQL a mistake is", function()
    start()
    assert.equal("{changes=3,last_id=3}", lua(([[return db:exec(%q .. ";\nINSERT INTO t(name) VALUES('a'),('b');" ..
      "INSERT INTO t(name) VALUES('c'); -- the end")]]):format(TABLE)))
    assert.equal('nil\nnear "*": syntax error (line 2, column 10 of the SQL)\nSQLITE_ERROR',
      lua [[return db:query "SELECT\n     1 + * 2"]])
    assert.equal("nil\nno such column: nope (line 3, column 9 of the SQL)\nSQLITE_ERROR",
      lua [[return db:exec "SELECT 1;\n\n SELECT nope"]])
    assert.equal("nil\nno such table: u\nSQLITE_ERROR", lua [[return db:query "SELECT * FROM u"]])
  end)

  it("raises a caller's mistakes, and names them", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    local function refused(what, code)
      local said = lua("return refused(" .. code .. ")")
      assert.truthy(said:find(what, 1, true), said)
    end
    refused("body:1: query: the SQL has 2 parameters, 1 value was given", [[function() db:query("SELECT ?, ?", 1) end]])
    refused("body:1: exec: the SQL has 0 parameters, 1 value was given", [[function() db:exec("SELECT 1", 1) end]])
    refused("row: parameter :x is missing", [[function() db:row("SELECT :x", { y = 1 }) end]])
    refused("query: parameter 2 is missing", [[function() db:query("SELECT ?, ?", { 1 }) end]])
    refused("value: parameter 2 is a table", [[function() db:value("SELECT ?, ?", 1, {}) end]])
    refused("value: parameter x is a function", [[function() db:value("SELECT :x", { x = print }) end]])
    refused("value: parameter 1 is NaN", [[function() db:value("SELECT ?", 0/0) end]])
    refused("query: the SQL must be a string, got nil", [[function() db:query() end]])
    refused("query: the SQL holds a NUL", [[function() db:query "SELECT '\0'" end]])
    refused("query: there is no statement", [[function() db:query " -- nothing" end]])
    refused("query: one statement is wanted", [[function() db:query "SELECT 1; SELECT 2" end]])
    refused("exec: with parameters there can be only one", [[function() db:exec("SELECT ?; SELECT 2", 1) end]])
    refused("call it with a colon", [[db.query, "SELECT 1"]])
    refused("leaves a transaction open", [[function() db:exec "BEGIN" end]])
    refused("sqlite.open: unknown option waal", [[sqlite.open, "x.db", { waal = true }]])
    refused('sqlite.open: journal must be one of "wal"', [[sqlite.open, "x.db", { journal = "none" }]])
    refused("sqlite.open: readers must be a whole number from 0 to 64", [[sqlite.open, "x.db", { readers = -1 }]])
    refused("sqlite.open: the path must be a string", [[sqlite.open, 5]])
    refused('the mode is "deferred"', [[db.transaction, db, function() end, "soon"]])
    assert.equal("{changes=1,last_id=1}", lua [[return db:exec "INSERT INTO t(name) VALUES('still works')"]])
  end)

  it("gives the world's failures as nil, message and SQLite's name", function()
    start { files = { ["broken.db"] = ("this is no database. "):rep(500) } }
    lua(("return db:exec %q"):format(TABLE))
    assert.equal("nil\nUNIQUE constraint failed: t.name\nSQLITE_CONSTRAINT_UNIQUE",
      lua [[db:exec "INSERT INTO t(name) VALUES('a')" return db:exec "INSERT INTO t(name) VALUES('a')"]])
    assert.equal("nil\nfile is not a database\nSQLITE_NOTADB",
      (lua [[return sqlite.open "broken.db"]]:gsub("broken.db: ", "")))
    assert.equal("nil\nnowhere/x.db: unable to open database file\nSQLITE_CANTOPEN", lua [[return sqlite.open "nowhere/x.db"]])
    assert.equal("nil\nSQLITE_READONLY", lua [[
      local readonly <close> = sqlite.open("test.db", { readonly = true })
      assert(readonly:value "SELECT count(*) FROM t" == 1)
      local ok, _, code = readonly:exec "DELETE FROM t"
      return ok, code]])
    assert.equal("nil\nSQLITE_FULL", lua [[
      local small <close> = sqlite.open("small.db")
      small:exec "PRAGMA max_page_count = 10; CREATE TABLE t(b)"
      local ok, _, code = small:exec "INSERT INTO t SELECT randomblob(100000)"
      return ok, code]])
    assert.equal("nil\nFOREIGN KEY constraint failed\nSQLITE_CONSTRAINT_FOREIGNKEY", lua [[
      db:exec "CREATE TABLE child(t REFERENCES t(id))"
      return db:exec "INSERT INTO child VALUES(99)"]])
    assert.equal("nil\nthe result has more than 10 rows (max_rows)\nEMSGSIZE", lua [[
      kept.few = sqlite.open("test.db", { max_rows = 10, max_bytes = 5000 })
      return kept.few:query "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 11) SELECT x FROM c"]])
    assert.equal("nil\nthe result has more than 5000 bytes (max_bytes)\nEMSGSIZE",
      lua [[return kept.few:query "SELECT hex(zeroblob(2400)) UNION ALL SELECT hex(zeroblob(2401))"]])
  end)

  it("stops a statement at its timeout, and goes on", function()
    start()
    local took = wait.took(function()
      assert.equal("nil\nit took longer than 0.3 s and was stopped\ntimeout",
        lua [[kept.hasty = sqlite.open("test.db", { timeout = 0.3 }) return kept.hasty:value(SLOW, 4000000000)]])
    end)
    assert.is_true(took < 5)
    assert.equal("5", lua [[return kept.hasty:value(SLOW, 5)]])
  end)

  it("answers other routes and other queries at once while one takes long", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    local slow = s:connect()
    slow:send(client.bytes("GET", "/slow"))
    wait.sleep(0.3)
    for _ = 1, 5 do
      assert.is_true(wait.took(function() assert.equal("pong", s:get("/ping").body) end) < 1)
      assert.is_true(wait.took(function() assert.equal("1", lua [[return db:value "SELECT 1"]]) end) < 1)
      assert.is_true(wait.took(function() lua [[assert(db:exec "INSERT INTO t(name) VALUES(NULL)")]] end) < 1)
    end
    slow:close()
  end)

  -- The processor time of a worker that does nothing stands still.
  local function comes_to_rest(pid)
    wait.until_true(function()
      local before = proc.cpu(pid)
      wait.sleep(0.3)
      return proc.cpu(pid) - before < 0.05
    end, 5, "the worker's rest")
  end

  it("ends a query whose client went away within a second, and leaves nothing", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    local pid = s:worker()
    lua [[return db:value "SELECT 1"]]
    local fds = proc.count_fds(pid)
    for _, path in ipairs { "/slow", "/slow/transaction", "/slow", "/slow" } do
      local slow = s:connect()
      slow:send(client.bytes("GET", path))
      wait.sleep(0.3)
      slow:rst()
      wait.until_true(function() return s:get("/stats").body == "1" end, 2, "the end of the request")
      comes_to_rest(pid)
    end
    assert.equal("0", lua [[return db:value "SELECT count(*) FROM t"]])
    assert.equal("{changes=1,last_id=1}", lua [[return db:exec "INSERT INTO t(name) VALUES('free again')"]])
    assert.is_true(proc.count_fds(pid) <= fds + 6) -- a second reader
  end)

  it("commits a transaction that returns, and rolls back one that raises", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    assert.equal("5\nsix", lua [[return db:transaction(function(tx)
      tx:exec("INSERT INTO t(name) VALUES(?)", "kept")
      return 5, "six"
    end)]])
    assert.equal("true", lua [[return db:transaction(function() end)]])
    assert.equal("true", lua [[
      local value = {}
      local ok, err = pcall(db.transaction, db, function(tx)
        tx:exec("INSERT INTO t(name) VALUES(?)", "lost")
        assert(tx:value "SELECT count(*) FROM t" == 2)
        error(value)
      end)
      return not ok and err == value]])
    assert.equal("kept", lua [[return db:value "SELECT group_concat(name) FROM t"]])
    assert.equal("nil\ncommit: FOREIGN KEY constraint failed\nSQLITE_CONSTRAINT_FOREIGNKEY\n0", lua [[
      db:exec "CREATE TABLE late(t REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)"
      local ok, message, code = db:transaction(function(tx) tx:exec "INSERT INTO late VALUES(99)" end)
      return ok, message, code, db:value "SELECT count(*) FROM late"]])
  end)

  it("nests transactions", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    assert.equal("outer,second", lua [[
      db:transaction(function(tx)
        tx:exec "INSERT INTO t(name) VALUES('outer')"
        pcall(tx.transaction, tx, function(inner)
          inner:exec "INSERT INTO t(name) VALUES('first')"
          error "no"
        end)
        tx:transaction(function(inner) inner:exec "INSERT INTO t(name) VALUES('second')" end)
      end)
      return db:value "SELECT group_concat(name) FROM t"]])
  end)

  it("refuses what would wait for itself, and a transaction that is over", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    assert.truthy(lua [[return refused(db.transaction, db, function() db:exec "DELETE FROM t" end)]]
      :find("exec: within db:transaction use what its function was given, as in tx:exec(…)", 1, true))
    assert.truthy(lua [[return refused(db.transaction, db, function() db:transaction(print) end)]]:find("tx:transaction", 1, true))
    assert.truthy(lua [[
      local kept
      db:transaction(function(tx) kept = tx end)
      return refused(function() kept:exec "DELETE FROM t" end)]]:find("the transaction is over", 1, true))
    assert.equal("nil\nthe transaction is over: an error, or the SQL itself, has ended it\nSQLITE_ABORT", lua [[
      local a, b, c
      db:transaction(function(tx)
        tx:exec "COMMIT"
        a, b, c = tx:exec "INSERT INTO t(name) VALUES('outside')"
      end)
      return a, b, c]])
  end)

  it("keeps other tasks out of a transaction, lets them read, and tells them when it lasts too long", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    assert.equal("0\nwaited\n2", lua [[
      local order = {}
      local task = moonpool.spawn(function()
        db:transaction(function(tx)
          tx:exec "INSERT INTO t(name) VALUES('one')"
          moonpool.sleep(0.3)
          order[1] = "waited"
        end)
      end)
      moonpool.sleep(0.1)
      local seen = db:value "SELECT count(*) FROM t"
      db:exec "INSERT INTO t(name) VALUES('two')"
      local first = order[1]
      task:wait()
      return seen, first, db:value "SELECT count(*) FROM t"]])
    assert.equal("nil\nthe database is busy: other queries of this worker have held it for 0.2 s\nSQLITE_BUSY", lua [[
      local other = sqlite.open("test.db", { busy_timeout = 0.2 })
      local task = moonpool.spawn(function() other:transaction(function() moonpool.sleep(1) end) end)
      moonpool.sleep(0.1)
      local a, b, c = other:exec "DELETE FROM t"
      task:wait()
      return a, b, c]])
  end)

  it("waits for another process's lock, then says SQLITE_BUSY", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    assert.equal("nil\ndatabase is locked\nSQLITE_BUSY\n{changes=0}", lua [[
      local other = sqlite.open("test.db", { busy_timeout = 0.3 })
      local task = moonpool.spawn(function() db:transaction(function() moonpool.sleep(0.6) end) end)
      moonpool.sleep(0.1)
      local a, b, c = other:exec "DELETE FROM t"
      task:wait()
      return a, b, c, other:exec "DELETE FROM t"]])
  end)

  it("walks through more rows than it holds, beside other queries, and can stop in between", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    lua [==[return db:exec [[INSERT INTO t(n)
      WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000) SELECT x FROM c]]]==]
    assert.equal("20000\n200010000", lua [[
      local n, sum = 0, 0
      for row in db:rows "SELECT n FROM t" do n, sum = n + 1, sum + row.n end
      return n, sum]])
    assert.equal("60\n{changes=20000,last_id=20000}", lua [[
      local n = 0
      for _ = 1, 20 do
        for row in db:rows "SELECT n FROM t" do
          if db:value("SELECT n FROM t WHERE id = ?", row.n) == row.n then n = n + 1 end
          if row.n == 3 then break end
        end
      end
      return n, db:exec "UPDATE t SET name = NULL"]])
    assert.equal("20000\n20000", lua [[
      local inside, memory = 0, sqlite.open ":memory:"
      db:transaction(function(tx) for _ in tx:rows "SELECT n FROM t" do inside = inside + 1 end end)
      memory:exec "CREATE TABLE t(n)"
      memory:exec "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000) SELECT x FROM c"
      local n = 0
      for row in memory:rows "SELECT n FROM t" do
        if row.n % 5000 == 0 then assert(memory:exec("UPDATE t SET n = n WHERE n = ?", row.n)) end
        n = n + 1
      end
      return inside, n]])
    assert.truthy(lua [[return tostring(refused(function() for _ in db:rows "SELECT * FROM missing" do end end))]]
      :find("rows: no such table: missing", 1, true))
    assert.equal("1\n2", lua [[
      local list = {}
      for row in db:rows "INSERT INTO t(n) VALUES(-1), (-2) RETURNING -n AS n" do list[#list + 1] = row.n end
      return table.unpack(list)]])
  end)

  it("finds temporary tables and what was attached, where they are", function()
    start()
    assert.equal("1\n2", lua [[
      db:exec "CREATE TEMP TABLE mine AS SELECT 1 AS x; ATTACH ':memory:' AS aside; CREATE TABLE aside.u AS SELECT 2 AS y"
      return db:value "SELECT x FROM mine", db:value "SELECT y FROM aside.u"]])
  end)

  it("brings a database to its last version once, however many workers start", function()
    start { workers = 4, app = [[
      local moonpool = require "moonpool"
      local app = moonpool.app()
      local db = require "moonpool.sqlite".open "test.db"
      local steps = {
        "CREATE TABLE a(x); INSERT INTO a VALUES('first')",
        function(tx) tx:exec "INSERT INTO a VALUES('second')" end,
      }
      app:on_start(function() assert(db:migrate(steps) == 2) end)
      app:get("/", function(_, res) res:text(db:value "SELECT group_concat(x) FROM a") end)
      app:get("/wrong", function(_, res)
        steps[3] = "INSERT INTO a VALUES('third'); INSERT INTO nowhere VALUES(1)"
        local _, message, code = db:migrate(steps)
        res:text(message .. "\n" .. code .. "\n" .. db:value "PRAGMA user_version")
      end)
      app:get("/older", function(_, res) res:text(select(2, db:migrate { "SELECT 1" })) end)
      return app
    ]] }
    assert.equal("first,second", s:get("/").body)
    assert.equal("step 3: no such table: nowhere\nSQLITE_ERROR\n2", s:get("/wrong").body)
    assert.equal("the database is at version 2, and 1 are known", s:get("/older").body)
    assert.equal("first,second", s:get("/").body)
  end)

  it("can be closed, also at the end of a block, and says so then", function()
    start()
    local fds = proc.count_fds(s:worker())
    assert.equal("nil\nthe database is closed\nclosed", lua [[
      local other
      do
        local block <close> = sqlite.open "other.db"
        block:exec "CREATE TABLE t(x)"
        block:query "SELECT * FROM t"
        other = block
      end
      local wal = io.open "other.db-wal"
      assert(not wal, "it was not checkpointed")
      return other:exec "SELECT 1"]])
    lua [[for _ = 1, 20 do sqlite.open("other.db"):query "SELECT * FROM t" end collectgarbage() collectgarbage()]]
    wait.until_true(function() return proc.count_fds(s:worker()) <= fds end, 5, "closed descriptors")
  end)

  it("leaves a sound file when its worker is killed, and a checkpointed one when it ends", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    local answered = 0
    local pid = s:worker()
    local busy = s:connect()
    busy:send(client.bytes("POST", "/", { body = [[
      for i = 1, 100000 do db:exec("INSERT INTO t(name) VALUES(?)", "row " .. i) end]] }))
    wait.until_true(function()
      answered = tonumber(lua [[return db:value "SELECT count(*) FROM t"]])
      return answered > 20
    end, 10, "some rows")
    assert(os.execute("kill -9 " .. pid))
    busy:close()
    s:wait_log("worker ready", 10, 2)
    assert.equal("ok", lua [[return db:value "PRAGMA integrity_check"]])
    assert.is_true(tonumber(lua [[return db:value "SELECT count(*) FROM t"]]) >= answered)
    local folder = s.folder
    s:signal "TERM"
    s:wait_exit()
    assert.equal("", server.read_file(folder .. "/test.db-wal"))
    s:finish("exit", 0)
  end)

  it("ends with its worker in the middle of a query", function()
    start { args = { "--graceful-timeout", "0.5" } }
    local slow = s:connect()
    slow:send(client.bytes("GET", "/slow"))
    wait.sleep(0.3)
    s:stop()
    slow:close()
  end)

  it("names the package when the library is not there, and the worker goes on", function()
    start { files = { ["lib/libsqlite3.so.0"] = "no library" }, env = { LD_LIBRARY_PATH = "lib" }, app = [[
      local app = require "moonpool".app()
      app:get("/", function(_, res)
        local db, message, code = require "moonpool.sqlite".open "x.db"
        res:text(tostring(db) .. "\n" .. code .. "\n" .. message)
      end)
      return app
    ]] }
    local body = s:get("/").body
    assert.truthy(body:find("^nil\nENOENT\n") and body:find("libsqlite3-0", 1, true), body)
  end)

  it("serves many at once", function()
    start()
    lua(("return db:exec %q"):format(TABLE))
    local answers = client.at_once(s.port, 50, function() return "POST", "/", { body = [[
      for _ = 1, 5 do assert(db:exec "INSERT INTO t(n) VALUES(1)") end
      return db:transaction(function(tx) tx:exec "INSERT INTO t(n) VALUES(2)" return tx:value "SELECT 7" end)]] } end)
    for _, answer in ipairs(answers) do assert.equal("7", answer.body) end
    assert.equal("300", lua [[return db:value "SELECT count(*) FROM t"]])
  end)
end)
