/* self.h - the file that this program was started from: by /proc, or where there is none, by the name that the kernel
 * was given, if it was a whole one. */
#ifndef MP_BASE_SELF_H
#define MP_BASE_SELF_H

const char *mp_self_path(void); /* lasts as long as the process */

#endif
