#!/bin/sh
# Prints its arguments, one a line, as they arrived
echo "$# arguments"
i=1
for argument; do
  printf '%d: [%s]\n' "$i" "$argument"
  i=$((i + 1))
done
