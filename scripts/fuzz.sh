#!/usr/bin/env bash
# Feeds the parsers of Tests/FuzzTests with anything, under AddressSanitizer: each for SECONDS, or those named.
#     scripts/fuzz.sh [SECONDS] [TARGET...]
# What breaks one lies in .build/fuzz/found; kept in Tests/FuzzTests/corpus/TARGET it is a test for ever.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls Tests/FuzzTests/corpus)

mkdir -p .build
# The first two are for SwiftPM, which links; the compiler listens to the last -sanitize alone.
VINTNER_FUZZ=1 swift build --scratch-path .build/fuzz --product fuzz --sanitize fuzzer --sanitize address \
    -Xswiftc -sanitize=fuzzer,address -Xcc -fsanitize=fuzzer-no-link,address >.build/fuzz.log 2>&1 \
    || { grep -v "ld.gold: warning" .build/fuzz.log | tail -n 30 >&2; exit 1; }

export ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no
failed=()
for target in "${targets[@]}"; do
    found=.build/fuzz/found/$target
    grown=.build/fuzz/grown/$target
    mkdir -p "$found" "$grown"
    # An answer within a second, memory of the input and 64 MiB: the sanitizer takes most of the gigabyte.
    if VINTNER_FUZZ_TARGET=$target .build/fuzz/debug/fuzz -max_total_time="$seconds" -timeout=5 \
        -rss_limit_mb=1024 -malloc_limit_mb=128 -max_len=16384 -print_final_stats=1 \
        -artifact_prefix="$found/" "$grown" "Tests/FuzzTests/corpus/$target" \
        </dev/null >".build/fuzz/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' ".build/fuzz/$target.log")
        covered=$(grep -o 'cov: [0-9]*' ".build/fuzz/$target.log" | tail -1)
        peak=$(sed -n 's/^stat::peak_rss_mb: *//p' ".build/fuzz/$target.log")
        printf '%-12s %10s inputs  %s  %s MiB\n' "$target" "$runs" "$covered" "$peak"
    else
        failed+=("$target")
        printf '%-12s FAILED; the input lies in %s\n' "$target" "$found"
        tail -n 25 ".build/fuzz/$target.log"
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "make fuzz: ${failed[*]} failed" >&2
    exit 1
fi
echo "make fuzz: nothing was found in $seconds s each"
