#include "web/packing.h"
#include "web/conn.h"
#include <stdlib.h>

enum { SLICE = 64 * 1024, PACKED_KEPT = 64 * 1024 /* bytes of the server's buffer for packing */ };

struct packing {
  struct mp_sending base;
  struct mp_packer *packer; /* owned */
  struct mp_buf body;       /* owned: what was not packed yet */
};

static int pack_slice(struct packing *p, struct mp_exchange *ex, bool *last) {
  struct mp_slice left = mp_buf_slice(&p->body);
  struct mp_buf *packed = &ex->server->packed;
  *last = left.len <= SLICE;
  if (!*last) left.len = SLICE;
  mp_buf_reset(packed, PACKED_KEPT);
  int err = mp_packer_add(p->packer, left, *last, packed);
  if (err < 0) return err;
  mp_buf_take(&p->body, left.len);
  ex->body_sent += mp_buf_len(packed);
  return mp_reply_body(&ex->reply, mp_conn_out(ex->conn), mp_buf_slice(packed));
}

static bool step(struct mp_sending *sending) {
  struct packing *p = MP_CONTAINER(sending, struct packing, base);
  struct mp_conn *c = sending->ex->conn;
  bool last;
  if (pack_slice(p, sending->ex, &last) < 0) {
    mp_conn_close(c); /* which frees `p`; the client sees that it is broken */
    return false;
  }
  if (!last) mp_conn_flush(c);
  return last;
}

static void drop(struct mp_sending *sending) {
  struct packing *p = MP_CONTAINER(sending, struct packing, base);
  mp_packer_free(p->packer);
  mp_buf_free(&p->body);
  free(p);
}

struct mp_sending *mp_packing_new(enum mp_coding coding, struct mp_slice body) {
  struct mp_packer *none = NULL;
  struct packing *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->base.step = step;
  p->base.drop = drop;
  p->packer = mp_packer_open(coding, &none);
  if (p->packer && mp_buf_add_slice(&p->body, body) == 0) return &p->base;
  drop(&p->base);
  return NULL;
}
