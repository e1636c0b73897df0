#!/usr/bin/env bash
# Trains LeNet-5 on Fashion-MNIST over HTTP, with nothing but curl, and shows what came of it and what it cost.
#
#   scripts/demo.sh BINARY
#
# On a terminal the dashboard stays open until Enter; elsewhere the demo ends by itself.
set -euo pipefail
binary=${1:?usage: scripts/demo.sh BINARY}
here=$(cd "$(dirname "$0")" && pwd)
home=$(mktemp -d "${TMPDIR:-/tmp}/vintner-demo.XXXXXX")
data=$home/data
server=

stop() {
    if [ -n "$server" ] && kill -0 "$server" 2> /dev/null; then
        kill -TERM "$server"
        wait "$server" || true
    fi
    rm -rf "$home"
}
trap stop EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo: $1" >&2
    [ ! -s "$home/log" ] || tail -20 "$home/log" >&2
    exit 1
}

bold=
plain=
if [ -t 1 ]; then
    bold=$(printf '\033[1m')
    plain=$(printf '\033[0m')
fi
say() { printf '%s%s%s\n' "$bold" "$1" "$plain"; }

say "1. Start the service"
"$binary" serve --data "$data" --port 0 > "$home/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    grep -q 'listening on' "$home/log" && break
    kill -0 "$server" 2> /dev/null || fail "the service did not start"
    sleep 0.1
done
address=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$home/log" | head -1)
[ -n "$address" ] || fail "the service does not listen"
token=$(cat "$data/token")
call() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $token" "$@"; }
memory=$(awk '/VmRSS/ {printf "%.0f", $2 / 1000}' "/proc/$server/status")
echo "   $address, $memory MB of memory while idle"
echo

say "2. Post a job"
job='{"type": "train", "name": "fashion-lenet", "dataset": "fashion-mnist",
 "model": {"preset": "lenet5_caffe"},
 "train": {"epochs": 5, "batch_size": 64,
           "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005},
           "lr_schedule": {"name": "cosine"}}}'
# shellcheck disable=SC2001
echo "   curl $address/v1/jobs -d '$(echo "$job" | sed 's/^/   /' | sed '1s/^ *//')'"
reply=$(call --header 'Content-Type: application/json' --data "$job" "$address/v1/jobs") \
    || fail "the job was not accepted: $reply"
id=$(jq -r .id <<< "$reply")
echo "   -> $id"
echo

say "3. Watch it train"
dashboard=$(sed -n 's/.*dashboard: \([^ ]*\).*/\1/p' "$home/log" | head -1)
echo "   Dashboard (this address signs in once): $dashboard"
shown=-1
while true; do
    reply=$(call "$address/v1/jobs/$id?wait=1&since=$(jq .version <<< "$reply")") || fail "lost the job: $reply"
    line=$(jq -r '
        def two: tostring | if length < 2 then "0" + . else . end;
        def clock: if . == null then "-:--" else round | "\(. / 60 | floor):\(. % 60 | two)" end;
        def round4: if . == null then "-" else . * 10000 | round | . / 10000 | tostring end;
        (.progress.fraction * 30 | floor) as $done
        | "[" + ("#" * $done // "") + ("." * (30 - $done) // "") + "] \(.state)"
        + "  epoch \(.progress.epoch)/\(.progress.epochs)  loss \(.summary.train_loss.last | round4)"
        + "  \(.progress.samples_per_second // 0 | round) samples/s"
        + "  \(.progress.eta_seconds | clock) left"' <<< "$reply")
    tenth=$(jq '.progress.fraction * 10 | floor' <<< "$reply")
    if [ -t 1 ]; then
        printf '\r   %s\033[K' "$line"
    elif [ "$tenth" -ne "$shown" ]; then
        printf '   %s\n' "$line"
    fi
    shown=$tenth
    [ "$(jq .is_terminal <<< "$reply")" = false ] || break
done
[ ! -t 1 ] || echo
[ "$(jq -r .state <<< "$reply")" = succeeded ] || fail "the job $(jq -rc '.state, .error' <<< "$reply")"
echo

say "4. What came of it"
call "$address/v1/jobs/$id/metrics?series=train_loss,val_loss&max_points=1000" | python3 "$here/curve.py"
echo
jq -r '
    def fixed(digits): pow(10; digits) as $unit | . * $unit | round | . / $unit | tostring;
    .result.report as $report | .resources as $used
    | "   test accuracy   \($report.test_accuracy * 100 | fixed(2)) %",
      "   time            \($used.wall_seconds | fixed(1)) s",
      "   CPU time        \($used.cpu_seconds | fixed(1)) s",
      "   peak memory     \($used.peak_memory_bytes / 1e6 | fixed(0)) MB",
      "   energy          \($used.joules | fixed(0)) J (method: \($used.energy_method))",
      "   model           \(.result.model_id)"' <<< "$reply"
echo

if [ -t 0 ] && [ -t 1 ] && [ -z "${CI:-}" ]; then
    echo "   The dashboard stays open at $address; its token is in $data/token"
    read -r -p "   Press Enter to stop the service. " _ || true
fi
kill -TERM "$server"
wait "$server" && code=0 || code=$?
server=
[ "$code" -eq 0 ] || fail "the service ended with $code"
say "The service has stopped cleanly."
