/* mailbox.h - how other threads reach a loop: what they post is run on it, in order.
 *
 * It is counted, so that a thread may keep it for longer than the loop lives: then what is posted is refused. */
#ifndef MP_IO_MAILBOX_H
#define MP_IO_MAILBOX_H

#include "io/thread.h"

struct mp_mailbox;

/* On the loop's thread. NULL: out of memory or descriptors. */
struct mp_mailbox *mp_mailbox_open(struct mp_loop *loop);
/* On the loop's thread: what lies in it is run at once, nothing else will be. Gives up the opener's count. */
void mp_mailbox_close(struct mp_mailbox *box);

/* From any thread; who has a count may make another one. */
struct mp_mailbox *mp_mailbox_keep(struct mp_mailbox *box);
void mp_mailbox_drop(struct mp_mailbox *box);
/* False: it was closed, and the post is the caller's still. Else `run` follows on the loop, and the post's memory must
 * last until then. */
bool mp_mailbox_post(struct mp_mailbox *box, struct mp_post *post);

#endif
