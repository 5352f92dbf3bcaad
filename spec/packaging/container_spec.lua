-- The container file, taken at its word where there is no container: its environment, user, health check and stop.
local bare_root = require "spec.support.bare_root"
local host = require "host"
local server = require "spec.support.server"

local file = server.read_file "packaging/container/Containerfile"

local function said(word) return assert(file:match("\n" .. word .. " ([^\n]+)"), word) end

local function words_of(list)
  local words = {}
  for word in list:gmatch '"([^"]*)"' do words[#words + 1] = word end
  return table.concat(words, " ")
end

describe("the container file", function()
  local folder, root
  teardown(function()
    if folder then assert(os.execute(("rm -rf '%s'"):format(folder))) end
  end)
  after_each(function() server.stop_all() end)

  it("starts a bundle as its user from a read-only root, finds it healthy, and stops it", function()
    if bare_root.pending then return pending(bare_root.pending) end
    folder = assert(host.tempdir())
    assert(os.execute(("chmod 755 '%s' && '%s' bundle examples/hello -o '%s/app' >/dev/null")
      :format(folder, bare_root.binary, folder)))
    root = bare_root.make(folder .. "/root", folder .. "/app", "app")
    local user = said "USER"
    local env = said("ENV"):gsub("MOONPOOL_LISTEN=%S+", "MOONPOOL_LISTEN=127.0.0.1:0")
    assert(os.execute(("mkdir -p '%s/run' && chown %s '%s/run'"):format(root, user, root)))
    local health = words_of(said "HEALTHCHECK")
    local script = ([[set -e
      mount --bind "$1" "$1"; mount --bind "$1/run" "$1/run"; mount -o remount,ro,bind "$1"
      exec env -i PATH="$PATH" %s chroot --userspec=%s "$1" %s]]):format(env, user, words_of(said "ENTRYPOINT"))
    local s = server.launch { binary = "/usr/bin/unshare", argv = { "-m", "sh", "-c", script, "sh", root } }
    s.port = tonumber(s:wait_log "listening on http://[^%s]*:(%d+)")
    s:wait_log "worker ready"
    assert.are.equal(200, s:get("/hello/box").status)
    local function healthy()
      return os.execute(("env -i PATH=\"$PATH\" %s chroot --userspec=%s '%s' %s >/dev/null 2>&1"):format(env, user, root, health))
    end
    assert.is_true(healthy())
    s:signal(said("STOPSIGNAL"):match "SIG(%u+)")
    s:finish("exit", 0)
    assert.is_nil(healthy())
  end)
end)

describe("OpenWrt's package", function()
  it("has the version that the program says", function()
    local pipe = assert(io.popen(("'%s' version"):format(server.binary)))
    local version = pipe:read("a"):match "^moonpool (%S+)"
    pipe:close()
    assert.are.equal(version, server.read_file("packaging/openwrt/Makefile"):match "\nPKG_VERSION:=(%S+)")
  end)

  it("turns a section of its configuration into a server's variables", function()
    local stubs = [[
      uci() { printf "%s\n" moonpool.main=moonpool moonpool.main.enabled=1 moonpool.main.app=/www/ui \
        "moonpool.main.listen=':80' ':81'" moonpool.main.max_body=1M; }
      config_load() { :; }
      config_foreach() { "$1" main; }
      config_get() { case "$3" in listen_LENGTH) eval "$1=2" ;; app) eval "$1=/www/ui" ;; max_body) eval "$1=1M" ;;
        *) eval "$1=" ;; esac; }
      config_get_bool() { eval "$1=1"; }
      config_list_foreach() { "$3" :80; "$3" :81; }
      append() { eval "$1=\"\${$1:+\$$1$3}$2\""; }
      mkdir() { :; }
      procd_open_instance() { echo "instance $1"; }
      procd_close_instance() { :; }
      procd_set_param() { echo "$*"; }
      procd_append_param() { echo "$*"; }
      . packaging/openwrt/files/moonpool.init
      start_service]]
    local path = os.tmpname()
    server.write_file(path, stubs)
    local pipe = assert(io.popen("sh " .. path))
    local said_there = pipe:read "a"
    pipe:close()
    os.remove(path)
    for _, line in ipairs {
      "instance main", "command /usr/bin/moonpool serve /www/ui", "env MOONPOOL_LISTEN=:80,:81", "env MOONPOOL_MAX_BODY=1M",
    } do
      assert.is_truthy(said_there:find(line .. "\n", 1, true), said_there)
    end
    assert.is_nil(said_there:find("MOONPOOL_APP", 1, true))
  end)
end)
