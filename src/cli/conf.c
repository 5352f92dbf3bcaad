#include "cli/conf.h"
#include "api/json.h"
#include "cli/options.h"
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

enum { INTERNAL = 1, WRONG_CONFIG = 2 /* exit codes */ };

/* Where the state keeps, under registry keys of its own, what was assigned and on which line. */
static const char values_key[] = "moonpool.conf.values", lines_key[] = "moonpool.conf.lines";

struct printing {
  const char *file;     /* borrowed */
  struct mp_slice text; /* borrowed: what is in it; at NULL: it is read */
  struct mp_options *o; /* borrowed: the same table that the master checks against knows the line here */
  struct mp_buf out;    /* owned */
  struct mp_seal *seal; /* borrowed: takes the key `bundle`; NULL: nobody asks */
};

/* stdout carries the settings. */
static int l_print(lua_State *L) {
  int n = lua_gettop(L);
  for (int i = 1; i <= n; i++) {
    fprintf(stderr, "%s%s", i > 1 ? "\t" : "", luaL_tolstring(L, i, NULL));
    lua_pop(L, 1);
  }
  fputc('\n', stderr);
  return 0;
}

/* A global is assigned: kept aside together with its line, so that every assignment comes here. */
static int l_assign(lua_State *L) {
  lua_Debug at;
  int line = lua_getstack(L, 1, &at) && lua_getinfo(L, "l", &at) ? at.currentline : 0;
  if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "a setting has a name");
  lua_settop(L, 3);
  lua_getfield(L, LUA_REGISTRYINDEX, lines_key);
  lua_pushvalue(L, 2);
  lua_pushinteger(L, line);
  lua_rawset(L, -3);
  lua_getfield(L, LUA_REGISTRYINDEX, values_key);
  lua_insert(L, 2); /* stack: env values key value lines */
  lua_pop(L, 1);
  lua_rawset(L, 2);
  return 0;
}

/* What was assigned before what Lua brings. */
static int l_lookup(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, values_key);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, -2) != LUA_TNIL) return 1;
  lua_pushglobaltable(L);
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  return 1;
}

static void open_libraries(lua_State *L) {
  static const char *const outside[] = {"dofile", "loadfile", "load", "collectgarbage", "rawset", "_G"};
  luaL_requiref(L, "_G", luaopen_base, 1);
  luaL_requiref(L, "string", luaopen_string, 1);
  luaL_requiref(L, "table", luaopen_table, 1);
  luaL_requiref(L, "math", luaopen_math, 1);
  luaL_requiref(L, "utf8", luaopen_utf8, 1);
  luaL_requiref(L, "os", luaopen_os, 0);
  lua_newtable(L);
  lua_getfield(L, -2, "getenv");
  lua_setfield(L, -2, "getenv");
  lua_setglobal(L, "os");
  for (unsigned i = 0; i < sizeof outside / sizeof *outside; i++) {
    lua_pushnil(L);
    lua_setglobal(L, outside[i]);
  }
  lua_pushcfunction(L, l_print);
  lua_setglobal(L, "print");
}

static void new_registry_table(lua_State *L, const char *key) {
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, key);
}

static void push_environment(lua_State *L) {
  static const luaL_Reg meta[] = {{"__index", l_lookup}, {"__newindex", l_assign}, {NULL, NULL}};
  new_registry_table(L, values_key);
  new_registry_table(L, lines_key);
  lua_newtable(L);
  luaL_newlib(L, meta);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
}

static int l_run(lua_State *L) {
  const struct printing *p = lua_touserdata(L, 1);
  open_libraries(L);
  lua_pushfstring(L, "@%s", p->file);
  int err = p->text.at ? luaL_loadbufferx(L, p->text.at, p->text.len, lua_tostring(L, -1), "t")
                       : luaL_loadfilex(L, p->file, "t");
  if (err != LUA_OK) return lua_error(L);
  push_environment(L);
  lua_setupvalue(L, -2, 1); /* _ENV */
  lua_call(L, 0, 0);
  return 0;
}

/* The settings, one after the other. */

_Noreturn static void refuse(lua_State *L, const struct printing *p, const char *key, const char *why) {
  lua_getfield(L, LUA_REGISTRYINDEX, lines_key);
  lua_getfield(L, -1, key);
  luaL_error(L, "%s:%d: %s", p->file, (int)lua_tointeger(L, -1), why);
  __builtin_unreachable(); /* luaL_error does not return, and does not say so */
}

static void add_line(lua_State *L, struct printing *p, const char *key, const char *value, size_t len) {
  int err = mp_buf_addf(&p->out, "%s=", key);
  for (size_t i = 0; err == 0 && i < len; i++) {
    if (value[i] == '\n')
      err = mp_buf_add(&p->out, "\\n", 2);
    else if (value[i] == '\\')
      err = mp_buf_add(&p->out, "\\\\", 2);
    else
      err = mp_buf_add(&p->out, value + i, 1);
  }
  if (err == 0) err = mp_buf_add(&p->out, "\n", 1);
  if (err < 0) luaL_error(L, "out of memory");
}

/* The value on top, as a flag would be written: a whole float is a count. */
static const char *push_text(lua_State *L, size_t *len) {
  if (lua_type(L, -1) == LUA_TBOOLEAN) {
    lua_pushstring(L, lua_toboolean(L, -1) ? "on" : "off");
  } else if (lua_type(L, -1) == LUA_TNUMBER) {
    int whole;
    lua_Integer n = lua_tointegerx(L, -1, &whole);
    if (whole)
      lua_pushfstring(L, "%I", (LUAI_UACINT)n);
    else
      lua_pushvalue(L, -1);
  } else if (lua_type(L, -1) == LUA_TSTRING) {
    lua_pushvalue(L, -1);
  } else {
    return NULL;
  }
  return lua_tolstring(L, -1, len);
}

static void print_value(lua_State *L, struct printing *p, const char *key, const struct mp_option *option) {
  char why[MP_WHY], text[MP_WHY + 64];
  size_t len;
  const char *value = push_text(L, &len);
  if (!value || strlen(value) != len) {
    snprintf(text, sizeof text, "%s: a text, a number, true or false is wanted", key);
    refuse(L, p, key, text);
  }
  if (mp_options_set(p->o, option, value, MP_FROM_FILE, why) < 0) refuse(L, p, key, why);
  add_line(L, p, key, value, len);
  lua_pop(L, 1);
}

static void print_list(lua_State *L, struct printing *p, const char *key, const struct mp_option *option) {
  char text[160];
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  if (option->kind != MP_OPTION_LIST && option->kind != MP_OPTION_COMMAS) {
    snprintf(text, sizeof text, "%s: one value is wanted, not a table", key);
    refuse(L, p, key, text);
  }
  if (n == 0) {
    lua_pushliteral(L, "");
    print_value(L, p, key, option);
    lua_pop(L, 1);
  }
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    print_value(L, p, key, option);
    lua_pop(L, 1);
  }
}

static void print_app(lua_State *L, struct printing *p) {
  struct mp_buf json = {0};
  if (mp_json_encode(L, -1, &json) < 0) {
    mp_buf_free(&json);
    lua_pushfstring(L, "app: %s", lua_tostring(L, -1));
    refuse(L, p, "app", lua_tostring(L, -1));
  }
  lua_pushlstring(L, mp_buf_at(&json), mp_buf_len(&json));
  mp_buf_free(&json);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  add_line(L, p, "app", text, len);
  lua_pop(L, 1);
}

/* A word of the key `bundle`: text of one line. `out` may be NULL: it is checked only. */
static void take_word(lua_State *L, const struct printing *p, const char *name, char *out) {
  char text[160];
  size_t len = 0;
  const char *word = lua_getfield(L, -1, name) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
  bool good = word && len > 0 && len <= MP_SEAL_WORD && word[0] != ' ' && word[len - 1] != ' ';
  for (size_t i = 0; good && i < len; i++) good = (unsigned char)word[i] >= ' ' && word[i] != 127;
  if (!good && !lua_isnil(L, -1)) {
    snprintf(text, sizeof text, "bundle: %s is a text of 1 to %d bytes, without spaces around it", name, MP_SEAL_WORD);
    refuse(L, p, "bundle", text);
  }
  if (word && out) memcpy(out, word, len + 1);
  lua_pop(L, 1);
}

static void take_bundle(lua_State *L, struct printing *p) {
  if (lua_type(L, -1) != LUA_TTABLE) refuse(L, p, "bundle", "bundle: a table is wanted: { name = …, version = … }");
  take_word(L, p, "name", p->seal ? p->seal->name : NULL);
  take_word(L, p, "version", p->seal ? p->seal->version : NULL);
}

static void print_setting(lua_State *L, struct printing *p, const char *key) {
  char text[160];
  if (strcmp(key, "bundle") == 0) {
    take_bundle(L, p);
    return;
  }
  if (strcmp(key, "app") == 0) {
    print_app(L, p);
    return;
  }
  const struct mp_option *option = strlen(key) > 1 ? mp_option_named(key, strlen(key)) : NULL;
  if (!option) {
    const char *near = mp_option_nearest(key, strlen(key));
    char hint[64];
    snprintf(text, sizeof text, near ? "unknown key %.60s (did you mean %s?)" : "unknown key %.60s", key,
             near ? mp_option_spell(near, MP_FROM_FILE, hint, sizeof hint) : "");
    refuse(L, p, key, text);
  }
  if (lua_type(L, -1) == LUA_TTABLE)
    print_list(L, p, key, option);
  else
    print_value(L, p, key, option);
}

static int l_print_settings(lua_State *L) {
  struct printing *p = lua_touserdata(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, values_key);
  lua_pushnil(L);
  while (lua_next(L, -2)) { /* stack: printing values key value */
    print_setting(L, p, lua_tostring(L, -2));
    lua_settop(L, 3);
  }
  return 0;
}

static int say_error(lua_State *L) {
  const char *message = lua_tostring(L, -1);
  fprintf(stderr, "moonpool: %s\n", message ? message : "the configuration raised what is no text");
  return WRONG_CONFIG;
}

static int call(lua_State *L, lua_CFunction f, void *arg) {
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, arg);
  return lua_pcall(L, 1, 0, 0) == LUA_OK ? 0 : say_error(L);
}

static int flush_lines(const struct mp_buf *out) {
  size_t len = mp_buf_len(out);
  if (len == 0) return 0;
  return fwrite(mp_buf_at(out), 1, len, stdout) == len && fflush(stdout) == 0 ? 0 : INTERNAL;
}

static int run(struct printing p) {
  struct mp_options o;
  p.o = &o;
  lua_State *L = luaL_newstate();
  if (!L) return INTERNAL;
  int code = mp_options_init(&o) < 0 ? INTERNAL : call(L, l_run, &p);
  if (code == 0) code = call(L, l_print_settings, &p);
  if (code == 0 && !p.seal) code = flush_lines(&p.out);
  lua_close(L);
  mp_buf_free(&p.out);
  mp_options_free(&o);
  return code;
}

int mp_conf_run(const char *file, struct mp_slice text) {
  return run((struct printing){.file = file, .text = text});
}

int mp_conf_bundle(const char *file, struct mp_seal *seal) {
  return run((struct printing){.file = file, .seal = seal});
}

const char *mp_conf_language(void) {
  return LUA_RELEASE;
}
