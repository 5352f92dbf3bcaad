/* sensord - a daemon with a loop of its own that reads a sensor, and a web page beside it.
 *
 * The sensor is read by the main thread, ten times a second. The page is served by Moonpool on a thread of its own; Lua
 * calls the functions below there. Calibrating takes a while: its call is held, and the main loop completes it, so that
 * nobody else waits meanwhile.
 *
 *   sensord APP ADDRESS            sensord app 127.0.0.1:8080 */
#include <math.h>
#include <moonpool.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MILLISECOND = 1000000, READ_MS = 100, CALIBRATE_READINGS = 10, WAITING_MOST = 16 };

struct sensor {
  pthread_mutex_t lock; /* of all that follows */
  double celsius, offset, sum;
  long readings;
  unsigned left;                         /* readings that a calibration still needs; 0: none runs */
  double target;                         /* what they should have said */
  struct mp_call *calibrating;           /* held: ours until we complete it */
  struct mp_call *waiting[WAITING_MOST]; /* held: for the next reading */
  unsigned n_waiting;
};

static struct sensor sensor = {.lock = PTHREAD_MUTEX_INITIALIZER};
static volatile sig_atomic_t over;

/* ---- what Lua calls, on the server's thread ---- */

static void put_reading(struct mp_call *call, const struct sensor *s) {
  mp_call_put_table(call);
  mp_call_put_key(call, "celsius");
  mp_call_put_number(call, s->celsius);
  mp_call_put_key(call, "reading");
  mp_call_put_integer(call, s->readings);
  mp_call_put_key(call, "calibrating");
  mp_call_put_boolean(call, s->left > 0);
  mp_call_put_end(call);
}

static void sensor_read(struct mp_call *call, void *ctx) {
  struct sensor *s = ctx;
  pthread_mutex_lock(&s->lock);
  put_reading(call, s);
  pthread_mutex_unlock(&s->lock);
}

/* sensor.next(): waits for the next reading. A client that goes away is not looked for: its call is completed with the
 * others, and nobody minds. */
static void sensor_next(struct mp_call *call, void *ctx) {
  struct sensor *s = ctx;
  pthread_mutex_lock(&s->lock);
  if (s->n_waiting == WAITING_MOST)
    mp_call_fail(call, "too many wait for a reading", "EAGAIN");
  else if (mp_call_hold(call, NULL, NULL) == 0)
    s->waiting[s->n_waiting++] = call;
  pthread_mutex_unlock(&s->lock);
}

/* sensor.calibrate(celsius): waits until the sensor has been brought to say so. */
static void sensor_calibrate(struct mp_call *call, void *ctx) {
  struct sensor *s = ctx;
  double target;
  if (!mp_call_number(call, 1, &target)) {
    mp_call_raise(call, "calibrate: a temperature is wanted");
    return;
  }
  pthread_mutex_lock(&s->lock);
  if (s->calibrating) {
    mp_call_fail(call, "the sensor is being calibrated already", "EBUSY");
  } else if (mp_call_hold(call, NULL, NULL) == 0) {
    s->calibrating = call;
    s->target = target;
    s->left = CALIBRATE_READINGS;
    s->sum = 0;
  }
  pthread_mutex_unlock(&s->lock);
}

/* ---- the daemon's own loop ---- */

static double hardware(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  double s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
  return 21 + 2 * sin(s / 5) + 0.2 * sin(s * 7);
}

static void complete_calibration(struct sensor *s) {
  s->offset += s->target - s->sum / CALIBRATE_READINGS;
  mp_call_put_number(s->calibrating, s->offset);
  mp_call_complete(s->calibrating);
  s->calibrating = NULL;
}

static void take_reading(struct sensor *s) {
  pthread_mutex_lock(&s->lock);
  s->celsius = hardware() + s->offset;
  s->readings++;
  s->sum += s->celsius;
  if (s->left > 0 && --s->left == 0) complete_calibration(s);
  while (s->n_waiting > 0) {
    struct mp_call *call = s->waiting[--s->n_waiting];
    put_reading(call, s);
    mp_call_complete(call);
  }
  pthread_mutex_unlock(&s->lock);
}

/* Whoever holds a call completes it, also at the end. */
static void let_go(struct sensor *s) {
  if (s->calibrating) mp_call_complete(s->calibrating);
  while (s->n_waiting > 0) mp_call_complete(s->waiting[--s->n_waiting]);
}

static void on_signal(int signo) {
  (void)signo;
  over = 1;
}

static void on_event(void *ctx, enum mp_server_event event, const char *text) {
  (void)ctx;
  if (event == MP_SERVER_READY) fprintf(stderr, "sensord: http://%s\n", text);
}

static struct mp_modules *open_modules(void) {
  struct mp_modules *modules = mp_modules_new();
  if (!modules) return NULL;
  int err = mp_modules_function(modules, "sensor", "read", sensor_read, &sensor, 0);
  if (err == 0) err = mp_modules_function(modules, "sensor", "next", sensor_next, &sensor, MP_FUNCTION_WAITS);
  if (err == 0) err = mp_modules_function(modules, "sensor", "calibrate", sensor_calibrate, &sensor, MP_FUNCTION_WAITS);
  if (err == 0) return modules;
  mp_modules_free(modules);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "usage: sensord APP ADDRESS\n"), 2;
  struct mp_modules *modules = open_modules();
  struct mp_server *server = modules ? mp_server_new(argv[1], modules, 0) : NULL;
  if (!server) return fprintf(stderr, "sensord: out of memory\n"), 1;
  signal(SIGTERM, on_signal);
  signal(SIGINT, on_signal);
  mp_server_on_event(server, on_event, NULL);
  int err = mp_server_set(server, "listen", argv[2]);
  if (err == 0) err = mp_server_start(server);
  if (err < 0) fprintf(stderr, "sensord: %s\n", mp_server_error(server));
  while (err == 0 && !over) {
    take_reading(&sensor);
    nanosleep(&(struct timespec){0, READ_MS * MILLISECOND}, NULL);
  }
  mp_server_free(server);
  let_go(&sensor);
  mp_modules_free(modules);
  return err < 0;
}
