/* exchange.h - what the two halves of an exchange share: its life (exchange.c) and its answer (answer.c). */
#ifndef MP_WEB_EXCHANGE_H
#define MP_WEB_EXCHANGE_H

#include "web/server.h"

/* exchange.c */
void mp_exchange_record(struct mp_exchange *ex, bool whole); /* its answer has ended: on_over, once */
void mp_exchange_stop_sending(struct mp_exchange *ex);
void mp_exchange_tell_later(struct mp_exchange *ex);

/* answer.c */
int mp_exchange_may_write(const struct mp_exchange *ex); /* 0, or what a write would say */
void mp_exchange_drop_packer(struct mp_exchange *ex);

#endif
