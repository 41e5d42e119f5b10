#!/bin/sh
# zig-ar.sh: the archiver that belongs to zig-cc.sh.
exec "$PREBAKE_ZIG" ar "$@"
