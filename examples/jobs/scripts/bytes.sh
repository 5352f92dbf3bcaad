#!/bin/sh
# Writes a lot: 200 000 lines, or the number given
seq "${1:-200000}"
