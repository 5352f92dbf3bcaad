std = "lua54"
max_line_length = 120
unused_secondaries = false
ignore = { "212/_.*", "212/self" }
exclude_files = { "lua/moonpool/meta" }

files["spec"].std = "+busted"
files[".busted"].std = "lua54"
