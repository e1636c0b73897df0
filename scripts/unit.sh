#!/usr/bin/env bash
# Runs the unit tests; where some fail, says at the end which and why, so that a log's last lines tell.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p .build
log=.build/unit.log
if swift test "$@" 2>&1 | tee "$log"; then exit 0; fi
echo
echo "What failed (all of it in $log):"
grep -A 1 -E 'recorded an issue|error:|Fatal error|crashed' "$log" | grep -vE '^(--|◇|✔)' | cut -c 1-300 | head -n 24
exit 1
