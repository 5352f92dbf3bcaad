-- What a client may do, second half: scopes, channels, timers, threads, files, forms.
local client = require "spec.support.client"

-- `operation(name, weight, fn, needs)` adds one.
return function(operation)
  operation("scope", 3, function(c)
    local n = c.random:int(0, 40)
    c:says("/scope/values", { n = n }, "v nil 3 " .. n * (n + 1) // 2 + 7)
  end, "scope")

  operation("scope_error", 2, function(c)
    local id = c:id()
    c:matches("/scope/first_error", { id = id }, "^false soak: " .. id .. " [snil]+")
  end, "scope")

  operation("scope_deadline", 2, function(c)
    c:says("/scope/deadline", { timeout = 0.005 + c.random:below(0.05) }, "false timeout")
  end, "scope")

  operation("scope_cancel", 2, function(c) c:says("/scope/cancel", {}, "false true") end, "scope")

  operation("channel", 3, function(c)
    local n, writers = c.random:int(0, 60), c.random:int(1, 4)
    c:says("/channel/many", { n = n, writers = writers, readers = c.random:int(1, 4), room = c.random:int(0, 5) },
      ("%d %d"):format(n * writers, writers * n * (n + 1) // 2))
  end, "channel")

  operation("channel_patience", 1, function(c) c:says("/channel/patience", {}, "timeout timeout closed") end, "channel")
  operation("channel_cancel", 1, function(c) c:says("/channel/cancel", {}, "for who is there") end, "channel")

  operation("semaphore", 2, function(c)
    local n = c.random:int(1, 6)
    c:says("/turn/semaphore", { n = n }, n .. " 0")
  end, "semaphore")

  operation("limit", 2, function(c)
    local max, queue, n = c.random:int(1, 3), c.random:int(0, 3), c.random:int(1, 8)
    local served = math.min(n, max + queue)
    c:says("/turn/limit", { max = max, queue = queue, n = n }, ("%d %d"):format(served, n - served))
  end, "limit")

  operation("timer", 2, function(c)
    local id = c:id()
    c:expect_line("soak: fired " .. id .. ".", function()
      c:says("/timer/" .. c.random:pick { "after", "fails" }, { id = id }, "ok")
    end, true)
  end, "after")

  operation("every", 1, function(c)
    local n = c.random:int(1, 10)
    c:says("/timer/every", { n = n }, tostring(n))
  end, "every")

  operation("timer_cancelled", 1, function(c) c:says("/timer/cancelled", { id = c:id() }, "ok") end, "after")

  operation("whole_files", 2, function(c)
    c:says("/whole/round_trip", { id = c:id(), size = c.random:int(0, 300000) }, "true ENOENT")
  end, "read_file")

  operation("offload", 3, function(c)
    local n = c.random:int(0, 1000)
    c:says("/thread/sum", { n = n }, ("%d nil %d"):format(13 + n, n))
  end, "offload")

  operation("offload_fails", 2, function(c)
    local id = c:id()
    c:says("/thread/fails", { id = id }, "false " .. id)
  end, "offload")

  operation("offload_endless", 1, function(c) c:says("/thread/endless", {}, "false true") end, "offload")

  operation("offload_crowd", 1, function(c)
    local n = c.random:int(1, 50)
    c:says("/thread/crowd", { n = n }, tostring(n * (n + 1) * (2 * n + 1) // 6))
  end, "offload")

  -- ---- files: the mixer made them, so it knows every byte ----

  local function file_bytes(size) return (("0123456789abcde\n"):rep(size // 16 + 1)):sub(1, size) end
  local sizes = { 0, 1, 5000, 70000, 2000000 }

  operation("static", 4, function(c)
    local size = c.random:pick(sizes)
    local path = (c.random:chance(0.5) and "/files/" or "/file/") .. size .. ".txt"
    local r = c:get(path, {})
    c:must(r.status == 200 and r.body == file_bytes(size), ("a file of %d bytes: %d, %d bytes"):format(size, r.status, #r.body))
  end, "static")

  operation("range", 3, function(c)
    local size = c.random:pick { 5000, 70000, 2000000 }
    local first = c.random:int(0, size - 1)
    local last = c.random:int(first, size - 1)
    local path = ("/files/%d.txt"):format(size)
    local r = c:ask("GET", client.bytes("GET", path, { headers = { Range = ("bytes=%d-%d"):format(first, last) } }))
    c:must(r.status == 206 and r.body == file_bytes(size):sub(first + 1, last + 1),
      ("bytes %d to %d: %d, %d bytes"):format(first, last, r.status, #r.body))
    local again = c:ask("GET", client.bytes("GET", path, { headers = { ["If-None-Match"] = r.headers.etag } }))
    c:must(again.status == 304, "not 304: " .. again.status)
  end, "static")

  operation("leave_file", 2, function(c)
    local conn = c:open()
    conn:send(c:bytes("GET", "/files/2000000.txt", {}))
    conn:silent(c.random:below(0.02))
    conn:rst()
  end, "static")

  -- ---- forms ----

  local function multipart(c, size)
    return table.concat({
      "--edge", 'Content-Disposition: form-data; name="title"', "", "a title",
      "--edge", 'Content-Disposition: form-data; name="file"; filename="a b.bin"', "Content-Type: application/octet-stream",
      "", c.random:chance(0.5) and ("\r\n--edg"):rep(size // 7 + 1):sub(1, size) or ("u"):rep(size), "--edge--", "",
    }, "\r\n")
  end
  local as_form = { ["Content-Type"] = "multipart/form-data; boundary=edge" }

  operation("form", 4, function(c)
    local size, save = c.random:pick { 0, 10, 5000, 200000 }, c.random:chance(0.5)
    local conn = c:open()
    assert(conn:send(client.bytes("POST", "/form?id=" .. c:id() .. (save and "&save=1" or ""),
      { headers = as_form, body = multipart(c, size) })))
    c:judge(conn:response "POST", ("title=a title size=%d name=a b.bin%s"):format(size, save and " saved=" .. size or ""))
    conn:close()
  end, "multipart")

  operation("leave_form", 2, function(c)
    local conn = c:open()
    local bytes = client.bytes("POST", "/form?id=" .. c:id(), { headers = as_form, body = multipart(c, 300000) })
    conn:send(bytes:sub(1, c.random:int(100, #bytes - 1)))
    conn:silent(c.random:below(0.03))
    conn:rst()
  end, "multipart")

  operation("save", 2, function(c)
    local size = c.random:int(0, 400000)
    local conn = c:open()
    assert(conn:send(client.bytes("POST", "/save?id=" .. c:id(), { body = ("s"):rep(size) })))
    c:judge(conn:response "POST", tostring(size))
    conn:close()
  end, "multipart")
end
