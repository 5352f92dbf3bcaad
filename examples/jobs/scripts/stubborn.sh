#!/bin/sh
# Ignores TERM and starts a child that does too: cancel it and see both go
trap 'echo "TERM? no."' TERM
(trap '' TERM; while :; do sleep 1; done) &
echo "process $$ with child $!"
while :; do
  echo "still here"
  sleep 1
done
