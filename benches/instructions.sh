#!/usr/bin/env bash
# Counts the instructions of a meta-iteration under valgrind and compares them with benches/instructions.tsv.
# Unlike a time, a count hardly depends on the machine or its load. Valgrind does not support AVX-512, so the AVX2
# kernels are counted. Fails if a workload takes over 5 % more instructions than expected, or over 10 % more with a
# compiler other than the table's, which may generate different code.
#
#   cargo build --release && benches/instructions.sh [--update]
set -euo pipefail
cd "$(dirname "$0")/.."

table=benches/instructions.tsv
binary=${CARGO_TARGET_DIR:-target}/release/innerloop
rustc=$(rustc --version)
# A workload and two numbers of iterations: the difference of their counts excludes set-up.
cases=("W1-1 5 25" "W1-5 2 10" "S1 1 4")

skip() {
  echo "instruction counts skipped: $1"
  exit 0
}

update=false
case "${1:-}" in
  "") ;;
  --update) update=true ;;
  *) echo "usage: benches/instructions.sh [--update]" >&2; exit 2 ;;
esac

margin=5
if ! $update; then
  expected_rustc=$(sed -n 's/^# //p' "$table" | head -n 1)
  if [ "$rustc" != "$expected_rustc" ]; then
    margin=10
    echo "the table was made with $expected_rustc, this is $rustc: allowing $margin % instead of 5 %"
  fi
fi
[ "$(uname -m)" = x86_64 ] || skip "the table is for x86-64"
grep -qw avx2 /proc/cpuinfo || skip "this machine has no AVX2"
if ! command -v valgrind >/dev/null; then
  (apt-get update && apt-get install -y valgrind) >/dev/null 2>&1 || skip "valgrind cannot be installed"
fi

# Instructions of the whole process for a workload and a number of iterations.
count() {
  local report
  report=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    "$binary" bench --workload "$1" --repetitions "$2" --threads 1 --json 2>&1) || {
    echo "$report" >&2
    return 1
  }
  sed -n 's/.*Collected : *//p' <<<"$report"
}

counts=()
failed=false
for case in "${cases[@]}"; do
  read -r workload few many <<<"$case"
  first=$(count "$workload" "$few")
  second=$(count "$workload" "$many")
  # In thousands: hash seeds and the digits of printed times make smaller differences.
  now=$(((second - first) / (many - few) / 1000))
  counts+=("$workload"$'\t'"$now")
  $update && continue
  expected=$(awk -F '\t' -v workload="$workload" '$1 == workload { print $2 }' "$table")
  if [ -z "$expected" ]; then
    echo "$workload: $now thousand instructions, but none expected; run benches/instructions.sh --update" >&2
    failed=true
    continue
  fi
  change=$(awk -v now="$now" -v expected="$expected" 'BEGIN { printf "%+.2f", 100 * (now / expected - 1) }')
  echo "$workload: $now thousand instructions per iteration, $change % against $expected"
  if ((now * 100 > expected * (100 + margin))); then
    echo "$workload takes over $margin % more instructions than expected" >&2
    failed=true
  elif ((now * 100 < expected * (100 - margin))); then
    echo "$workload takes over $margin % fewer instructions: run benches/instructions.sh --update and commit $table"
  fi
done

if $update; then
  {
    echo "# $rustc"
    echo "# Thousands of instructions per meta-iteration, written by benches/instructions.sh --update"
    printf '%s\n' "${counts[@]}"
  } >"$table"
  cat "$table"
elif $failed; then
  exit 1
fi
