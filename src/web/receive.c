/* Bodies of known length whose rest goes from the socket to where it is wanted, without a stop in between. */
#include "web/conn.h"

bool mp_exchange_receive_into(struct mp_exchange *ex, struct mp_buf *into) {
  if (ex->head.body != MP_BODY_LENGTH || ex->body_done || !ex->wants_body) return false;
  if (ex->body.left > UINT32_MAX || !mp_buf_room(into, (size_t)ex->body.left)) return false;
  ex->into = into;
  return true;
}

/* Not while bytes wait that were read before these, nor for who does not wait any more. */
char *mp_conn_lend(struct mp_stream *stream, size_t *room) {
  struct mp_conn *c = MP_CONTAINER(stream, struct mp_conn, stream);
  struct mp_exchange *ex = c->ex;
  if (!ex || !ex->into || !ex->wants_body || ex->body_done || !mp_conn_handling(c) || mp_buf_len(&c->in)) return NULL;
  *room = (size_t)ex->body.left;
  return mp_buf_room(ex->into, *room);
}

bool mp_conn_received(struct mp_conn *c, const char *bytes, size_t n) {
  struct mp_exchange *ex = c->ex;
  if (!ex || !ex->into || !ex->into->mem || bytes != ex->into->mem + ex->into->end) return false;
  mp_buf_grew(ex->into, n);
  ex->continued = true;
  ex->body_done = mp_body_pass(&ex->body, n) == MP_DONE;
  return true;
}
