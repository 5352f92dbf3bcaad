#include "api/account.h"
#include "base/err.h"
#include <stdio.h>

static void describe(const struct mp_status *status, char *out, unsigned size) {
  char name[32];
  if (status->end == MP_END_EXIT)
    snprintf(out, size, "exited %d", status->code);
  else if (status->end == MP_END_SIGNAL)
    snprintf(out, size, "killed by %s%s", mp_signal_name(status->signal, name, sizeof name),
             status->core ? " (core dumped)" : "");
  else
    snprintf(out, size, "status lost");
}

static void say(const struct mp_process *p, char *out, unsigned size) {
  char how[64];
  describe(&p->child.status, how, sizeof how);
  snprintf(out, size, "process %d (%s) %s%s%s%s", (int)p->child.proc.pid, p->name, how,
           p->child.timed_out ? ", timed out" : "", p->cancelled ? ", cancelled" : "",
           p->waited ? "" : ", nobody waited");
}

/* exit:33, signal:SIGKILL, lost */
static void name_status(const struct mp_status *status, char *out, unsigned size) {
  char name[32];
  if (status->end == MP_END_EXIT)
    snprintf(out, size, "exit:%d", status->code);
  else if (status->end == MP_END_SIGNAL)
    snprintf(out, size, "signal:%s", mp_signal_name(status->signal, name, sizeof name));
  else
    snprintf(out, size, "lost");
}

static void write_line(const struct mp_process *p, enum mp_log_level level) {
  char sentence[256], argv0[160], status[48], id[16 + MP_CALL_ID] = "";
  if (!mp_log_wants(p->api->log, level)) return;
  say(p, sentence, sizeof sentence);
  name_status(&p->child.status, status, sizeof status);
  mp_log_quote(mp_slice(p->argv0, strlen(p->argv0)), argv0, sizeof argv0);
  if (p->call && p->call->gen == p->gen) {
    snprintf(id, sizeof id, " request_id=");
    mp_call_id(p->call, id + strlen(id), sizeof id - (unsigned)strlen(id));
  }
  mp_log(p->api->log, level, "process", "%s argv0=%s pid=%d status=%s elapsed_ms=%llu%s", sentence, argv0,
         (int)p->child.proc.pid, status, (unsigned long long)(p->child.ended_ms - p->child.started_ms), id);
}

/* The advice is given once a minute. */
static void tell_lost(struct mp_process *p) {
  struct mp_api *api = p->api;
  uint64_t now = mp_loop_now(api->loop);
  if (p->child.status.end != MP_END_LOST || (api->lost_told_ms && now - api->lost_told_ms < 60000)) return;
  api->lost_told_ms = now ? now : 1;
  mp_log(api->log, MP_LOG_ERROR, "process",
         "the status of process %d (%s) was taken by something else in this worker: a library that waits for every "
         "child, or that ignores SIGCHLD; Linux 6.15 and later keep it all the same",
         (int)p->child.proc.pid, p->name);
}

/* ---- one that nobody waited for ---- */

/* Two anchors: one until its last handle has closed, one until its failure was told or taken. */
static const void *untaken_key(const struct mp_process *p) {
  return &p->untaken;
}

/* stack: process; the sentence is the error, for there is no other. */
static int p_report(lua_State *L) {
  struct mp_process *p = lua_touserdata(L, 1);
  char sentence[256];
  say(p, sentence, sizeof sentence);
  mp_anchor_push(L, untaken_key(p));
  lua_getiuservalue(L, -1, MP_PROCESS_SPAWNED_AT);
  struct mp_error_facts facts = {.kind = "process",
                                 .spawned_at = lua_tostring(L, -1),
                                 .realm = p->realm,
                                 .call = p->call && p->call->gen == p->gen ? p->call : NULL,
                                 .told = true};
  lua_pushstring(L, sentence);
  mp_api_report(p->api, L, lua_gettop(L), 0, &facts);
  return 0;
}

static void tell_untaken(struct mp_untaken *untaken, struct mp_scope *scope) {
  struct mp_process *p = MP_CONTAINER(untaken, struct mp_process, untaken);
  lua_State *L = p->api->L;
  (void)scope;
  write_line(p, MP_LOG_WARN);
  lua_pushcfunction(L, p_report);
  lua_pushlightuserdata(L, p);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1); /* out of memory: the line has been written */
  mp_anchor_drop(L, untaken_key(p));
}

static int p_hold(lua_State *L) {
  struct mp_process *p = lua_touserdata(L, 1);
  mp_anchor_push(L, p);
  mp_anchor(L, untaken_key(p));
  return 0;
}

static bool hold(struct mp_process *p) {
  lua_State *L = p->api->L;
  lua_pushcfunction(L, p_hold);
  lua_pushlightuserdata(L, p);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

static void leave_untaken(struct mp_process *p) {
  struct mp_scope *scope = p->member.scope;
  if (!hold(p))
    write_line(p, MP_LOG_WARN);
  else if (scope->at_once)
    tell_untaken(&p->untaken, scope);
  else
    mp_list_append(&scope->failed, &p->untaken.node);
}

/* ---- what process.c tells ---- */

void mp_account_init(struct mp_process *p) {
  mp_list_init(&p->untaken.node);
  p->untaken.tell = tell_untaken;
}

void mp_account_settled(struct mp_process *p) {
  const struct mp_status *status = &p->child.status;
  tell_lost(p);
  if (status->end == MP_END_EXIT && status->code == 0)
    write_line(p, MP_LOG_DEBUG);
  else if (p->waited || p->cancelled || (status->end == MP_END_SIGNAL && status->signal == p->killed))
    write_line(p, MP_LOG_INFO);
  else
    leave_untaken(p);
}

void mp_account_taken(struct mp_process *p) {
  p->waited = true;
  if (mp_list_empty(&p->untaken.node)) return;
  mp_list_unlink(&p->untaken.node);
  write_line(p, MP_LOG_INFO);
  mp_anchor_drop(p->api->L, untaken_key(p));
}
