-- What a thread does for moonpool.password.

local core = require "moonpool.core"

return { hash = core.password_hash, verify = core.password_verify }
