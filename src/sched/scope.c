#include "sched/scope.h"

void mp_scope_init(struct mp_scope *scope, void (*on_over)(struct mp_scope *scope)) {
  *scope = (struct mp_scope){.on_over = on_over, .open = true};
  mp_list_init(&scope->members);
  mp_list_init(&scope->failed);
}

/* on_over may free the scope: nothing is touched after it. */
static void end_when_over(struct mp_scope *scope) {
  if (scope->open) return;
  if (mp_list_empty(&scope->members)) {
    if (scope->on_over) scope->on_over(scope);
    return;
  }
  if (scope->n_active > 0) return;
  MP_LIST_EACH(node, &scope->members) {
    struct mp_member *member = MP_CONTAINER(node, struct mp_member, node);
    member->left_alone(member);
  }
}

void mp_scope_join(struct mp_scope *scope, struct mp_member *member) {
  member->scope = scope;
  mp_list_append(&scope->members, &member->node);
  if (!member->left_alone) scope->n_active++;
  if (scope->cancelled) member->cancel(member);
}

void mp_scope_leave(struct mp_member *member) {
  struct mp_scope *scope = member->scope;
  if (!scope) return;
  member->scope = NULL;
  mp_list_unlink(&member->node);
  if (!member->left_alone) scope->n_active--;
  end_when_over(scope);
}

void mp_scope_close(struct mp_scope *scope) {
  scope->open = false;
  end_when_over(scope);
}

/* A member's cancel may let it leave, and others with it, but never adds: so the list is walked by moving each member
 * to a second one first. */
void mp_scope_cancel_members(struct mp_scope *scope) {
  struct mp_list asked, *node;
  bool was_open = scope->open;
  scope->open = true; /* not over while we stand in it */
  mp_list_init(&asked);
  mp_list_splice(&asked, &scope->members);
  while ((node = mp_list_pop(&asked))) {
    struct mp_member *member = MP_CONTAINER(node, struct mp_member, node);
    mp_list_append(&scope->members, node);
    member->cancel(member);
  }
  scope->open = was_open;
  end_when_over(scope);
}

void mp_scope_cancel(struct mp_scope *scope) {
  if (scope->cancelled) return;
  scope->cancelled = true;
  mp_scope_cancel_members(scope);
}
