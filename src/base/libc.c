#include "base/libc.h"
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int mp_signal_thread(pid_t tid, int signo, void *pointer) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = pointer;
  return syscall(SYS_rt_tgsigqueueinfo, info.si_pid, tid, signo, &info) < 0 ? -errno : 0;
}

void mp_memory_trim(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

#ifndef __GLIBC__

const char *strerrorname_np(int err) {
#define E(name) [name] = #name
  static const char *const names[] = {
      E(EPERM),
      E(ENOENT),
      E(ESRCH),
      E(EINTR),
      E(EIO),
      E(ENXIO),
      E(E2BIG),
      E(ENOEXEC),
      E(EBADF),
      E(ECHILD),
      E(EAGAIN),
      E(ENOMEM),
      E(EACCES),
      E(EFAULT),
      E(ENOTBLK),
      E(EBUSY),
      E(EEXIST),
      E(EXDEV),
      E(ENODEV),
      E(ENOTDIR),
      E(EISDIR),
      E(EINVAL),
      E(ENFILE),
      E(EMFILE),
      E(ENOTTY),
      E(ETXTBSY),
      E(EFBIG),
      E(ENOSPC),
      E(ESPIPE),
      E(EROFS),
      E(EMLINK),
      E(EPIPE),
      E(EDOM),
      E(ERANGE),
      E(EDEADLK),
      E(ENAMETOOLONG),
      E(ENOLCK),
      E(ENOSYS),
      E(ENOTEMPTY),
      E(ELOOP),
      E(ENOMSG),
      E(EIDRM),
      E(ECHRNG),
      E(EL2NSYNC),
      E(EL3HLT),
      E(EL3RST),
      E(ELNRNG),
      E(EUNATCH),
      E(ENOCSI),
      E(EL2HLT),
      E(EBADE),
      E(EBADR),
      E(EXFULL),
      E(ENOANO),
      E(EBADRQC),
      E(EBADSLT),
      E(EBFONT),
      E(ENOSTR),
      E(ENODATA),
      E(ETIME),
      E(ENOSR),
      E(ENONET),
      E(ENOPKG),
      E(EREMOTE),
      E(ENOLINK),
      E(EADV),
      E(ESRMNT),
      E(ECOMM),
      E(EPROTO),
      E(EMULTIHOP),
      E(EDOTDOT),
      E(EBADMSG),
      E(EOVERFLOW),
      E(ENOTUNIQ),
      E(EBADFD),
      E(EREMCHG),
      E(ELIBACC),
      E(ELIBBAD),
      E(ELIBSCN),
      E(ELIBMAX),
      E(ELIBEXEC),
      E(EILSEQ),
      E(ERESTART),
      E(ESTRPIPE),
      E(EUSERS),
      E(ENOTSOCK),
      E(EDESTADDRREQ),
      E(EMSGSIZE),
      E(EPROTOTYPE),
      E(ENOPROTOOPT),
      E(EPROTONOSUPPORT),
      E(ESOCKTNOSUPPORT),
      E(EOPNOTSUPP),
      E(EPFNOSUPPORT),
      E(EAFNOSUPPORT),
      E(EADDRINUSE),
      E(EADDRNOTAVAIL),
      E(ENETDOWN),
      E(ENETUNREACH),
      E(ENETRESET),
      E(ECONNABORTED),
      E(ECONNRESET),
      E(ENOBUFS),
      E(EISCONN),
      E(ENOTCONN),
      E(ESHUTDOWN),
      E(ETOOMANYREFS),
      E(ETIMEDOUT),
      E(ECONNREFUSED),
      E(EHOSTDOWN),
      E(EHOSTUNREACH),
      E(EALREADY),
      E(EINPROGRESS),
      E(ESTALE),
      E(EUCLEAN),
      E(ENOTNAM),
      E(ENAVAIL),
      E(EISNAM),
      E(EREMOTEIO),
      E(EDQUOT),
      E(ENOMEDIUM),
      E(EMEDIUMTYPE),
      E(ECANCELED),
      E(ENOKEY),
      E(EKEYEXPIRED),
      E(EKEYREVOKED),
      E(EKEYREJECTED),
      E(EOWNERDEAD),
      E(ENOTRECOVERABLE),
      E(ERFKILL),
      E(EHWPOISON),
  };
#undef E
  if (err == 0) return "0";
  return err > 0 && err < (int)(sizeof names / sizeof *names) ? names[err] : NULL;
}

const char *strerrordesc_np(int err) {
  return err == 0 ? "Success" : strerrorname_np(err) ? strerror(err) : NULL;
}

const char *sigabbrev_np(int signo) {
#define S(name) [SIG##name] = #name
  static const char *const names[] = {
      S(HUP),  S(INT),  S(QUIT), S(ILL),    S(TRAP),   S(ABRT),  S(BUS),  S(FPE),  S(KILL), S(USR1), S(SEGV),
      S(USR2), S(PIPE), S(ALRM), S(TERM),   S(STKFLT), S(CHLD),  S(CONT), S(STOP), S(TSTP), S(TTIN), S(TTOU),
      S(URG),  S(XCPU), S(XFSZ), S(VTALRM), S(PROF),   S(WINCH), S(POLL), S(PWR),  S(SYS),
  };
#undef S
  return signo > 0 && signo < (int)(sizeof names / sizeof *names) ? names[signo] : NULL;
}

/* The kernel takes the place in two halves, and on 64 bits ignores the second. */
ssize_t preadv2(int fd, const struct iovec *to, int n, off_t at, int flags) {
  return syscall(SYS_preadv2, fd, to, n, (long)at, (long)((uint64_t)at >> 32), flags);
}

#endif
