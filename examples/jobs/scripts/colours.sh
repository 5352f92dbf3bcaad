#!/bin/sh
# Prints in colours, and redraws a line
for code in 31 32 33 34 35 36; do
  printf '\033[%sm%s\033[0m ' "$code" "colour-$code"
done
printf '\n\033[1mbold\033[0m \033[3mitalic\033[0m \033[4munderlined\033[0m\n'
i=0
while [ "$i" -le 20 ]; do
  printf '\r[%-20s] %3d %%' "$(printf '%*s' "$i" '' | tr ' ' '#')" $((i * 5))
  i=$((i + 1))
  sleep 0.1
done
printf '\n'
