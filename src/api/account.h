/* account.h - what the log and the app hear of a process's end.
 * One line for each that failed, timed out or died by a signal. One that failed and that nobody waits for, is an error
 * that nobody took when its scope is over: until then somebody may still ask how it ended. */
#ifndef MP_API_ACCOUNT_H
#define MP_API_ACCOUNT_H

#include "api/process.h"

void mp_account_init(struct mp_process *p);
void mp_account_settled(struct mp_process *p); /* while it is still a member of its scope */
void mp_account_taken(struct mp_process *p);   /* somebody asks how it ended, or has it ended */

#endif
