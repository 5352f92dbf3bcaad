#include "sched/held.h"
#include "sched/coro.h"
#include "sched/inside.h"
#include "sched/trace.h"
#include <stdio.h>

static void on_hook(lua_State *L, lua_Debug *ar);

static void keep_hook_of(struct mp_held *held, lua_State *L) {
  if (held->hooked || lua_gethook(L) == on_hook) return;
  held->hook = lua_gethook(L);
  held->hook_mask = lua_gethookmask(L);
  held->hook_count = lua_gethookcount(L);
  held->hooked = L;
}

static void give_hook_back(struct mp_held *held) {
  lua_State *L = held->hooked;
  held->hooked = NULL;
  if (L && lua_gethook(L) == on_hook) lua_sethook(L, held->hook, held->hook_mask, held->hook_count);
}

void mp_held_interrupt(struct mp_sched *sched, enum mp_watch_step step) {
  struct mp_held *held = &sched->held;
  lua_State *L = sched->running;
  keep_hook_of(held, L);
  held->asked = (sig_atomic_t)step;
  held->told = false;
  lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
  if (step != MP_WATCH_OVER) return;
  for (struct mp_frame *frame = sched->frames; frame; frame = frame->outer)
    lua_sethook(frame->from, on_hook, LUA_MASKCOUNT, 1);
}

void mp_held_follow(struct mp_sched *sched, lua_State *co) {
  if (sched->held.asked == MP_WATCH_OVER) lua_sethook(co, on_hook, LUA_MASKCOUNT, 1);
}

void mp_held_forget(struct mp_sched *sched) {
  struct mp_held *held = &sched->held;
  held->asked = MP_WATCH_NONE;
  held->told = held->forced = false;
  give_hook_back(held);
  atomic_store_explicit(&held->hold.most_ms, 0, memory_order_relaxed);
}

static void tell(struct mp_sched *sched, lua_State *L, bool over) {
  if (sched->held.told) return;
  sched->held.told = true;
  if (sched->on_held) sched->on_held(sched, L, over);
  if (!over || !sched->current) return;
  mp_held_push_trace(sched, L);
  mp_task_keep_trace(L);
}

/* Only where a wait could pass may this one: down to the task, by the way of every wait. */
static bool may_yield(struct mp_sched *sched, lua_State *L) {
  return mp_may_wait(L) && mp_coro_reserve(sched);
}

static void on_hook(lua_State *L, lua_Debug *ar) {
  struct mp_sched *sched = mp_sched_of(L);
  struct mp_held *held = &sched->held;
  (void)ar;
  if (held->asked == MP_WATCH_OVER) {
    tell(sched, L, true);
    if (!may_yield(sched, L)) luaL_error(L, "the worker was held for too long");
    held->forced = true;
    sched->parking = true;
    lua_yield(L, 0); /* from a hook: takes effect when the hook returns */
    return;
  }
  if (held->asked == MP_WATCH_SLOW) {
    tell(sched, L, false);
    held->asked = MP_WATCH_NONE;
    give_hook_back(held);
  }
  if (lua_gethook(L) == on_hook) lua_sethook(L, NULL, 0, 0); /* inherited, or left over */
}

int mp_held_pcall(struct mp_sched *sched, lua_State *L, int n_args, int n_results, int handler) {
  uint64_t before = mp_held_begin(sched);
  int status = lua_pcall(L, n_args, n_results, handler);
  mp_held_end(sched, before);
  return status;
}

/* ---- a stack as text ---- */

void mp_held_push_trace(struct mp_sched *sched, lua_State *L) {
  enum { MOST = 8 };
  int n = 1;
  luaL_checkstack(L, MOST + 4, NULL);
  mp_traceback(L, L, NULL, 0);
  if (sched->running == L) {
    for (struct mp_frame *frame = sched->frames; frame && n < MOST; frame = frame->outer, n++)
      mp_traceback(L, frame->from, "\nin a coroutine of", 0);
  }
  lua_concat(L, n);
}

static size_t add_level(lua_State *L, lua_Debug *ar, char *out, size_t size) {
  int n;
  if (!lua_getinfo(L, "Snl", ar)) return 0;
  if (*ar->what == 'C')
    n = snprintf(out, size, "\t[C]: in %s\n", ar->name ? ar->name : "?");
  else if (ar->name)
    n = snprintf(out, size, "\t%s:%d: in %s '%s'\n", ar->short_src, ar->currentline, ar->namewhat, ar->name);
  else
    n = snprintf(out, size, "\t%s:%d: in function <%s:%d>\n", ar->short_src, ar->currentline, ar->short_src,
                 ar->linedefined);
  return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

size_t mp_held_trace(lua_State *L, char *out, size_t size) {
  enum { MOST = 24 };
  lua_Debug ar;
  size_t len = 0;
  out[0] = '\0';
  for (int level = 0; level < MOST && len + 1 < size && lua_getstack(L, level, &ar); level++)
    len += add_level(L, &ar, out + len, size - len);
  while (len > 0 && out[len - 1] == '\n') out[--len] = '\0';
  return len;
}
