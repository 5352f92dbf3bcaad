#include "api/process.h"
#include "io/guardian.h"

enum { SOON_MS = 50, AGAIN_MS = 1000 };

/* Ours are reaped by their own pidfd, and nobody else may take their status. */
static bool is_ours(pid_t pid, void *ctx) {
  const struct mp_api *api = ctx;
  MP_LIST_EACH(node, &api->live) {
    if (MP_CONTAINER(node, struct mp_process, live)->child.proc.pid == pid) return true;
  }
  return false;
}

static void on_look(struct mp_timer *timer) {
  struct mp_api *api = MP_CONTAINER(timer, struct mp_api, strays);
  int left = 0;
  mp_reap_strangers(is_ours, api, &left);
  if (left > 0) mp_timer_start(timer, AGAIN_MS);
}

int mp_strays_init(struct mp_api *api) {
  mp_list_init(&api->live);
  return mp_timer_init(&api->strays, &api->loop->timers, on_look);
}

void mp_strays_look(struct mp_api *api) {
  if (api->setup.guest) return; /* whose children they are we cannot know there */
  if (mp_timer_started(&api->strays) && api->strays.due_ms <= mp_loop_now(api->loop) + SOON_MS) return;
  mp_timer_start(&api->strays, SOON_MS);
}

void mp_strays_deinit(struct mp_api *api) {
  mp_timer_deinit(&api->strays);
}
