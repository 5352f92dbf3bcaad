/* Prints the table of options as Lua: packaging/papers.lua writes the manual, the completions and the table in docs of
 * it. */
#include "cli/options.h"
#include <stdio.h>

static const char *const kinds[] = {
    [MP_OPTION_SWITCH] = "switch",   [MP_OPTION_COUNT] = "count", [MP_OPTION_CORES] = "cores",
    [MP_OPTION_SECONDS] = "seconds", [MP_OPTION_SIZE] = "size",   [MP_OPTION_SIZE32] = "size",
    [MP_OPTION_TEXT] = "text",       [MP_OPTION_PATH] = "path",   [MP_OPTION_ATOMS] = "atoms",
    [MP_OPTION_COMMAS] = "commas",   [MP_OPTION_LIST] = "list",   [MP_OPTION_LEVEL] = "level",
    [MP_OPTION_FORMAT] = "format"};

static void print_string(const char *key, const char *text) {
  if (!text) return;
  printf(" %s = \"", key);
  for (; *text; text++) printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
  printf("\",");
}

int main(void) {
  printf("return {\n");
  for (const struct mp_option *o = mp_option_table; o->name; o++) {
    printf("  {");
    print_string("name", o->name);
    print_string("kind", kinds[o->kind]);
    print_string("default", o->fallback);
    print_string("value", o->value);
    print_string("help", o->help);
    printf(" common = %s },\n", o->common ? "true" : "false");
  }
  printf("}\n");
  return 0;
}
