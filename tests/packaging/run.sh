#!/usr/bin/env bash
# Uses dtm as other projects do: add_subdirectory, find_package and pkg-config of an installed copy.
# Usage: run.sh BUILD_DIRECTORY   (what is installed comes from there)
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "packaging: $*"; exit 1; }

cmake --install "$build" --prefix "$work/installed" >/dev/null || fail "cmake --install failed"

use() {  # use NAME CMAKE_ARGUMENTS...: configures, builds and runs the consumer
  local name=$1
  shift
  cmake -S "$source/tests/packaging" -B "$work/$name" -G Ninja "$@" >"$work/log" 2>&1 &&
    cmake --build "$work/$name" >"$work/log" 2>&1 && "$work/$name/consumer" >>"$work/log" 2>&1 ||
    { cat "$work/log"; fail "a consumer with $name failed"; }
  echo "$name: works"
}
use find_package -DCMAKE_PREFIX_PATH="$work/installed"
use add_subdirectory -DDTM_SOURCE="$source"
# What does not use HTTP must not depend on it.
if command -v ldd >/dev/null && ldd "$work/find_package/consumer_core" | grep -E 'httplib|sqlite3'; then
  fail "a program that links dtm::core depends on the libraries above"
fi

flags=$(PKG_CONFIG_PATH=$work/installed/share/pkgconfig pkg-config --cflags --libs dtm) || fail "pkg-config does not find dtm"
# shellcheck disable=SC2086
"${CXX:-c++}" -std=c++17 "$source/tests/packaging/consumer.cpp" $flags -o "$work/consumer" && "$work/consumer" ||
  fail "a consumer with pkg-config failed"
echo "pkg-config: works"
