/* options.h - one table of every option, and the settings that come of it.
 *
 *   flag --a-b  >  variable MOONPOOL_A_B  >  key a_b of the file  >  default
 *
 * The sources may be applied in any order: each setting remembers where it came from, and what ranks lower is checked
 * but not taken. A list is taken as a whole from one source. Every complaint is one sentence in `why`, which names the
 * option as its source spells it. */
#ifndef MP_CLI_OPTIONS_H
#define MP_CLI_OPTIONS_H

#include "base/buf.h"
#include "base/config.h"

enum { MP_OPTIONS_MOST = 64, MP_WHY = 512 };

enum mp_origin { MP_FROM_DEFAULT, MP_FROM_FILE, MP_FROM_VARIABLE, MP_FROM_FLAG };

enum mp_option_kind {
  MP_OPTION_SWITCH,  /* bool: on or off */
  MP_OPTION_COUNT,   /* unsigned */
  MP_OPTION_CORES,   /* unsigned; "auto": the cores we may use */
  MP_OPTION_SECONDS, /* double */
  MP_OPTION_SIZE,    /* uint64_t; K, M and G are binary */
  MP_OPTION_SIZE32,  /* unsigned; likewise */
  MP_OPTION_TEXT,    /* char *; "off" or "none": NULL */
  MP_OPTION_PATH,    /* char *: the path of a URL, from its "/"; "off" or "none": NULL */
  MP_OPTION_ATOMS,   /* char *: a format of the access log; "combined": NULL */
  MP_OPTION_COMMAS,  /* char *: a list kept as one text with commas; "none": NULL */
  MP_OPTION_LIST,    /* config->listen and n_listen, the one list of addresses */
  MP_OPTION_LEVEL,   /* enum mp_log_level */
  MP_OPTION_FORMAT   /* bool log_json: text or json */
};

struct mp_option {
  const char *name; /* "max-body" */
  enum mp_option_kind kind;
  size_t offset;        /* in struct mp_config */
  const char *fallback; /* the default as one would write it; NULL: none */
  const char *value;    /* what stands for the value in the help; NULL: a switch */
  const char *help;     /* one line */
  unsigned least, most; /* of counts; most 0: no bound but the type's */
  bool common;          /* in the short help */
  bool idle;            /* accepted and checked, but nothing acts on it in this version */
};

extern const struct mp_option mp_option_table[]; /* ended by a NULL name */

struct mp_options {
  struct mp_config config;
  unsigned char origin[MP_OPTIONS_MOST]; /* enum mp_origin, by place in the table */
  char *config_file;                     /* owned: --config, MOONPOOL_CONFIG; NULL: look in the app's folder */
  bool help, version, print_config;
};

/* Everything at its default. 0 or -ENOMEM. Give back with mp_options_free, also after an error. */
int mp_options_init(struct mp_options *o);
void mp_options_free(struct mp_options *o);

/* The option of that name, written with - or _; NULL when there is none. `len` bytes count. */
const struct mp_option *mp_option_named(const char *name, size_t len);

/* The known name nearest to a mistyped one, or NULL when none is near. */
const char *mp_option_nearest(const char *name, size_t len);

/* The name as a flag, a variable or a key of the file is spelled; written to `out`, which is returned. */
const char *mp_option_spell(const char *name, enum mp_origin from, char *out, unsigned size);

/* These return 0, -EINVAL with `why` (MP_WHY bytes), or -ENOMEM. */
int mp_options_set(struct mp_options *o, const struct mp_option *option, const char *value, enum mp_origin from,
                   char *why);
int mp_options_unset(struct mp_options *o, const struct mp_option *option); /* its default again; 0 or -ENOMEM */
int mp_options_flags(struct mp_options *o, int argc, char *const *argv, char *why); /* without program and verb */
int mp_options_variables(struct mp_options *o, char *const *envp, char *why);
int mp_options_file(struct mp_options *o, struct mp_slice lines, char *why); /* what the role `config` prints */

/* Last: defaults that hang on other settings. */
void mp_options_finish(struct mp_options *o);

/* The value as one would write it; "" for NULL. */
int mp_option_show(const struct mp_config *config, const struct mp_option *option, struct mp_buf *out);

unsigned mp_cores(void); /* that this process may use */

#endif
