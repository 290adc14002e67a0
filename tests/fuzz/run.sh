#!/usr/bin/env bash
# Fuzzes the targets of tests/fuzz/targets.hpp with libFuzzer (clang). What it finds new goes to build/fuzz/<target>.
#   tests/fuzz/run.sh [seconds per target] [target...]
#   tests/fuzz/run.sh merge     adds to the corpus what covers more, in as few bytes as possible
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=("$@")
[ ${#targets[@]} -eq 0 ] && targets=(request reply chunks url)
cxx=$(command -v clang++ || command -v clang++-14)
for target in "${targets[@]}"; do
  out=build/fuzz/$target
  mkdir -p "$out"
  name=${target^}
  "$cxx" -std=c++17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -DDTM_FUZZ="$name" -Iinclude -I. \
    tests/fuzz/libfuzzer.cc -o "build/fuzz/run_$target"
  echo "== $target"
  if [ "$seconds" = merge ]; then
    "build/fuzz/run_$target" -merge=1 -max_len=4096 "tests/fuzz/corpus/$target" "$out" 2>&1 | tail -2
  else
    "build/fuzz/run_$target" -max_total_time="$seconds" -max_len=4096 -dict=tests/fuzz/http.dict -artifact_prefix="$out-" \
      "$out" "tests/fuzz/corpus/$target" 2>&1 | tail -4
  fi
done
