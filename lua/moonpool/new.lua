-- moonpool new NAME [--kind site|api|device]: a project to begin with. Runs in a state of its own, without a loop;
-- `files` is what Lua lacks:
-- make_folder(path), write_new(path, text), and meta, the types for the editor (name → text).

local KINDS = { site = true, api = true, device = true }
local USAGE = "moonpool new NAME [--kind site|api|device]"

local function read_words(words)
  local name, kind, i = nil, "site", 1
  while i <= #words do
    local word = words[i]
    local given = word:match "^%-%-kind=(.*)$"
    if word == "--kind" or given then
      i = given and i or i + 1
      kind = given or words[i] or ""
      if not KINDS[kind] then
        return nil, ("--kind: site, api or device is wanted, not %q"):format(kind)
      end
    elseif word == "--help" or word == "-h" then
      return nil, nil, true
    elseif word:find "^%-" then
      return nil, ("unknown option %s (%s)"):format(word, USAGE)
    elseif name then
      return nil, ("one name is wanted, not %q too (%s)"):format(word, USAGE)
    else
      name = word
    end
    i = i + 1
  end
  if not name then
    return nil, "a name is missing: " .. USAGE
  end
  return { path = name:gsub("(.)/+$", "%1"), kind = kind }
end

-- The last part is the project's name, which stands in texts and titles.
local function check_name(path)
  local name = path:match "([^/]*)$"
  if not name:find "^%a[%w_-]*$" or #name > 64 then
    return nil, ("%q is no name for a project: letters, digits, - and _ are, from a letter on"):format(name)
  end
  return name
end

-- "a/b/c.lua" → "a", "a/b"
local function folders_of(path)
  local list = {}
  for at in path:gmatch "()/" do
    list[#list + 1] = path:sub(1, at - 1)
  end
  return list
end

local function all_files(kind, name, meta)
  local all = {}
  for _, part in ipairs { "common", kind } do
    for path, text in pairs(require("moonpool.skeleton." .. part)) do
      all[path] = text:gsub("{{name}}", name):gsub("{{kind}}", kind)
    end
  end
  for path, text in pairs(meta) do
    all[".moonpool/meta/" .. path] = text
  end
  return all
end

local function write_all(root, all, files)
  local made, paths = {}, {}
  for path in pairs(all) do
    paths[#paths + 1] = path
  end
  table.sort(paths)
  for _, path in ipairs(paths) do
    for _, folder in ipairs(folders_of(path)) do
      if not made[folder] then
        made[folder] = true
        local ok, why = files.make_folder(root .. "/" .. folder)
        if not ok then
          return nil, ("%s/%s: %s"):format(root, folder, why)
        end
      end
    end
    local ok, why = files.write_new(root .. "/" .. path, all[path])
    if not ok then
      return nil, ("%s/%s: %s"):format(root, path, why)
    end
  end
  return paths
end

local function report(root, paths)
  local out = {}
  for _, path in ipairs(paths) do
    if not path:find "^%.moonpool/" then
      out[#out + 1] = ("  %s/%s\n"):format(root, path)
    end
  end
  return table.concat(out) .. ("\nNext:\n  cd %s\n"
    .. "  moonpool dev      http://127.0.0.1:8080, loads itself anew when you save\n"
    .. "  moonpool test     runs spec/\n"):format(root)
end

--- → exit code, what to say
return function(files, words)
  local wanted, why, help = read_words(words)
  if help then
    return 0, "usage: " .. USAGE .. "\n"
  elseif not wanted then
    return 2, why
  end
  local name, bad = check_name(wanted.path)
  if not name then
    return 2, bad
  end
  local ok, message = files.make_folder(wanted.path)
  if not ok then
    return 2, ("%s: %s"):format(wanted.path, message)
  end
  local paths, failed = write_all(wanted.path, all_files(wanted.kind, name, files.meta), files)
  if not paths then
    return 1, failed
  end
  return 0, report(wanted.path, paths)
end
