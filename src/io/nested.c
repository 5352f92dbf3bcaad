#include "io/nested.h"

enum { TURNS_MOST = 16 };

/* What a callback starts to watch reaches the kernel with the next turn; so turns are taken until one is quiet. */
void mp_loop_turn(struct mp_loop *loop) {
  loop->more_due = false;
  for (int i = 0; i < TURNS_MOST; i++) {
    atomic_store_explicit(loop->busy_since_ms, 0, memory_order_relaxed);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    if (!atomic_load_explicit(loop->busy_since_ms, memory_order_relaxed) && mp_list_empty(&loop->soon)) return;
  }
  loop->more_due = true; /* whoever drives us has others to look after */
}

int mp_loop_fd(const struct mp_loop *loop) {
  return uv_backend_fd(&loop->uv);
}

int mp_loop_due_ms(const struct mp_loop *loop) {
  return loop->more_due || !mp_list_empty(&loop->soon) ? 0 : uv_backend_timeout(&loop->uv);
}

static void keep_time(struct mp_nested *nested);

static void take_turn(struct mp_nested *nested) {
  nested->turn(nested);
  if (!nested->closing) keep_time(nested);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  take_turn(poll->data);
}

static void on_timer(uv_timer_t *timer) {
  take_turn(timer->data);
}

static void keep_time(struct mp_nested *nested) {
  int ms = mp_loop_due_ms(nested->loop);
  if (ms < 0)
    uv_timer_stop(&nested->timer);
  else
    uv_timer_start(&nested->timer, on_timer, (uint64_t)ms, 0);
}

static void on_handle_closed(uv_handle_t *handle) {
  struct mp_nested *nested = handle->data;
  if (--nested->handles == 0) nested->on_closed(nested);
}

int mp_nested_open(struct mp_nested *nested, struct uv_loop_s *outer, struct mp_loop *loop) {
  nested->loop = loop;
  nested->closing = false;
  int err = uv_poll_init(outer, &nested->poll, mp_loop_fd(loop));
  if (err < 0) return err;
  uv_timer_init(outer, &nested->timer);
  nested->poll.data = nested->timer.data = nested;
  nested->handles = 2;
  uv_poll_start(&nested->poll, UV_READABLE, on_poll);
  uv_timer_start(&nested->timer, on_timer, 0, 0); /* the first turn */
  return 0;
}

void mp_nested_close(struct mp_nested *nested) {
  if (nested->closing) return;
  nested->closing = true;
  uv_close((uv_handle_t *)&nested->poll, on_handle_closed);
  uv_close((uv_handle_t *)&nested->timer, on_handle_closed);
}
