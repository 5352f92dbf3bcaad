-- What every new project has. {{name}} and {{kind}} are filled in.
return {
[".luacheckrc"] = [[
std = "lua54"
max_line_length = 120
files["spec"] = { std = "+busted" }
files["moonpool.conf.lua"] = { ignore = { "111", "131" } } -- its globals are the settings
exclude_files = { "lua_modules", ".moonpool" }
]],
[".busted"] = [[
return { default = { ROOT = { "spec" }, pattern = "_spec" } }
]],
[".luarc.json"] = [[
{
  "runtime.version": "Lua 5.4",
  "runtime.path": ["?.lua", "?/init.lua", "lua/?.lua", "lua_modules/share/lua/5.4/?.lua"],
  "workspace.library": [".moonpool/meta"],
  "workspace.checkThirdParty": false
}
]],
[".gitignore"] = [[
/lua_modules/
/data/
/tmp/
*.log
]],
["moonpool.conf.lua"] = [[
-- Settings of the server; `moonpool serve --help` lists them. `moonpool dev` has other defaults where nothing is said.
listen = "127.0.0.1:8080"
]],
["README.md"] = [[
# {{name}}

    moonpool dev        http://127.0.0.1:8080; what you save is there at once, errors are shown in the page
    moonpool test       runs the specs in spec/
    moonpool check      does it load?
    moonpool serve .    as it runs for others

`app.lua` has the routes, `moonpool.conf.lua` the settings. Modules lie beside `app.lua`, in `lua/`, or in
`lua_modules/` (`luarocks install --tree lua_modules --lua-version 5.4 NAME`). `.moonpool/meta` tells your editor the
types.
]],
}
