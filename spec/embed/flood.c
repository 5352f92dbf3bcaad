/* Calls completed from other threads, by the hundred thousand: flood APP SETTINGS. Exits 0 when all came back. */
#include <moonpool.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SANITIZE_THREAD__
/* Debian's Lua (5.4.4) leaves by the checked longjmp, of which ThreadSanitizer (gcc 12) does not know: frames that were
 * left so would stay on its stack for ever. To be linked with -rdynamic. */
#include <setjmp.h>
_Noreturn void __longjmp_chk(jmp_buf env, int value);
_Noreturn void __longjmp_chk(jmp_buf env, int value) {
  longjmp(env, value);
}
#endif

enum { THREADS = 3, ROOM = 4096, BATCH = 100 };

/* Held calls on their way to the threads that complete them. */
static struct {
  pthread_mutex_t lock;
  pthread_cond_t more;
  struct mp_call *calls[ROOM];
  int64_t values[ROOM];
  unsigned n;
  bool over;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static atomic_llong n_completed, n_stale;
static atomic_bool done;

static void hand_over(struct mp_call *call, void *ctx) {
  int64_t value = 0;
  (void)ctx;
  mp_call_integer(call, 1, &value);
  pthread_mutex_lock(&queue.lock);
  if (queue.n == ROOM) {
    mp_call_fail(call, "too many", "EAGAIN");
  } else {
    mp_call_hold(call, NULL, NULL);
    queue.calls[queue.n] = call;
    queue.values[queue.n++] = value;
    if (queue.n % BATCH == 1) pthread_cond_signal(&queue.more);
  }
  pthread_mutex_unlock(&queue.lock);
}

/* Some at a time, so that the threads have something to do beside each other. */
static unsigned take(struct mp_call **calls, int64_t *values) {
  unsigned n = 0;
  pthread_mutex_lock(&queue.lock);
  while (queue.n == 0 && !queue.over) pthread_cond_wait(&queue.more, &queue.lock);
  for (; queue.n > 0 && n < BATCH; n++) {
    calls[n] = queue.calls[--queue.n];
    values[n] = queue.values[queue.n];
  }
  pthread_mutex_unlock(&queue.lock);
  return n;
}

static void *complete(void *arg) {
  struct mp_call *calls[BATCH];
  int64_t values[BATCH];
  unsigned n;
  (void)arg;
  while ((n = take(calls, values)) > 0) {
    for (unsigned i = 0; i < n; i++) {
      if (mp_call_cancelled(calls[i])) atomic_fetch_add(&n_stale, 1);
      mp_call_put_integer(calls[i], values[i] + 1);
      mp_call_complete(calls[i]);
      atomic_fetch_add(&n_completed, 1);
    }
  }
  return NULL;
}

static struct mp_server *server;

static void finished(struct mp_call *call, void *ctx) {
  (void)ctx;
  atomic_store(&done, mp_call_boolean(call, 1));
  mp_server_stop(server, MP_STOP_NOW); /* with calls under way */
}

static void on_log(void *ctx, enum mp_level level, const char *room, const char *message, const char *detail) {
  (void)ctx;
  if (level >= MP_LEVEL_WARN) fprintf(stderr, "%s: %s\n%s\n", room, message, detail);
}

int main(int argc, char **argv) {
  pthread_t threads[THREADS];
  struct mp_modules *modules = mp_modules_new();
  if (argc != 3) return 2;
  mp_modules_function(modules, "flood", "call", hand_over, NULL, MP_FUNCTION_WAITS);
  mp_modules_function(modules, "flood", "finished", finished, NULL, 0);
  server = mp_server_new(argv[1], modules, 0);
  mp_server_on_log(server, on_log, NULL);
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, complete, NULL);
  mp_server_set(server, "listen", "127.0.0.1:0");
  mp_server_settings(server, argv[2]);
  int code = mp_server_start(server) < 0 ? 1 : mp_server_wait(server);
  if (code != 0) fprintf(stderr, "%s\n", mp_server_error(server));
  mp_server_free(server);
  pthread_mutex_lock(&queue.lock);
  queue.over = true; /* what is still held is completed with the server gone */
  pthread_cond_broadcast(&queue.more);
  pthread_mutex_unlock(&queue.lock);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  mp_modules_free(modules);
  printf("completed %lld stale %lld\n", (long long)n_completed, (long long)n_stale);
  return code == 0 && atomic_load(&done) ? 0 : 1;
}
