/* robust.h - a lock in memory that processes share, which survives the death of whoever holds it.
 *
 * The next one to take it is told, and is the one to repair what the dead may have left half done. A lock belongs to
 * the thread that has taken it. */
#ifndef MP_BASE_ROBUST_H
#define MP_BASE_ROBUST_H

#include <pthread.h>

int mp_robust_init(pthread_mutex_t *lock); /* 0 or -errno */

/* Both: 0; or -EOWNERDEAD: it is held now, as after 0, but its last holder died with it: repair what it guards, then
 * call mp_robust_repaired. Dying in the middle of that is no harm: the next one is told again. */
int mp_robust_lock(pthread_mutex_t *lock, unsigned most_ms); /* or -ETIMEDOUT: its holder lives, and does not go on */
int mp_robust_try(pthread_mutex_t *lock);                    /* or -EBUSY */

void mp_robust_repaired(pthread_mutex_t *lock);
void mp_robust_unlock(pthread_mutex_t *lock);

#endif
