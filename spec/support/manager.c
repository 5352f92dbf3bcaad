/* manager.c - a service manager as far as the specs need one: a datagram socket, and who has sent what. */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int luaopen_manager(lua_State *L);

static int failed(lua_State *L) {
  lua_pushnil(L);
  lua_pushstring(L, strerror(errno));
  return 2;
}

/* open("/path" or "@name") -> descriptor */
static int l_open(lua_State *L) {
  size_t len;
  int on = 1;
  const char *address = luaL_checklstring(L, 1, &len);
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  luaL_argcheck(L, len < sizeof at.sun_path, 1, "too long");
  memcpy(at.sun_path, address, len);
  if (*address == '@') at.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed(L);
  if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
      bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
    close(fd);
    return failed(L);
  }
  lua_pushinteger(L, fd);
  return 1;
}

/* receive(descriptor) -> text, pid of the sender; nil when nothing is there */
static int l_receive(lua_State *L) {
  char text[4096];
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(struct ucred))];
  } control;
  struct ucred from = {0};
  struct iovec part = {text, sizeof text};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg((int)luaL_checkinteger(L, 1), &message, MSG_DONTWAIT);
  if (n < 0) return failed(L);
  const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  if (c && c->cmsg_type == SCM_CREDENTIALS) memcpy(&from, CMSG_DATA(c), sizeof from);
  lua_pushlstring(L, text, (size_t)n);
  lua_pushinteger(L, from.pid);
  return 2;
}

static int l_close(lua_State *L) {
  close((int)luaL_checkinteger(L, 1));
  return 0;
}

int luaopen_manager(lua_State *L) {
  static const luaL_Reg verbs[] = {{"open", l_open}, {"receive", l_receive}, {"close", l_close}, {NULL, NULL}};
  luaL_newlib(L, verbs);
  return 1;
}
