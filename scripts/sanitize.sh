#!/usr/bin/env bash
# Runs the unit tests under AddressSanitizer and ThreadSanitizer, or under the one that is named.
#     scripts/sanitize.sh [address] [thread] [-- --filter TESTS]
# Optimised, which is some four times as fast as a debug build and keeps all checks but `assert`.
set -euo pipefail
cd "$(dirname "$0")/.."

kinds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do kinds+=("$1"); shift; done
shift || true
[ ${#kinds[@]} -gt 0 ] || kinds=(address thread)

# The toolchain's own clang: its runtime is the one that the tests are linked with.
toolchain=$(dirname "$(dirname "$(readlink -f "$(command -v swift)")")")
libraries=$toolchain/lib/swift/linux
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=detect_leaks=1
export LSAN_OPTIONS="suppressions=$PWD/Tests/sanitize/leak.txt"
export TSAN_OPTIONS="suppressions=$PWD/Tests/sanitize/thread.txt history_size=4 second_deadlock_stack=1"
findings='^(WARNING: ThreadSanitizer|==[0-9]+==ERROR: (Address|Leak)Sanitizer)'

# Runs something under a sanitizer: `under KIND COMMAND...`.
under() {
    local preload=()
    [ "$1" != thread ] || preload=(env "LD_PRELOAD=$PWD/.build/sanitize-thread/edges.so")
    "${preload[@]}" "${@:2}" </dev/null
}

# Fails unless the sanitizer finds what is planted and nothing in what is right: `can_find KIND WRONG [RIGHT]`.
can_find() {
    local planted=.build/sanitize-$1/planted
    "$toolchain/bin/clang" -fsanitize="$1" -O1 -g -Wall -Werror Tests/sanitize/planted.c -o "$planted" -lgomp \
        -L"$libraries" -Wl,-rpath,"$libraries" -ldispatch -lBlocksRuntime 2>"$planted.log" \
        || { cat "$planted.log" >&2; exit 1; }
    for what in "${@:2}"; do
        under "$1" "$planted" "$what" >"$planted.$what.log" 2>&1 || true
        count=$(grep -cE "$findings" "$planted.$what.log" || true)
        case $what-$count in
            ordered-0 | race-[1-9]* | overflow-[1-9]* | leak-[1-9]*) ;;
            *) echo "sanitize: $1: $count findings in a planted '$what'" >&2; exit 1 ;;
        esac
    done
}

failed=()
for kind in "${kinds[@]}"; do
    scratch=.build/sanitize-$kind
    mkdir -p "$scratch"
    if [ "$kind" = thread ]; then
        "$toolchain/bin/clang" -shared -fPIC -O1 -Wall -Werror Tests/sanitize/edges.c -o "$scratch/edges.so" -ldl
        can_find thread race ordered
    else
        can_find address overflow leak
    fi
    echo "sanitize: building for $kind (log in $scratch/build.log)"
    swift build --build-tests --scratch-path "$scratch" --sanitize "$kind" -Xswiftc -O >"$scratch/build.log" 2>&1 \
        || { grep -E 'error' "$scratch/build.log" | tail -n 20 >&2; exit 1; }
    status=0
    under "$kind" "$scratch"/debug/*.xctest --testing-library swift-testing "$@" >"$scratch/tests.log" 2>&1 || status=$?
    count=$(grep -cE "$findings" "$scratch/tests.log" || true)
    grep -E '^. Test run' "$scratch/tests.log" || true
    echo "sanitize: $kind: $count findings, exit $status (all in $scratch/tests.log)"
    [ "$count" = 0 ] && [ "$status" = 0 ] || failed+=("$kind")
done
[ ${#failed[@]} = 0 ] || { echo "sanitize: not clean: ${failed[*]}" >&2; exit 1; }
