#include "api/wire.h"
#include "api/api.h"
#include "base/err.h"
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WIRE_NAME "moonpool._wire"

enum { HELD_MOST = 256 * 1024 /* bytes: beyond that the other end has to wait */ };

struct wire {
  struct mp_stream stream;
  struct mp_api *api;    /* borrowed */
  struct mp_buf in;      /* owned: read, and not taken yet */
  struct mp_wake reader; /* the task that waits for bytes */
  struct mp_wake writer; /* the one that waits for room */
  int err;               /* why no more will come, or 0 */
  bool eof, closed;
};

static struct wire *of_stream(struct mp_stream *stream) {
  return MP_CONTAINER(stream, struct wire, stream);
}

/* ---- what the stream tells ---- */

static void wake(struct wire *w) {
  mp_wake_fire(&w->reader);
  mp_wake_fire(&w->writer);
}

static void on_read(struct mp_stream *stream, const char *bytes, ssize_t n) {
  struct wire *w = of_stream(stream);
  if (n > 0 && mp_buf_add(&w->in, bytes, (size_t)n) < 0) n = -ENOMEM;
  if (n <= 0) w->eof = true;
  if (n < 0) w->err = (int)n;
  if (w->eof || mp_buf_len(&w->in) >= HELD_MOST) mp_stream_read_stop(stream);
  mp_wake_fire(&w->reader);
}

static void on_drained(struct mp_stream *stream) {
  mp_wake_fire(&of_stream(stream)->writer);
}

/* What came before can still be read. */
static void on_broken(struct mp_stream *stream, int err) {
  (void)err;
  mp_wake_fire(&of_stream(stream)->writer);
}

static void on_closed(struct mp_stream *stream) {
  struct wire *w = of_stream(stream);
  w->closed = true;
  mp_anchor_drop(w->api->L, w);
}

static const struct mp_stream_ops ops = {
    .on_read = on_read, .on_drained = on_drained, .on_broken = on_broken, .on_closed = on_closed};

/* ---- making ---- */

void mp_wire_push(lua_State *L, int fd) {
  struct wire *w = lua_newuserdatauv(L, sizeof *w, 0);
  memset(w, 0, sizeof *w);
  w->api = mp_api_of(L);
  w->closed = true;
  luaL_setmetatable(L, WIRE_NAME);
  lua_pushvalue(L, -1);
  mp_anchor(L, w);
  w->closed = false;
  int err = mp_stream_open(&w->stream, w->api->loop, fd, &ops);
  if (err == 0) err = mp_stream_read_start(&w->stream);
  if (err < 0) {
    mp_stream_close(&w->stream);
    luaL_error(L, "wire: %s", mp_err_name(err));
  }
}

static socklen_t local_address(struct sockaddr_storage *at, const char *path) {
  struct sockaddr_un *local = (struct sockaddr_un *)(void *)at;
  local->sun_family = AF_UNIX;
  strncpy(local->sun_path, path, sizeof local->sun_path - 1);
  return sizeof *local;
}

/* 0: no address. */
static socklen_t inet_address(struct sockaddr_storage *at, const char *text, uint16_t port) {
  struct mp_address address;
  if (!mp_address_parse(&address, mp_slice(text, strlen(text)))) return 0;
  if (address.kind == MP_ADDRESS_V4) {
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)at;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    memcpy(&in->sin_addr, address.bytes, 4);
    return sizeof *in;
  }
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)at;
  in6->sin6_family = AF_INET6;
  in6->sin6_port = htons(port);
  memcpy(&in6->sin6_addr, address.bytes, 16);
  return sizeof *in6;
}

static int connect_to(const struct sockaddr_storage *at, socklen_t size) {
  int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  if (connect(fd, (const struct sockaddr *)at, size) == 0 || errno == EINPROGRESS) return fd;
  int err = -errno;
  close(fd);
  return err;
}

int mp_l_wire_connect(lua_State *L) {
  struct sockaddr_storage at = {0};
  char text[128];
  const char *where = luaL_checkstring(L, 1);
  bool local = lua_isnoneornil(L, 2);
  socklen_t size = local ? local_address(&at, where) : inet_address(&at, where, (uint16_t)luaL_checkinteger(L, 2));
  luaL_argcheck(L, size > 0, 1, "an address in numbers");
  int fd = connect_to(&at, size);
  if (fd < 0) return mp_push_failure(L, fd, "connect: %s: %s", where, mp_err_text(fd, text, sizeof text));
  mp_wire_push(L, fd);
  return 1;
}

/* ---- the object ---- */

static struct wire *check(lua_State *L) {
  return luaL_checkudata(L, 1, WIRE_NAME);
}

static bool is_over(const struct wire *w) {
  return w->closed || w->stream.closing;
}

static int push_closed(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "the connection is closed");
  lua_pushliteral(L, "closed");
  return 3;
}

/* All that is there. */
static int give(lua_State *L, struct wire *w) {
  lua_pushlstring(L, mp_buf_at(&w->in), mp_buf_len(&w->in));
  mp_buf_take(&w->in, mp_buf_len(&w->in));
  if (!w->eof && !is_over(w)) mp_stream_read_start(&w->stream);
  return 1;
}

static int give_end(lua_State *L, const struct wire *w) {
  char text[128];
  if (w->err < 0) return mp_push_failure(L, w->err, "read: %s", mp_err_text(w->err, text, sizeof text));
  lua_pushnil(L);
  return 1;
}

static int after_read(lua_State *L, int status, lua_KContext ctx) {
  struct wire *w = lua_touserdata(L, 1);
  (void)status, (void)ctx;
  enum mp_woken why = mp_unpark(L);
  if (mp_buf_len(&w->in) > 0) return give(L, w);
  if (w->eof) return give_end(L, w);
  return why == MP_WOKEN_TIMEOUT ? mp_push_timeout(L) : push_closed(L);
}

/* wire:read([timeout]): what is there, at least a byte; nil at the end; nil, message, code. */
static int l_read(lua_State *L) {
  struct wire *w = check(L);
  double timeout_s = mp_check_timeout(L, 2);
  if (mp_buf_len(&w->in) > 0) return give(L, w);
  if (w->eof) return give_end(L, w);
  if (is_over(w)) return push_closed(L);
  mp_wait_check(L, "read");
  mp_wake_arm(&w->reader, mp_sched_of(L)->current);
  return mp_park(L, timeout_s, after_read, 0);
}

static int give_written(lua_State *L, const struct wire *w) {
  if (is_over(w) || w->stream.err) return push_closed(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int after_write(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  mp_unpark(L);
  return give_written(L, lua_touserdata(L, 1));
}

/* wire:write(bytes): true; nil, message, "closed". Waits while the other end is far behind. */
static int l_write(lua_State *L) {
  struct wire *w = check(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  if (is_over(w) || w->stream.err) return push_closed(L);
  if (mp_stream_write(&w->stream, mp_slice(bytes, len)) == -ENOMEM) return luaL_error(L, "write: not enough memory");
  mp_stream_flush(&w->stream);
  if (mp_stream_queued(&w->stream) < HELD_MOST || !mp_may_wait(L)) return give_written(L, w);
  mp_wait_check(L, "write");
  mp_wake_arm(&w->writer, mp_sched_of(L)->current);
  return mp_park(L, -1, after_write, 0);
}

/* wire:shutdown(): no more bytes from here; what comes can be read. */
static int l_shutdown(lua_State *L) {
  struct wire *w = check(L);
  if (!is_over(w)) mp_stream_shutdown(&w->stream);
  return 0;
}

static int l_close(lua_State *L) {
  struct wire *w = check(L);
  if (is_over(w)) return 0;
  mp_stream_close(&w->stream);
  wake(w);
  return 0;
}

/* Never while the handle is open: it is anchored. */
static int l_gc(lua_State *L) {
  struct wire *w = check(L);
  mp_buf_free(&w->in);
  return 0;
}

void mp_wire_open(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"read", l_read}, {"write", l_write}, {"shutdown", l_shutdown}, {"close", l_close}, {NULL, NULL}};
  luaL_newmetatable(L, WIRE_NAME);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
