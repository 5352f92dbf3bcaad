std = "lua54"
max_line_length = 120
exclude_files = { "build/", "lua_modules/" }
-- The standard library's own names are replaced here, and nowhere else.
files["lua/moonpool/boot.lua"] = { globals = { "require", "print", "io", "os" } }
files["spec/"] = { std = "+busted" }
