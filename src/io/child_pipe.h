/* child_pipe.h - the pipes of one child; only child.c and child_pipe.c include it.
 *
 * An output pipe ends when the last writer has closed it, when its owner closes our end, or when it is cut: somebody
 * still holds the other end after `linger`, so what is in it now is all there will be. */
#ifndef MP_IO_CHILD_PIPE_H
#define MP_IO_CHILD_PIPE_H

#include "io/child.h"

/* Opens the pipes of the spec, reads what is collected, queues the input. `theirs` gets the child's ends (-1: none), to
 * be closed by the caller once the child has them. On an error the caller abandons. */
int mp_child_pipes_open(struct mp_child *child, const struct mp_child_spec *spec, int theirs[3]);
/* The child could not be started: the pipes close, and free themselves. */
void mp_child_pipes_abandon(struct mp_child *child);

/* Nothing more is waited for: every output pipe has ended, or lost its last writer and is not being read. */
bool mp_child_pipes_done(const struct mp_child *child);
/* One of them has to be looked at again: nobody reads it, so the loop will not tell of its end. */
bool mp_child_pipes_unwatched(const struct mp_child *child);
/* A writer is left. */
bool mp_child_pipes_held(const struct mp_child *child);
/* Takes what is there, and ends what is not done. Stdin is closed. */
void mp_child_pipes_finish(struct mp_child *child);

/* The callbacks that are due: on_input, and on_output of an end. */
void mp_child_pipes_tell(struct mp_child *child);

void mp_child_pipes_close(struct mp_child *child);
void mp_child_pipes_free(struct mp_child *child); /* once all are closed */

/* In child.c: what a pipe has to say to the child, on the loop. */
void mp_child_advance(struct mp_child *child);
void mp_child_over_limit(struct mp_child *child);

#endif
