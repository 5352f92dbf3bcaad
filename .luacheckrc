std = "lua54"
max_line_length = 120
unused_secondaries = false
ignore = { "212/_.*", "212/self" }
exclude_files = { "build/", "lua_modules/", "lua/moonpool/meta" }

-- The standard library's own names are replaced here, and nowhere else.
files["lua/moonpool/boot.lua"] = { globals = { "require", "print", "io", "os" } }
files["lua/moonpool/test/run.lua"] = { globals = { "require", "arg" } }
files["lua/moonpool/test/clock.lua"] = { globals = { "os" } }
files["lua/moonpool/thread.lua"] = { globals = { "print", "os" } }
-- Bytes on the wire and the promises of specs are read best on one line.
files["spec"] = { std = "+busted", max_line_length = 132 }
files[".busted"].std = "lua54"

-- A configuration is assignments.
files["examples/*/moonpool.conf.lua"] = { allow_defined_top = true, ignore = { "131", "111" } }
