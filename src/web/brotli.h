/* brotli.h - brotli's encoder, found when it is first wanted: it is larger than the rest of the server, and many never
 * need it. Built with MOONPOOL_BROTLI_STATIC it is part of the executable, and nothing is looked for. */
#ifndef MP_WEB_BROTLI_H
#define MP_WEB_BROTLI_H

#include <brotli/encode.h>

/* What is used of it, each without its prefix. */
#define MP_BROTLI_FUNCTIONS(X)                                                                                         \
  X(CompressStream)                                                                                                    \
  X(CreateInstance)                                                                                                    \
  X(DestroyInstance)                                                                                                   \
  X(HasMoreOutput)                                                                                                     \
  X(IsFinished)                                                                                                        \
  X(SetParameter)

#define MP_BROTLI_MEMBER(name) __typeof__(BrotliEncoder##name) *(name);
struct mp_brotli {
  MP_BROTLI_FUNCTIONS(MP_BROTLI_MEMBER)
};
#undef MP_BROTLI_MEMBER

/* NULL: it is not there, or is no use. Looks once in a process; any thread may ask. */
const struct mp_brotli *mp_brotli(void);

#endif
