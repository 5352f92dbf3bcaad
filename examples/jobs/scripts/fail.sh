#!/bin/sh
# Ends by a signal, as a crash would: ABRT, or the one given
# takes signal?: one of ABRT SEGV BUS FPE ILL TRAP KILL TERM INT HUP QUIT PIPE SYS USR1 USR2
echo "about to be killed by SIG${1:-ABRT}"
kill -s "${1:-ABRT}" $$
