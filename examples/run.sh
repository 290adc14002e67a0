#!/usr/bin/env bash
# Builds and runs the quick start; arguments go to it. On Debian it installs what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/install_packages.sh
install_packages g++ cmake ninja-build pkg-config nlohmann-json3-dev libcpp-httplib-dev libsqlite3-dev

echo "== building (build/examples)"
cmake -S . -B build/examples -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O1 --log-level=WARNING
cmake --build build/examples --target quick_start
exec build/examples/examples/quick_start "$@"
