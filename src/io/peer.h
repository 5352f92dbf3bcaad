/* peer.h - who is at the other end of a connected socket, and whether it still is there. Asks the kernel, never waits.
 */
#ifndef MP_IO_PEER_H
#define MP_IO_PEER_H

#include <stdbool.h>

enum mp_peer {
  MP_PEER_THERE, /* as far as the kernel knows */
  MP_PEER_ENDED, /* it has sent its end of file: it may be half-closed, or gone without our knowing yet */
  MP_PEER_GONE   /* reset, or (on a unix socket) closed */
};

/* TCP tells a half-close from a vanished client only after something was sent to it; a unix socket tells at once. */
enum mp_peer mp_peer_state(int fd);

bool mp_peer_is_unix(int fd);

/* Bytes have come that nobody has read yet. */
bool mp_peer_has_sent(int fd);

/* When the descriptor is closed, the peer sees a reset instead of an end of file. 0 or -errno. */
int mp_peer_reset_on_close(int fd);

#endif
