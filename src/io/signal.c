#include "io/signal.h"
#include <signal.h>

static void on_uv_signal(uv_signal_t *uv, int signo) {
  struct mp_signal *signal = uv->data;
  mp_loop_woke(uv->loop->data);
  signal->on_signal(signal, signo);
}

int mp_signal_open(struct mp_signal *signal, struct mp_loop *loop, int signo,
                   void (*on_signal)(struct mp_signal *signal, int signo)) {
  int err = uv_signal_init(&loop->uv, &signal->uv);
  if (err < 0) return err;
  signal->uv.data = signal;
  signal->on_signal = on_signal;
  err = uv_signal_start(&signal->uv, on_uv_signal, signo);
  if (err < 0) mp_signal_close(signal);
  return err;
}

void mp_signal_close(struct mp_signal *signal) {
  uv_handle_t *handle = (uv_handle_t *)&signal->uv;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void mp_signal_begin(void) {
  struct sigaction by_default = {.sa_handler = SIG_DFL}, ignored = {.sa_handler = SIG_IGN};
  sigset_t none;
  sigemptyset(&none);
  sigaction(SIGCHLD, &by_default, NULL);
  sigaction(SIGPIPE, &ignored, NULL);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

void mp_signal_end(void) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
}
