-- Prometheus' text format, read strictly: what a scraper would refuse raises here.
local M = {}

local name_pattern, label_pattern = "^[a-zA-Z_:][a-zA-Z0-9_:]*", "^[a-zA-Z_][a-zA-Z0-9_]*"
local suffixes = { histogram = { _bucket = true, _sum = true, _count = true } }

local function read_labels(line, at)
  local labels, n = {}, 0
  at = at + 1
  while line:sub(at, at) ~= "}" do
    local name = assert(line:match(label_pattern, at), "not a label: " .. line)
    at = at + #name
    assert(line:sub(at, at + 1) == '="', "a label without a value: " .. line)
    at = at + 2
    local value = {}
    while line:sub(at, at) ~= '"' do
      assert(at <= #line, "a label without an end: " .. line)
      local escape = line:match("^\\(.)", at)
      if escape then
        value[#value + 1] = assert(({ n = "\n", ['"'] = '"', ["\\"] = "\\" })[escape], "a bad escape: " .. line)
        at = at + 2
      else
        value[#value + 1] = line:sub(at, at)
        at = at + 1
      end
    end
    assert(not labels[name], "a label twice: " .. line)
    labels[name], n = table.concat(value), n + 1
    at = at + 1
    if line:sub(at, at) == "," then at = at + 1 end
  end
  return labels, at + 1
end

local function read_number(text, line)
  if text == "+Inf" then return math.huge end
  return assert(tonumber(text), "not a number: " .. line)
end

local function family_of(families, name)
  if families[name] and families[name].type ~= "histogram" then return families[name] end
  for suffix in pairs(suffixes.histogram) do
    local base = name:sub(-#suffix) == suffix and name:sub(1, -#suffix - 1)
    if base and families[base] and families[base].type == "histogram" then return families[base] end
  end
end

local function check_histogram(family)
  local last, before, count, sum = -1, -math.huge, nil, nil
  local total
  for _, s in ipairs(family.samples) do
    if s.name:find "_bucket$" then
      local le = read_number(assert(s.labels.le, "a bucket without le"), s.name)
      assert(le > before, "buckets out of order")
      assert(s.value >= last, "buckets that fall")
      before, last = le, s.value
      if le == math.huge then total = s.value end
    elseif s.name:find "_sum$" then
      sum = s.value
    else
      count = s.value
    end
  end
  assert(total and sum and count == total, "a histogram without +Inf, sum or the right count: " .. family.name)
end

local function key_of(sample)
  local parts = {}
  for name, value in pairs(sample.labels) do parts[#parts + 1] = name .. "=" .. value end
  table.sort(parts)
  return sample.name .. "{" .. table.concat(parts, ",") .. "}"
end

-- Families by name: { name, type, help, samples = { { name, labels, value } } }.
function M.read(text)
  local families, current, seen = {}, nil, {}
  assert(text:sub(-1) == "\n", "the last line has no end")
  assert(utf8.len(text), "not UTF-8")
  for line in text:gmatch "([^\n]*)\n" do
    local kind, name, rest = line:match "^# (%u+) (%S+) (.+)$"
    if kind == "HELP" then
      assert(not families[name], "a family twice: " .. name)
      assert(name:match(name_pattern .. "$"), "a bad name: " .. name)
      current = { name = name, help = rest, samples = {} }
      families[name] = current
    elseif kind == "TYPE" then
      assert(current and current.name == name and not current.type and #current.samples == 0, "TYPE out of place: " .. line)
      assert(rest == "counter" or rest == "gauge" or rest == "histogram", "a type that nobody knows: " .. line)
      assert(rest ~= "counter" or name:find "_total$", "a counter without _total: " .. name)
      current.type = rest
    else
      local sample_name = assert(line:match(name_pattern), "not a line of a scrape: " .. line)
      local labels, at = {}, #sample_name + 1
      if line:sub(at, at) == "{" then labels, at = read_labels(line, at) end
      local value = assert(line:match("^ (%S+)$", at), "no value: " .. line)
      local sample = { name = sample_name, labels = labels, value = read_number(value, line) }
      local family = assert(family_of(families, sample_name), "no family: " .. line)
      assert(family == current, "a sample away from its family: " .. line)
      assert(not seen[key_of(sample)], "a series twice: " .. line)
      seen[key_of(sample)] = true
      assert(family.type ~= "counter" or sample.value >= 0, "a negative counter: " .. line)
      family.samples[#family.samples + 1] = sample
    end
  end
  for _, family in pairs(families) do
    assert(family.type, "a family without a type: " .. family.name)
    if family.type == "histogram" then check_histogram(family) end
  end
  return families
end

-- The value of the one sample with that name and at least those labels; nil when there is none.
function M.value(families, name, labels)
  local family = family_of(families, name)
  for _, s in ipairs(family and family.samples or {}) do
    local same = s.name == name
    for label, value in pairs(labels or {}) do same = same and s.labels[label] == value end
    if same then return s.value, s end
  end
end

return M
