/* Feeds files to a fuzz target, without a fuzzer: what was found once stays found. Arguments are files and folders. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int feed_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END) < 0) {
    perror(path);
    exit(1);
  }
  long len = ftell(file);
  uint8_t *bytes = malloc(len > 0 ? (size_t)len : 1);
  rewind(file);
  if (len < 0 || !bytes || fread(bytes, 1, (size_t)len, file) != (size_t)len) {
    perror(path);
    exit(1);
  }
  (void)fclose(file);
  fprintf(stderr, "%s\n", path);
  LLVMFuzzerTestOneInput(bytes, (size_t)len);
  free(bytes);
  return 1;
}

static int feed(const char *path) {
  DIR *dir = opendir(path);
  struct dirent *entry;
  int n = 0;
  if (!dir) return feed_file(path);
  while ((entry = readdir(dir))) {
    char below[4096];
    if (entry->d_name[0] == '.') continue;
    snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
    n += feed_file(below);
  }
  closedir(dir);
  return n;
}

int main(int argc, char **argv) {
  int n = 0;
  for (int i = 1; i < argc; i++) n += feed(argv[i]);
  fprintf(stderr, "%d inputs\n", n);
  return n > 0 ? 0 : 1;
}
