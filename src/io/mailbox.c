#include "io/mailbox.h"
#include <pthread.h>
#include <stdlib.h>

struct mp_mailbox {
  pthread_mutex_t lock;
  struct mp_list posts; /* under the lock, as the next */
  bool closed;
  uv_async_t async;
  struct mp_loop *loop; /* borrowed until closed */
  atomic_uint count;
};

static void run_posts(struct mp_mailbox *box) {
  struct mp_list posts, *node;
  mp_list_init(&posts);
  pthread_mutex_lock(&box->lock);
  mp_list_splice(&posts, &box->posts);
  pthread_mutex_unlock(&box->lock);
  while ((node = mp_list_pop(&posts))) {
    struct mp_post *post = MP_CONTAINER(node, struct mp_post, node);
    post->run(post);
  }
}

/* A post may close the box, whose handle then lasts until the loop has closed it. */
static void on_async(uv_async_t *async) {
  struct mp_mailbox *box = async->data;
  mp_loop_woke(box->loop);
  run_posts(box);
}

struct mp_mailbox *mp_mailbox_open(struct mp_loop *loop) {
  struct mp_mailbox *box = calloc(1, sizeof *box);
  if (!box) return NULL;
  if (pthread_mutex_init(&box->lock, NULL) != 0) goto fail;
  if (uv_async_init(&loop->uv, &box->async, on_async) < 0) goto fail_lock;
  box->async.data = box;
  box->loop = loop;
  mp_list_init(&box->posts);
  atomic_init(&box->count, 1);
  return box;
fail_lock:
  pthread_mutex_destroy(&box->lock);
fail:
  free(box);
  return NULL;
}

struct mp_mailbox *mp_mailbox_keep(struct mp_mailbox *box) {
  atomic_fetch_add_explicit(&box->count, 1, memory_order_relaxed);
  return box;
}

void mp_mailbox_drop(struct mp_mailbox *box) {
  if (atomic_fetch_sub_explicit(&box->count, 1, memory_order_acq_rel) > 1) return;
  pthread_mutex_destroy(&box->lock);
  free(box);
}

bool mp_mailbox_post(struct mp_mailbox *box, struct mp_post *post) {
  pthread_mutex_lock(&box->lock);
  bool open = !box->closed, first = mp_list_empty(&box->posts);
  if (open) {
    mp_list_append(&box->posts, &post->node);
    if (first) uv_async_send(&box->async); /* within the lock: afterwards the handle may be closing */
  }
  pthread_mutex_unlock(&box->lock);
  return open;
}

static void on_async_closed(uv_handle_t *handle) {
  mp_mailbox_drop(handle->data);
}

void mp_mailbox_close(struct mp_mailbox *box) {
  pthread_mutex_lock(&box->lock);
  box->closed = true;
  pthread_mutex_unlock(&box->lock);
  run_posts(box);
  uv_close((uv_handle_t *)&box->async, on_async_closed);
}
