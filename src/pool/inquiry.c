/* One question to every worker: see control.h.
 *
 *   master: "ask 7 tasks"     worker: "part 7 [{…" "part 7 …}]" "end 7 1234"      1234: the bytes of all parts
 *
 * Parts are cut anywhere, for a word of a control pair is short. What comes short of the bytes that it ends with has
 * lost some on its way (a worker's watchdog speaks through the same pair, whatever its loop is about to say), and is no
 * answer. */
#include "base/emit.h"
#include "pool/control.h"
#include "pool/inside.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MS = 1000, LARGEST = 1024 * 1024 /* bytes of one worker's answer */ };
enum part_state { NOT_ASKED, ASKED, ANSWERED, SILENT };

struct part {
  uint8_t state; /* enum part_state */
  unsigned slot;
  pid_t pid;
  struct mp_buf json; /* owned */
};

struct mp_inquiry {
  struct mp_control_client *client; /* borrowed */
  uint32_t id;
  const char *what; /* static */
  struct mp_timer timer;
  unsigned pending;
  struct part part[MP_ROSTER_SEATS];
};

static void free_inquiry(struct mp_inquiry *q) {
  mp_timer_deinit(&q->timer);
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) mp_buf_free(&q->part[i].json);
  free(q);
}

void mp_inquiry_drop(struct mp_inquiry *q) {
  if (q) free_inquiry(q);
}

static void emit_part(struct mp_emit *e, const struct mp_inquiry *q, const struct part *part) {
  mp_emit_begin(e, NULL, '{');
  mp_emit_count(e, "worker", part->slot + 1);
  mp_emit_count(e, "pid", (uint64_t)part->pid);
  if (part->state == ANSWERED)
    mp_emit_raw(e, strcmp(q->what, "dump") == 0 ? "tasks" : q->what, mp_buf_slice(&part->json));
  mp_emit_end(e, '}');
}

static void emit_parts(struct mp_emit *e, const struct mp_inquiry *q, const char *key, bool answered) {
  mp_emit_begin(e, key, '[');
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) {
    const struct part *part = &q->part[i];
    if (part->state != NOT_ASKED && (part->state == ANSWERED) == answered) emit_part(e, q, part);
  }
  mp_emit_end(e, ']');
}

/* With what there is. */
static void conclude(struct mp_inquiry *q) {
  struct mp_control_client *client = q->client;
  struct mp_buf json = {0};
  struct mp_emit e = {.out = &json};
  mp_emit_begin(&e, NULL, '{');
  emit_parts(&e, q, "workers", true);
  emit_parts(&e, q, "silent", false);
  mp_emit_end(&e, '}');
  client->inquiry = NULL;
  free_inquiry(q);
  if (e.err == 0) {
    mp_control_answer(client, &json);
    return;
  }
  mp_buf_free(&json);
  mp_control_fail(client, "out of memory");
}

static void on_time_over(struct mp_timer *timer) {
  conclude(MP_CONTAINER(timer, struct mp_inquiry, timer));
}

static void settle(struct mp_inquiry *q, struct part *part, enum part_state state) {
  if (part->state != ASKED) return;
  part->state = (uint8_t)state;
  if (--q->pending == 0) conclude(q);
}

static void ask_all(struct mp_inquiry *q, struct mp_pool *pool) {
  char word[64];
  snprintf(word, sizeof word, "ask %u %s\n", q->id, q->what);
  for (unsigned i = 0; i < MP_ROSTER_SEATS; i++) {
    struct mp_member *m = pool->seats[i];
    enum mp_seat_state state = pool->roster->seat[i].state;
    if (!m || (state != MP_SEAT_SERVING && state != MP_SEAT_LEAVING)) continue;
    q->part[i] = (struct part){.state = ASKED, .slot = m->slot, .pid = m->child.proc.pid};
    q->pending++;
    mp_member_say(m, word);
  }
}

int mp_inquiry_start(struct mp_control_client *client, const char *what) {
  struct mp_pool *pool = client->control->pool;
  struct mp_inquiry *q = calloc(1, sizeof *q);
  if (!q) return -ENOMEM;
  q->client = client;
  q->what = what;
  q->id = ++client->control->last_inquiry;
  int err = mp_timer_init(&q->timer, &pool->loop.timers, on_time_over);
  if (err < 0) {
    free(q);
    return err;
  }
  client->inquiry = q;
  ask_all(q, pool);
  mp_timer_start(&q->timer, q->pending ? ANSWER_MS : 0);
  return 0;
}

static struct mp_inquiry *find(struct mp_control *control, uint32_t id) {
  MP_LIST_EACH(node, &control->clients) {
    struct mp_inquiry *q = MP_CONTAINER(node, struct mp_control_client, node)->inquiry;
    if (q && q->id == id) return q;
  }
  return NULL;
}

static void take(struct mp_inquiry *q, struct part *part, const char *text) {
  size_t len = strlen(text);
  if (part->state != ASKED) return;
  if (mp_buf_len(&part->json) + len > LARGEST || mp_buf_add(&part->json, text, len) < 0) settle(q, part, SILENT);
}

void mp_inquiry_hear(struct mp_control *control, unsigned seat, const char *word) {
  char *behind;
  bool ends = strncmp(word, "end ", 4) == 0;
  struct mp_inquiry *q = find(control, (uint32_t)strtoul(word + (ends ? 4 : 5), &behind, 10));
  if (!q || *behind != ' ') return;
  struct part *part = &q->part[seat];
  if (!ends)
    take(q, part, behind + 1);
  else
    settle(q, part, strtoull(behind + 1, NULL, 10) == mp_buf_len(&part->json) ? ANSWERED : SILENT);
}

void mp_inquiry_lost(struct mp_control *control, unsigned seat) {
  for (struct mp_list *node = control->clients.next, *next; node != &control->clients; node = next) {
    struct mp_inquiry *q = MP_CONTAINER(node, struct mp_control_client, node)->inquiry;
    next = node->next;
    if (q) settle(q, &q->part[seat], SILENT);
  }
}
