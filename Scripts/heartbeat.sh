#!/usr/bin/env bash
# Runs a command and says every ten seconds that it still runs, unless a terminal shows what it does.
# Usage: heartbeat.sh COMMAND [ARGUMENT...]
set -euo pipefail

[ ! -t 1 ] || exec "$@"

interval=${HEARTBEAT_SECONDS-10}
# The pause holds no pipe open, so that a reader of this output sees its end at once.
while sleep "$interval" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
  echo "   … $SECONDS s"
done &
beat=$!
trap 'kill "$beat" 2>/dev/null || true' EXIT
"$@"
