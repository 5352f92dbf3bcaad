#!/bin/sh
# Counts slowly: to 10, or to the number given
# takes number?: integer 1..100000
to=${1:-10}
i=1
while [ "$i" -le "$to" ]; do
  echo "$i of $to"
  i=$((i + 1))
  sleep 0.3
done
