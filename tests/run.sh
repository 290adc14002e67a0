#!/usr/bin/env bash
# Builds everything and runs all tests; the last line is `N passed, N failed`. On Debian it installs what is missing.
#   tests/run.sh                     all configurations
#   tests/run.sh default asan        only these presets (CMakePresets.json)
#   DTM_UPSTREAM=dir tests/run.sh    also with the sources dir/cpp-httplib, dir/json and dir/Catch2 instead of the system's
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/install_packages.sh
install_packages g++ cmake ninja-build pkg-config python3 nlohmann-json3-dev libcpp-httplib-dev libsqlite3-dev libboost-dev catch2 \
  clang libclang-rt-14-dev clang-tidy-14 clang-format-14 openssl \
  libpq-dev libmariadb-dev libhiredis-dev libpqxx-dev libsoci-dev libspdlog-dev postgresql mariadb-server redis-server galera-4 rsync doxygen \
  chromium chromium-driver

presets=("$@")
if [ ${#presets[@]} -eq 0 ]; then
  presets=(default asan tsan tidy)
  [ -n "${DTM_UPSTREAM:-}" ] && presets+=(upstream)
fi

passed=0 failed=0 broken=()
step() {  # step NAME COMMAND...: a step that is not a test counts as one failure if it fails
  local name=$1
  shift
  echo "== $name"
  "$@" && return
  failed=$((failed + 1))
  broken+=("$name")
  return 1
}

for preset in "${presets[@]}"; do
  begin=$SECONDS
  sources=() run=()
  if [ "$preset" = upstream ] && [ -n "${DTM_UPSTREAM:-}" ]; then
    sources=("-DFETCHCONTENT_SOURCE_DIR_HTTPLIB=$DTM_UPSTREAM/cpp-httplib"
      "-DFETCHCONTENT_SOURCE_DIR_NLOHMANN_JSON=$DTM_UPSTREAM/json" "-DFETCHCONTENT_SOURCE_DIR_CATCH2=$DTM_UPSTREAM/Catch2")
  fi
  # With much address randomisation (Linux >= 6.6) GCC 12's thread sanitizer cannot map its memory.
  [ "$preset" = tsan ] && setarch -R true 2>/dev/null && run=(setarch -R)

  step "$preset: configure" cmake --preset "$preset" "${sources[@]}" --log-level=STATUS || continue
  step "$preset: build" "${run[@]}" cmake --build --preset "$preset" || continue
  if [ "$preset" = tidy ]; then
    passed=$((passed + 1))  # building it is the test
  else
    echo "== $preset: test"
    report=$PWD/build/$preset/tests.xml
    rm -f "$report"
    "${run[@]}" ctest --preset "$preset" --output-junit "$report" --test-output-size-passed 1000000 --test-output-size-failed 1000000
    counts=$(python3 tools/count_tests.py "$report") || counts="0 1"
    passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
  fi
  echo "== $preset: $((SECONDS - begin)) s; so far $passed passed, $failed failed"
done

[ ${#broken[@]} -gt 0 ] && printf 'failed: %s\n' "${broken[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
