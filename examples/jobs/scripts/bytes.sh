#!/bin/sh
# Writes a lot: 200 000 lines, or the number given
# takes lines?: integer 0..100000000
seq "${1:-200000}"
