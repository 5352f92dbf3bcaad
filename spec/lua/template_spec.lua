local fake = require "spec.support.fake_core"
local lfs = require "lfs"
local host = require "host"

describe("a template", function()
  local template

  before_each(function()
    fake.install()
    template = require "moonpool.template"
  end)

  local function render(text, vars)
    return template.compile(text, "page.html")(vars)
  end

  local function failure(text, vars)
    local ok, err = pcall(render, text, vars)
    assert(not ok, "it did not fail")
    return err
  end

  it("shows text as it is", function()
    for _, text in ipairs { "", "a", "a\nb\n", 'q"\\\n\\n\0\r\n]]', "100 %> < % >" } do
      assert.equal(text, render(text))
    end
    assert.equal("<% x %>", render "<%% x %>")
  end)

  it("escapes what it shows, unless told otherwise", function()
    assert.equal("&lt;b&gt; &amp; &#39;&quot;", render("<%= x %>", { x = "<b> & '\"" }))
    assert.equal("<b>", render("<%- x %>", { x = "<b>" }))
    assert.equal("<b>", render("<%= raw(x) %>", { x = "<b>" }))
    assert.equal("1 2.5 true false", render("<%= 1 %> <%= 2.5 %> <%= true %> <%= false %>"))
    assert.equal("[][]", render "[<%= nothing %>][<%- nothing %>]")
    local shown = setmetatable({}, { __tostring = function() return "<i>" end })
    assert.equal("&lt;i&gt;", render("<%= x %>", { x = shown }))
    assert.truthy(failure("\n<%= x %>", { x = {} }):find("page.html:2: a table cannot be shown", 1, true))
  end)

  it("runs code, and leaves comments out", function()
    assert.equal("1,2,3,", render "<% for i = 1, 3 do %><%= i %>,<% end %>")
    assert.equal("ab", render "a<%# not\n this %>b")
    assert.equal("yes", render("<% if x then %>yes<% else %>no<% end %>", { x = 1 }))
    assert.equal("1\n2\n", render "<% for i = 1, 2 do -%>\n<%= i %>\n<% end -%>\n")
    assert.equal("a\r\nb", render "<% -%>\r\na\r\nb")
    assert.equal("5", render "<% local function f(x) %><%= x %><% end f(5) %>")
  end)

  it("sees what it was given and a few functions, and changes nothing outside", function()
    for _, name in ipairs { "io", "require", "load", "os.execute", "debug", "setmetatable" } do
      assert.equal("nil", render("<%= tostring(" .. name .. ") %>"))
    end
    assert.equal("3 A", render "<%= math.max(1, 3) %> <%= ('a'):upper() %>")
    local vars = { x = 1 }
    assert.equal("2", render("<% x = x + 1 y = 5 string.upper = nil %><%= x %>", vars))
    assert.same({ x = 1 }, vars)
    assert.is_function(string.upper)
    assert.equal("A", render "<%= string.upper 'a' %>")
    assert.equal("inherited", render("<%= x %>", setmetatable({}, { __index = { x = "inherited" } })))
  end)

  it("names its line in every mistake", function()
    local cases = {
      { "a\n<% for %>\n", "page.html:2: " },
      { "a\n\n<%= 1 + %>\n", "page.html:3: " },
      { "a\n<%= 1, 2 %>", "page.html:2: an expression is wanted" },
      { "a\n<%= 1 -- one %>", "page.html:2: an expression is wanted" },
      { "\n\n<%= %>", "page.html:3: the expression is empty" },
      { "a\nb <% if", "page.html:2: <% without %>" },
      { "<% if x then %>\n\na", "page.html:3: 'end' expected" },
      { "<%# a\nb -%>\n\n<% error 'mine' %>", "page.html:4: mine" },
      { "a\n<%- x.y.z %>\n", "page.html:2: attempt to index a nil value" },
      { "\n<%=\n1 +\nnothing %>", "page.html:3: attempt to perform arithmetic on a nil value" },
      { "\n<%= yield() %>", "page.html:2: yield: nothing is rendered within" },
      { "\n<%= include 'x' %>", "a template without a folder can include nothing" },
    }
    for _, case in ipairs(cases) do
      local err = failure(case[1])
      assert.truthy(tostring(err):find(case[2], 1, true), ("%q: %s"):format(case[1], err))
    end
    local _, traceback = xpcall(template.compile("\n<% local function deep() %>\n<%= x.y %><% end %>\n<% deep() %>", "page.html"),
      debug.traceback, {})
    assert.truthy(traceback:find("page.html:3:", 1, true) and traceback:find("page.html:4: in ", 1, true), traceback)
  end)

  it("raises on what is no template", function()
    assert.has_error(function() template.compile(5) end, "template.compile: the text must be a string, got number")
    assert.has_error(function() render("", 5) end)
    assert.has_error(function() template.new("x", { folder = 1 }) end, "template.new: unknown option folder")
  end)

  describe("in a folder", function()
    local folder

    before_each(function()
      folder = host.tempdir()
      lfs.mkdir(folder .. "/parts")
    end)

    after_each(function()
      for _, name in ipairs { "parts", "" } do
        for file in lfs.dir(folder .. "/" .. name) do os.remove(folder .. "/" .. name .. "/" .. file) end
        lfs.rmdir(folder .. "/" .. name)
      end
    end)

    local function write(name, text)
      local file = assert(io.open(folder .. "/" .. name, "wb"))
      file:write(text)
      file:close()
    end

    it("includes others, with its own variables or those that it gives", function()
      write("page.html", "<<%= include 'parts/x' %>|<%- include('parts/x.txt', { a = '<' }) %>>")
      write("parts/x.html", "<b><%= a %></b>")
      write("parts/x.txt", "<%= a %>")
      assert.equal("<<b>&amp;</b>|&lt;>", template.new(folder):render("page", { a = "&" }))
    end)

    it("stands within layouts, and fills their blocks", function()
      write("base.html", "<title><% block('title', function() %>none<% end) %></title>\n<%= yield() %><%= yield 'foot' %>")
      write("inner.html", "<% layout 'base' -%>\n<main><%= yield() %></main>")
      write("page.html", "<% layout('inner', { who = who }) -%>\n<% block('title', function() %><%= who %><% end) -%>\nhello")
      write("plain.html", "<% layout 'base' %>plain<% block('foot', function() %>foot<% end) %>")
      local set = template.new(folder)
      assert.equal("<title>&lt;me&gt;</title>\n<main>hello</main>", set:render("page", { who = "<me>" }))
      assert.equal("<title>none</title>\nplainfoot", set:render "plain")
    end)

    it("never leaves it", function()
      write("parts/x.html", "x")
      local inside = template.new(folder .. "/parts")
      assert.equal("x", inside:render "x")
      for _, name in ipairs { "../parts/x", "/etc/passwd", "a/../x", "./x", "", "x/", ".hidden", "a//b", "a\\b", "x\0.html" } do
        local ok, err = pcall(inside.render, inside, name)
        assert.is_false(ok)
        assert.truthy(err:find("is no name of a template", 1, true), err)
      end
    end)

    it("is read once, or when it has changed", function()
      require "moonpool.core".file_stamp = function(path)
        local file = io.open(path)
        local text = file and file:read "a"
        if file then file:close() end
        return text
      end
      write("x.html", "old")
      local once, always = template.new(folder), template.new(folder, { reload = true })
      assert.equal("old old", once:render "x" .. " " .. always:render "x")
      write("x.html", "new")
      assert.equal("old new", once:render "x" .. " " .. always:render "x")
    end)

    it("says what it cannot read, and stops at one that includes itself", function()
      local ok, err = pcall(template.new(folder).render, template.new(folder), "none")
      assert.is_false(ok)
      assert.truthy(err:find(folder .. "/none.html: No such file or directory", 1, true), err)
      write("round.html", "<%= include 'round' %>")
      ok, err = pcall(template.new(folder).render, template.new(folder), "round")
      assert.is_false(ok)
      assert.truthy(err:find("more than 100 templates within each other", 1, true), err)
    end)

    it("has functions of the app", function()
      write("x.html", "<%= shout(word) %>")
      local set = template.new(folder, { globals = { shout = string.upper } })
      assert.equal("HI", set:render("x", { word = "hi" }))
    end)
  end)
end)
