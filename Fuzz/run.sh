#!/usr/bin/env bash
# Builds the fuzzer, with the options of 'swift build' that `make fuzz` gives it, and runs every target for
# FUZZ_SECONDS, from the fixtures, all past findings, and what earlier runs found worth keeping.
# FUZZ_TARGETS names some of them, or all. With FUZZ_RUNS a target ends after so many inputs too, and with
# FUZZ_SEED (not 0) they are the same every time: kept inputs are left out then.
#
# A finding ends the script with an error; it lies in Fuzz/Findings/<target>/ and is from then on an
# input of the ordinary tests.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${FUZZ_SECONDS:-30}
runs=${FUZZ_RUNS:--1}
seed=${FUZZ_SEED:-0}

build=("${SWIFT:-swift}" build "$@" --product condi-fuzz)
"${build[@]}"
program=$("${build[@]}" --show-bin-path)/condi-fuzz
work=../.build-fuzz/corpus
rm -rf "$work/seeds"
python3 make_seeds.py "$program" "$work/seeds"

# Leaks: Swift's runtime keeps what it made once.
export ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-}
fuzz() {
  local target=$1 kept=$work/kept/$1 log=$work/$1.log result=ok executions coverage
  [ "$seed" = 0 ] || { kept=$work/seeded/$target; rm -rf "$kept"; }
  mkdir -p "$kept" "Findings/$target"
  FUZZ_TARGET=$target "$program" -max_total_time="$seconds" -runs="$runs" \
    -seed="$seed" -max_len=65536 -timeout=20 -rss_limit_mb=3072 -malloc_limit_mb=1536 -print_final_stats=1 \
    -artifact_prefix="Findings/$target/" \
    "$kept" "$work/seeds/$target" "Findings/$target" >"$log" 2>&1 || result=FINDING
  rmdir --ignore-fail-on-non-empty "Findings/$target"
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
  printf '%-14s %9s executions  %6s edges  %s\n' \
    "$target" "${executions:-?}" "${coverage:-?}" "$result"
  [ $result = ok ] || { tail -40 "$log"; return 1; }
}

# As many targets at once as there are processors; each has its own folders.
status=0 running=0
for target in ${FUZZ_TARGETS:-$("$program" --list)}; do
  if [ "$running" -ge "$(nproc)" ]; then
    wait -n || status=1
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || status=1
  running=$((running - 1))
done
exit $status
