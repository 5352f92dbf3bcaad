-- Roots with nothing in them but a program and what it is linked with, and who may go there.
local server = require "spec.support.server"

local M = {}

-- As it is shipped: without sanitizers, which want /proc and more memory than there is.
M.binary = os.getenv "SPEC_PLAIN" or server.binary

-- Why there can be none, or nil.
M.pending = not os.execute "unshare -m chroot / true 2>/dev/null" and "needs root, and mount namespaces" or nil

local function shell(format, ...) assert(os.execute(format:format(...))) end

-- Makes it at `root`, with `program` as `name` in it. The path.
function M.make(root, program, name)
  local libraries = assert(io.popen(("ldd '%s' 2>/dev/null"):format(program))) -- of a static one there are none
  shell("mkdir -p '%s'", root)
  for path in libraries:read("a"):gmatch "(/[^%s]+)" do
    shell("mkdir -p '%s%s' && cp -L '%s' '%s%s'", root, path:match "^(.*)/", path, root, path)
  end
  libraries:close()
  shell("cp '%s' '%s/%s'", program, root, name)
  return root
end

return M
