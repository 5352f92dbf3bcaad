#include "http/bytes.h"
#include "http/gate.h"

static void note_connection(struct mp_framing *framing, struct mp_slice value) {
  struct mp_slice option;
  while (mp_list_next(&value, &option)) {
    if (mp_slice_is_nocase(option, MP_SLICE("close")))
      framing->close = true;
    else if (mp_slice_is_nocase(option, MP_SLICE("keep-alive")))
      framing->keep_alive = true;
  }
}

static void note_expect(struct mp_framing *framing, struct mp_slice value) {
  struct mp_slice what;
  while (mp_list_next(&value, &what)) {
    if (mp_slice_is_nocase(what, MP_SLICE("100-continue")))
      framing->expects = true;
    else
      framing->expects_else = true;
  }
}

/* Lengths tell most fields apart, the first byte nearly all of the rest. */
void mp_framing_note(struct mp_framing *framing, struct mp_slice name, struct mp_slice value) {
  switch (name.len) {
  case 4:
    if (mp_token_is(name.at, "host", 4)) framing->host = value, framing->hosts++;
    break;
  case 6:
    if (mp_token_is(name.at, "expect", 6)) note_expect(framing, value);
    break;
  case 10:
    if (mp_token_is(name.at, "connection", 10)) note_connection(framing, value);
    break;
  case 14:
    if (mp_token_is(name.at, "content-length", 14)) framing->length = value, framing->lengths++;
    break;
  case 17:
    if (mp_token_is(name.at, "transfer-encoding", 17)) framing->coding = value, framing->codings++;
    break;
  default:
    break;
  }
}

/* On 1.1 exactly one, on 1.0 at most one; an absolute target overrides a good one (RFC 9112 3.2). It may be empty where
 * the target has no authority. */
static enum mp_verdict judge_host(const struct mp_framing *framing, struct mp_head *head, struct mp_refusal *why) {
  if (framing->hosts > 1) return mp_refuse(why, 400, "more than one Host");
  if (framing->hosts == 0) return head->minor == 0 ? MP_DONE : mp_refuse(why, 400, "no Host");
  if (framing->host.len > 0 && !mp_authority_is_valid(framing->host)) return mp_refuse(why, 400, "bad Host");
  if (!head->host.at) head->host = framing->host;
  return MP_DONE;
}

/* A coding before a final chunked is one we do not have; any other end leaves the length unknown (RFC 9112 6.1, 6.3).
 */
static enum mp_verdict refuse_coding(struct mp_slice value, struct mp_refusal *why) {
  struct mp_slice coding;
  bool chunked = false;
  while (mp_list_next(&value, &coding)) {
    if (chunked) return mp_refuse(why, 400, "chunked is not the final transfer coding");
    chunked = mp_slice_is_nocase(coding, MP_SLICE("chunked"));
    if (!chunked && !mp_is_token(coding)) return mp_refuse(why, 400, "malformed Transfer-Encoding");
  }
  return chunked ? mp_refuse(why, 501, "transfer coding before chunked")
                 : mp_refuse(why, 400, "chunked is not the final transfer coding");
}

static enum mp_verdict judge_coding(const struct mp_framing *framing, struct mp_head *head, struct mp_refusal *why) {
  if (framing->codings > 1) return mp_refuse(why, 400, "more than one Transfer-Encoding");
  if (head->minor == 0) return mp_refuse(why, 400, "Transfer-Encoding on HTTP/1.0");
  if (framing->lengths > 0) return mp_refuse(why, 400, "Transfer-Encoding beside Content-Length");
  if (!mp_slice_is_nocase(framing->coding, MP_SLICE("chunked"))) return refuse_coding(framing->coding, why);
  head->body = MP_BODY_CHUNKED;
  return MP_DONE;
}

static enum mp_verdict judge_body(const struct mp_framing *framing, struct mp_head *head, struct mp_refusal *why) {
  if (framing->codings > 0) return judge_coding(framing, head, why);
  if (framing->lengths > 1) return mp_refuse(why, 400, "more than one Content-Length");
  if (framing->lengths == 0) return MP_DONE;
  if (!mp_decimal(framing->length, &head->content_length)) return mp_refuse(why, 400, "bad Content-Length");
  if (head->content_length > 0) head->body = MP_BODY_LENGTH;
  return MP_DONE;
}

enum mp_verdict mp_framing_judge(const struct mp_framing *framing, struct mp_head *head, struct mp_refusal *why) {
  enum mp_verdict verdict = judge_host(framing, head, why);
  if (verdict == MP_DONE) verdict = judge_body(framing, head, why);
  if (verdict != MP_DONE) return verdict;
  head->keep_alive = !framing->close && (head->minor == 1 || framing->keep_alive);
  if (head->minor == 0) return MP_DONE; /* Expect of a 1.0 client is not heeded (RFC 9110 10.1.1) */
  if (framing->expects_else) return mp_refuse(why, 417, "unknown expectation");
  head->expect_continue = framing->expects && head->body != MP_BODY_NONE;
  return MP_DONE;
}
