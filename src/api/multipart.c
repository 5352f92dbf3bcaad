/* core.multipart(content_type): a form of type multipart/form-data, fed with strings and asked for events. */
#include "http/multipart.h"
#include "api/api.h"
#include <errno.h>

#define PARSER_NAME "moonpool._multipart"

static const struct mp_multipart_limits limits = {.parts = 1000, .head = 8192, .name = 1024};

struct parser {
  struct mp_multipart multipart;
  struct mp_slice rest; /* of the string in the user value */
};

static struct parser *check_parser(lua_State *L) {
  return luaL_checkudata(L, 1, PARSER_NAME);
}

/* parser:feed(bytes), once `next` has said "more" */
static int l_feed(lua_State *L) {
  struct parser *parser = check_parser(L);
  parser->rest.at = luaL_checklstring(L, 2, &parser->rest.len);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 1);
  return 0;
}

static void set_slice(lua_State *L, const char *name, struct mp_slice s) {
  lua_pushlstring(L, s.at, s.len);
  lua_setfield(L, -2, name);
}

static void push_part(lua_State *L, const struct mp_part *part) {
  lua_createtable(L, 0, 3);
  set_slice(L, "name", part->name);
  if (part->is_file) set_slice(L, "filename", part->filename);
  if (part->type.len > 0) set_slice(L, "type", part->type);
}

/* parser:next(): "begin", { name, filename, type } · "data", bytes · "end" · "more". Raises what the form is refused
 * for. */
static int l_next(lua_State *L) {
  struct parser *parser = check_parser(L);
  struct mp_slice *rest = &parser->rest, piece;
  struct mp_refusal why;
  size_t used;
  enum mp_part_event event = mp_multipart_feed(&parser->multipart, rest->at, rest->len, &used, &piece, &why);
  if (event == MP_PART_REFUSE) return mp_raise_status(L, why.status, why.reason);
  *rest = mp_slice(rest->at + used, rest->len - used);
  static const char *const names[] = {"more", "begin", "data", "end"};
  lua_pushstring(L, names[event]);
  if (event == MP_PART_BEGIN) push_part(L, &parser->multipart.part);
  if (event == MP_PART_DATA) lua_pushlstring(L, piece.at, piece.len);
  return event == MP_PART_BEGIN || event == MP_PART_DATA ? 2 : 1;
}

/* parser:whole(): has the last boundary come? */
static int l_whole(lua_State *L) {
  lua_pushboolean(L, mp_multipart_is_whole(&check_parser(L)->multipart));
  return 1;
}

static int l_parser_gc(lua_State *L) {
  mp_multipart_free(&check_parser(L)->multipart);
  return 0;
}

/* nil for another type; raises 400 when the boundary is missing or malformed. */
static int l_multipart(lua_State *L) {
  char room[MP_BOUNDARY_MOST];
  struct mp_slice type, boundary;
  type.at = luaL_checklstring(L, 1, &type.len);
  int err = mp_multipart_boundary(type, room, &boundary);
  if (err == -ENOENT) return 0;
  if (err < 0) return mp_raise_status(L, 400, "the form's boundary is missing or malformed");
  struct parser *parser = lua_newuserdatauv(L, sizeof *parser, 1);
  parser->rest = MP_SLICE("");
  mp_multipart_init(&parser->multipart, boundary, &limits);
  luaL_setmetatable(L, PARSER_NAME);
  return 1;
}

void mp_multipart_open(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"feed", l_feed}, {"next", l_next}, {"whole", l_whole}, {"__gc", l_parser_gc}, {NULL, NULL}};
  luaL_newmetatable(L, PARSER_NAME);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_pushcfunction(L, l_multipart);
  lua_setfield(L, -2, "multipart");
}
