/* channel_link.h - channels that threads know too; the loop's half.
 *
 *   channel ◄── number ──► stands in for it, in the Lua state of a thread (channel_far.h)
 *
 * A channel lives in the worker's state, and what a thread does with it is done by the task of its job. It has a number
 * from the first job on that carries it, and is held here as long as a job carries it or a thread's state holds it.
 * Nobody is to wait for ever for a thread that is gone: a channel is closed when the last offload that carried it has
 * ended otherwise than by returning, and when the last state that held it was thrown away. */
#ifndef MP_API_CHANNEL_LINK_H
#define MP_API_CHANNEL_LINK_H

#include "api/job.h"

void mp_links_init(struct mp_job *job);    /* fills in job->carrier */
void mp_links_settle(struct mp_job *job);  /* its thread is done with it: counts what it has adopted and sent */
void mp_links_abandon(struct mp_job *job); /* its task has ended: should it not have returned, closes what it carried */
void mp_links_drop(struct mp_job *job);    /* it carries nothing any more */

/* A state lets go of one; `thrown_away`: the state itself ends. */
void mp_link_released(struct mp_api *api, uint64_t number, bool thrown_away);

#endif
