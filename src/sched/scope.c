#include "sched/scope.h"

void mp_scope_init(struct mp_scope *scope, void (*on_over)(struct mp_scope *scope)) {
  *scope = (struct mp_scope){.on_over = on_over, .open = true};
  mp_list_init(&scope->members);
  mp_list_init(&scope->failed);
}

/* Each member is told once, though it may leave meanwhile, and others with it. Should the scope be cancelled while its
 * members are told that they are left alone, those still untold are cancelled. */
static void tell_all(struct mp_scope *scope, bool cancels) {
  struct mp_list untold, *node;
  bool within = scope->asking, cancelled = scope->cancelled;
  mp_list_init(&untold);
  mp_list_splice(&untold, &scope->members);
  scope->asking = true;
  while ((node = mp_list_pop(&untold))) {
    struct mp_member *member = MP_CONTAINER(node, struct mp_member, node);
    mp_list_append(&scope->members, node);
    (cancels || scope->cancelled != cancelled ? member->cancel : member->left_alone)(member);
  }
  scope->asking = within;
}

/* on_over may free the scope: nothing is touched after it. */
static void end_when_over(struct mp_scope *scope) {
  if (scope->open || scope->asking || scope->over) return;
  if (scope->n_active == 0 && !mp_list_empty(&scope->members)) tell_all(scope, false);
  if (!mp_list_empty(&scope->members)) return;
  scope->over = true;
  if (scope->on_over) scope->on_over(scope);
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

void mp_scope_cancel_members(struct mp_scope *scope) {
  if (scope->over) return;
  tell_all(scope, true);
  end_when_over(scope);
}

void mp_scope_cancel(struct mp_scope *scope) {
  if (scope->cancelled) return;
  scope->cancelled = true;
  mp_scope_cancel_members(scope);
}
