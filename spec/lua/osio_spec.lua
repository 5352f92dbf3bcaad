local fake = require "spec.support.fake_core"

describe("the formats of read", function()
  local reader

  before_each(function()
    fake.install()
    reader = require "moonpool.reader"
  end)

  -- A reader of text that comes in pieces of `size` bytes
  local function pieces(text, size)
    return reader.new(function()
      local piece = text:sub(1, size)
      text = text:sub(size + 1)
      return piece ~= "" and piece or nil
    end)
  end

  local TEXTS = {
    "", "\n", "one line\n", "no end", "a\nb\n\nc", "\n\n\n", "  12 0x1F -7.5e2 .5 5. 1e5x abc 7", "0x", "0x.8p1 -0xA",
    "- 5", "1e+ 3", "99999999999999999999 7", "\0\1\255binary\0\n\0", ("9"):rep(250) .. " 4", "nan inf", "+.e1",
    ("long "):rep(300) .. "\nshort\n", "  \t\n 8\nrest",
  }
  local FORMATS = {
    {}, { "l" }, { "L" }, { "a" }, { "n" }, { 0 }, { 1 }, { 4 }, { 1000 }, { "*l" }, { "*a" }, { "*n", "*L" },
    { "line" }, { "n", "n", "n" }, { "l", "l", "l", "l" }, { 2, "l", 0, "a" }, { "a", "a", "l" }, { 3.0, "n" },
    { "n", "l", "L" },
  }

  local function show(...)
    local values = table.pack(...)
    for i = 1, values.n do
      values[i] = ("%s %q"):format(math.type(values[i]) or type(values[i]), tostring(values[i]))
    end
    return table.concat(values, ", ")
  end

  -- Both read the text by the same formats six times; what differs is named.
  local function compare(file, text, formats, size)
    local ours = pieces(text, size)
    for round = 1, 6 do
      local stock_values, values = show(file:read(table.unpack(formats))), show(ours:read(table.unpack(formats)))
      if stock_values ~= values then
        error(("%q by %s, round %d, pieces of %d: %s, not %s"):format(text, show(table.unpack(formats)), round, size,
          values, stock_values))
      end
    end
  end

  it("are those of Lua's own files, whatever the pieces", function()
    local path = os.tmpname()
    for _, text in ipairs(TEXTS) do
      local file = assert(io.open(path, "w+b"))
      file:write(text)
      for _, formats in ipairs(FORMATS) do
        for _, size in ipairs { 1, 3, 4096 } do
          file:seek("set")
          compare(file, text, formats, size)
        end
      end
      file:close()
    end
    os.remove(path)
  end)

  it("ask for no piece that is not needed", function()
    local asked = 0
    local ours = reader.new(function()
      asked = asked + 1
      return "line\n"
    end)
    assert.equal("line", ours:read())
    assert.equal(1, asked)
    ours:read(5)
    assert.equal(2, asked)
  end)

  it("tell a failure of the source instead of an end", function()
    local ours = reader.new(function() return nil, "broken", "EIO" end)
    assert.same({ nil, "broken", "EIO", n = 3 }, table.pack(ours:read("a")))
  end)

  it("are checked", function()
    for _, format in ipairs { "x", "", "*", "*x", 1.5, true, {} } do
      assert.has_error(function() reader.check_formats("read", 1, format) end, nil, tostring(format))
    end
    reader.check_formats("read", 1, "n", "l", "L", "a", "*all", 0, 5, 2.0)
  end)
end)

describe("os and io in a worker", function()
  local core, worker_io, worker_os, worker_print

  before_each(function()
    core = fake.install()
    worker_io, worker_os = {}, {}
    for key, value in pairs(io) do
      worker_io[key] = value
    end
    worker_print = require("moonpool.osio").install(worker_io, worker_os)
  end)

  -- fn as a task, and where nothing can wait; both must hold
  local function everywhere(fn)
    fake.run(fn)
    fn()
  end

  local COMMANDS = { "exit 0", "exit 27", "exit 255", "kill -9 $$", "kill -15 $$", "true", "no_such_program_here 2>&1" }

  it("execute gives what the manual says", function()
    everywhere(function()
      for _, command in ipairs(COMMANDS) do
        assert.same(table.pack(fake.stock_execute(command)), table.pack(worker_os.execute(command)), command)
      end
      assert.same({ true, n = 1 }, table.pack(worker_os.execute()))
      assert.has_error(function() worker_os.execute({}) end,
        "bad argument #1 to 'execute' (string expected, got table)")
    end)
  end)

  it("a lost status is no number", function()
    fake.run(function()
      fake.next_result = { ok = false, reason = "lost" }
      assert.same({ nil, "lost", n = 2 }, table.pack(worker_os.execute("true")))
      local file = worker_io.popen("true")
      file._process.result = { ok = false, reason = "lost" }
      assert.same({ nil, "lost", n = 2 }, table.pack(file:close()))
    end)
  end)

  it("a command that cannot start is nil, message, code", function()
    fake.run(function()
      fake.next_failure = { "spawn: too many open files", "EMFILE" }
      assert.same({ nil, "spawn: too many open files", "EMFILE", n = 3 }, table.pack(worker_os.execute("true")))
      fake.next_failure = { "spawn: too many open files", "EMFILE" }
      assert.same({ nil, "spawn: too many open files", "EMFILE", n = 3 }, table.pack(worker_io.popen("true")))
    end)
  end)

  it("popen reads what the command writes, and close gives its status", function()
    everywhere(function()
      for _, command in ipairs(COMMANDS) do
        local stock, ours = fake.stock_popen("echo out; " .. command), worker_io.popen("echo out; " .. command)
        assert.equal(stock:read("a"), ours:read("a"))
        assert.same(table.pack(stock:close()), table.pack(ours:close()), command)
      end
    end)
  end)

  it("popen gives lines, with formats too, and a numeral at a time", function()
    everywhere(function()
      local file = worker_io.popen("printf 'a\\nb\\n12 13'")
      local seen = {}
      for line in file:lines() do
        seen[#seen + 1] = line
      end
      assert.same({ "a", "b", "12 13" }, seen)
      assert.is_true(file:close())
      file, seen = worker_io.popen("printf '1 a\\n2 b\\n'"), {}
      for number, rest in file:lines("n", "L") do
        seen[#seen + 1] = number .. rest
      end
      assert.same({ "1 a\n", "2 b\n" }, seen)
      assert.equal(0, select(3, file:close()))
    end)
  end)

  it("popen writes what the command reads", function()
    local path = os.tmpname()
    everywhere(function()
      local file = worker_io.popen("cat > " .. path .. "; exit 3", "w")
      assert.equal(file, file:write("one ", 2, " ", 3.5, "\n"))
      assert.is_true(file:flush())
      assert.is_true(file:setvbuf("full", 1024))
      assert.same({ nil, "exit", 3, n = 3 }, table.pack(file:close()))
      local written = assert(io.open(path))
      assert.equal("one 2 3.5\n", written:read("a"))
      written:close()
    end)
    os.remove(path)
  end)

  it("where nothing can wait, output that was cut is an error at its end", function()
    fake.next_result = { ok = true, reason = "exit", code = 0, stdout = "part", truncated = "stdout" }
    local file = worker_io.popen("yes")
    assert.equal("part", file:read(4))
    assert.same({ nil, "the output of the command was cut at its limit", "EFBIG", n = 3 }, table.pack(file:read("a")))
  end)

  it("a popen handle behaves as a file", function()
    fake.run(function()
      local file = worker_io.popen("echo x")
      assert.equal("file", worker_io.type(file))
      assert.matches("^file %(0x%x+%)$", tostring(file))
      assert.same({ nil, "Illegal seek", "ESPIPE", n = 3 }, table.pack(file:seek("set")))
      assert.same({ nil, "Bad file descriptor", "EBADF", n = 3 }, table.pack(file:write("x")))
      assert.has_error(function() file:read("z") end, "bad argument #1 to 'read' (invalid format)")
      assert.has_error(function() file:setvbuf("some") end)
      assert.has_error(function() file.read(1) end, "bad argument #1 to 'read' (FILE* expected, got number)")
      assert.is_true(worker_io.close(file))
      assert.equal("closed file", worker_io.type(file))
      assert.equal("file (closed)", tostring(file))
      assert.has_error(function() file:read() end, "attempt to use a closed file")
      assert.has_error(function() file:close() end, "attempt to use a closed file")
      local reading = worker_io.popen("cat > /dev/null", "w")
      assert.same({ nil, "Bad file descriptor", "EBADF", n = 3 }, table.pack(reading:read()))
      assert.has_error(function() reading:write({}) end, "bad argument #1 to 'write' (string expected, got table)")
      assert.has_error(function() worker_io.popen("x", "rw") end, "bad argument #2 to 'popen' (invalid mode)")
      reading:close()
    end)
  end)

  it("a popen handle is closed at the end of its block, and waits for the command", function()
    local kept
    fake.run(function()
      local file <close> = worker_io.popen("echo x")
      kept = file
    end)
    assert.equal("closed file", worker_io.type(kept))
    assert.is_true(kept._process.closed.stdout)
    assert.is_nil(kept._process.stopped)
  end)

  it("a popen handle whose block is left by an error stops its command", function()
    fake.run(function()
      local kept
      local ok, err = pcall(function()
        local file <close> = worker_io.popen("echo x")
        kept = file
        error("out", 0)
      end)
      assert.is_false(ok)
      assert.equal("out", err)
      assert.equal("closed file", worker_io.type(kept))
      assert.is_true(kept._process.stopped)
    end)
  end)

  it("a popen handle in a task that ends by an error is closed without waiting, and the error stays", function()
    local kept
    local ok, err = pcall(fake.run, function()
      local file <close> = worker_io.popen("echo x")
      kept = file
      error("the task's own", 0)
    end)
    assert.is_false(ok)
    assert.equal("the task's own", err)
    assert.equal("closed file", worker_io.type(kept))
    assert.is_true(kept._process.closed.stdout)
  end)

  it("io.input, io.read, io.lines, io.output, io.write and io.close take a popen handle", function()
    fake.run(function()
      local stock_input = worker_io.input()
      local file = worker_io.popen("printf 'a\\nb\\n5'")
      assert.equal(file, worker_io.input(file))
      assert.equal(file, worker_io.input())
      assert.equal("a", worker_io.read())
      assert.equal("b", worker_io.lines()())
      assert.equal(5, worker_io.read("n"))
      worker_io.input(stock_input)
      assert.equal(stock_input, worker_io.input())
      assert.equal("file", worker_io.type(file))
      local path = os.tmpname()
      local sink = worker_io.popen("cat > " .. path, "w")
      worker_io.output(sink)
      assert.equal(sink, worker_io.write("to the pipe"))
      assert.is_true(worker_io.close())
      worker_io.output(worker_io.stdout)
      assert.equal("to the pipe", worker_io.lines(path)())
      os.remove(path)
    end)
  end)

  it("files stay Lua's own", function()
    local path = os.tmpname()
    local file = assert(worker_io.open(path, "w"))
    assert.equal("file", worker_io.type(file))
    worker_io.output(file)
    worker_io.write("x")
    worker_io.close()
    assert.equal("closed file", worker_io.type(file))
    assert.is_nil(worker_io.type(42))
    worker_io.input(path)
    assert.equal("x", worker_io.read("a"))
    worker_io.close(worker_io.input())
    io.output(io.stdout)
    io.input(io.stdin)
    os.remove(path)
  end)

  local function logged()
    local lines = {}
    for i, line in ipairs(core.logged) do
      assert.equal("info", line.level)
      lines[i] = line.message
    end
    return lines
  end

  it("print and io.write go to the log, a line at a time", function()
    worker_print("a", 1, nil, true)
    worker_io.write("b ", 2)
    worker_io.write(" c\nd")
    worker_io.stdout:write("e\n\nf")
    worker_print()
    assert.same({ "a\t1\tnil\ttrue", "b 2 c", "de", "", "f" }, logged())
  end)

  it("the standard output shows a line that does not end when flushed, or when it grows long", function()
    worker_io.write("begun")
    assert.same({}, logged())
    worker_io.stdout:flush()
    worker_io.write(("x"):rep(70000))
    assert.same({ "begun", ("x"):rep(70000) }, logged())
    assert.is_nil((worker_io.stdout:close()))
    assert.equal("file", worker_io.type(worker_io.stdout))
  end)

  it("os.exit raises and names the line", function()
    assert.error_matches(function() worker_os.exit(0) end, "os.exit: ")
  end)
end)
