#!/bin/sh
# Says hello, and exits 27
echo "hello from process $$"
echo "this line went to stderr" >&2
exit 27
