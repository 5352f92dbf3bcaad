-- examples/embed, built as its own build files say against what is installed.
local embed = require "spec.support.embed"
local json = require "cjson"
local server = require "spec.support.server"
local wait = require "spec.support.wait"

if embed.pending then
  describe("examples/embed", function() pending(embed.pending) end)
  return
end

local source = require "lfs".currentdir() .. "/examples/embed"
local programs = {}

local function build_by_make()
  local folder, libdir = embed.prefix() .. "/make", embed.pkg_config_path():gsub("/pkgconfig$", "")
  embed.run(("mkdir '%s' && cp '%s'/sensord.c '%s'/Makefile '%s'"):format(folder, source, source, folder))
  embed.run(("PKG_CONFIG_PATH='%s' make -C '%s' CFLAGS='-g -Wall -Wextra -Werror %s' LDFLAGS='-Wl,-rpath,%s'"):format(
    embed.pkg_config_path(), folder, embed.flags, libdir))
  return folder .. "/sensord"
end

local function build_by_cmake()
  local folder = embed.prefix() .. "/cmake"
  embed.run(("cmake -S '%s' -B '%s' -DCMAKE_PREFIX_PATH='%s' -DCMAKE_C_FLAGS='-g -Wall -Wextra -Werror %s'"):format(source,
    folder, embed.prefix(), embed.flags))
  embed.run(("cmake --build '%s'"):format(folder))
  return folder .. "/sensord"
end

lazy_setup(function() programs = { make = build_by_make(), cmake = build_by_cmake() } end)
lazy_teardown(embed.remove)
after_each(server.stop_all)

local function start(by)
  local s = server.launch { binary = programs[by], argv = { source .. "/app", "127.0.0.1:0" } }
  s.port = tonumber(s:wait_log "sensord: http://[^%s]*:(%d+)")
  return s
end

describe("examples/embed", function()
  for _, by in ipairs { "make", "cmake" } do
    it("shows readings live, and a button that waits, built by " .. by, function()
      local s = start(by)
      assert.truthy(s:get("/").body:find("Calibrate", 1, true))
      local c = s:connect()
      c:send "GET /readings HTTP/1.1\r\nHost: a\r\n\r\n"
      c:head()
      local seen = {}
      while #seen < 3 do
        local id = c:chunk():match "id: (%d+)"
        if id then seen[#seen + 1] = tonumber(id) end
      end
      assert.same({ seen[1], seen[1] + 1, seen[1] + 2 }, seen)
      local first, second = s:connect(), s:connect()
      local post = "POST /calibrate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
      first:send(post)
      wait.until_true(function() return json.decode(s:get("/reading").body).calibrating end)
      second:send(post)
      assert.equal(409, second:response().status)
      assert.truthy(first:response().body:find "^calibrated, the offset is")
      assert.is_number(json.decode(s:get("/reading").body).celsius)
      c:close()
      s:stop()
    end)
  end

  it("ends while a calibration runs", function()
    local s = start "make"
    local c = s:connect()
    c:send "POST /calibrate HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    wait.until_true(function() return json.decode(s:get("/reading").body).calibrating end)
    s:stop()
  end)

  it("is a daemon of less than 200 lines", function()
    local n = 0
    for _ in io.lines(source .. "/sensord.c") do n = n + 1 end
    assert.is_true(n < 200, n .. " lines")
  end)
end)
