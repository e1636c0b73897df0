#!/usr/bin/env bash
# Runs the unit tests under AddressSanitizer and ThreadSanitizer, or under the one that is named.
#     scripts/sanitize.sh [address] [thread] [-- --filter TESTS]
set -euo pipefail
cd "$(dirname "$0")/.."

kinds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do kinds+=("$1"); shift; done
shift || true
[ ${#kinds[@]} -gt 0 ] || kinds=(address thread)

# The toolchain's own clang: its runtime is the one that the tests are linked with.
clang=$(dirname "$(readlink -f "$(command -v swift)")")/clang
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=detect_leaks=0
export TSAN_OPTIONS="suppressions=$PWD/Tests/sanitize/thread.txt history_size=4 second_deadlock_stack=1"
failed=()
for kind in "${kinds[@]}"; do
    scratch=.build/sanitize-$kind
    mkdir -p "$scratch"
    echo "sanitize: building for $kind (log in $scratch/build.log)"
    swift build --build-tests --scratch-path "$scratch" --sanitize "$kind" >"$scratch/build.log" 2>&1 \
        || { grep -E 'error' "$scratch/build.log" | tail -n 20 >&2; exit 1; }
    preload=()
    if [ "$kind" = thread ]; then
        "$clang" -shared -fPIC -O1 -Wall -Werror Tests/sanitize/edges.c -o "$scratch/edges.so" -ldl
        preload=(env "LD_PRELOAD=$PWD/$scratch/edges.so")
    fi
    status=0
    "${preload[@]}" "$scratch"/debug/*.xctest --testing-library swift-testing "$@" \
        >"$scratch/tests.log" 2>&1 </dev/null || status=$?
    findings=$(grep -cE '^(WARNING: ThreadSanitizer|==[0-9]+==ERROR: AddressSanitizer)' "$scratch/tests.log" || true)
    grep -E '^. Test run' "$scratch/tests.log" || true
    echo "sanitize: $kind: $findings findings, exit $status (all in $scratch/tests.log)"
    [ "$findings" = 0 ] && [ "$status" = 0 ] || failed+=("$kind")
done
[ ${#failed[@]} = 0 ] || { echo "sanitize: not clean: ${failed[*]}" >&2; exit 1; }
