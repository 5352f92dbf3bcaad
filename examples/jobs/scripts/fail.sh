#!/bin/sh
# Ends by a signal, as a crash would: ABRT, or the one given
echo "about to be killed by SIG${1:-ABRT}"
kill -s "${1:-ABRT}" $$
