/* show.h - settings as people and as other processes read them. */
#ifndef MP_CLI_SHOW_H
#define MP_CLI_SHOW_H

#include "cli/options.h"
#include "pool/pool.h"

void mp_show_help(void);                        /* a screen: the verbs and the options one needs first */
void mp_show_bundle_help(const char *name);     /* of a bundle */
void mp_show_options(void);                     /* all of them */
int mp_show_config(const struct mp_options *o); /* each key, its value, and where it came from; 0 or -ENOMEM */

/* What a worker of these settings is started with; takes configuration and identity over, leaving zeroes. NULL: no
 * memory. */
struct mp_plan *mp_plan_of(struct mp_options *o, struct mp_identity *identity);

#endif
