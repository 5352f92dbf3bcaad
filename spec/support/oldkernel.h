/* oldkernel.h - a process for which the kernel lacks what it has learnt in the last years: a seccomp filter answers as
 * an older one would. All that it starts lacks it too. */
#ifndef MP_SPEC_OLDKERNEL_H
#define MP_SPEC_OLDKERNEL_H

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* What can be taken away, since when there is it, and how an older kernel answers. */
static const struct lack {
  const char *name;
  int call, arg;        /* arg -1: whatever the arguments; else the one that is looked at */
  uint32_t mask, value; /* arg & mask == value */
  int answer;
} lacks[] = {
    {"clone_pidfd", SYS_clone, 0, 0x1000, 0x1000, EINVAL},        /* 5.2 */
    {"pidfd_open", 434, -1, 0, 0, ENOSYS},                        /* 5.3 */
    {"pidfd_send_signal", 424, -1, 0, 0, ENOSYS},                 /* 5.1 */
    {"waitid_pidfd", SYS_waitid, 0, UINT32_MAX, 3, EINVAL},       /* 5.4 */
    {"close_range", 436, -1, 0, 0, ENOSYS},                       /* 5.9 */
    {"openat2", 437, -1, 0, 0, ENOSYS},                           /* 5.6 */
    {"pidfd_info", SYS_ioctl, 1, UINT32_MAX, 0xC040FF0B, ENOTTY}, /* 6.13, with the exit status 6.15 */
};
enum { N_LACKS = sizeof lacks / sizeof *lacks };

static int lack_named(const char *name) {
  for (int i = 0; i < N_LACKS; i++)
    if (strcmp(lacks[i].name, name) == 0) return i;
  return -1;
}

/* 0 or -1 and errno. `bits`: of lacks. */
static int become_old(unsigned bits) {
  struct sock_filter code[6 * N_LACKS + 1];
  unsigned short n = 0;
  for (int i = 0; i < N_LACKS; i++) {
    const struct lack *l = &lacks[i];
    if (!(bits >> i & 1)) continue;
    unsigned char skip = l->arg < 0 ? 1 : 4;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)l->call, 0, skip);
    if (l->arg >= 0) {
      code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                               (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)l->arg));
      code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, l->mask);
      code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, l->value, 0, 1);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)l->answer);
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {n, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

#endif
