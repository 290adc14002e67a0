#!/usr/bin/env bash
# Three dtm-server on one PostgreSQL, under load, one killed every two seconds: cluster.sh [--seconds N] [--rate N] [--seed N].
# What it needs is installed (on Debian); the database is a private one, which ends with it. Takes half a minute, once it is built.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/install_packages.sh
install_packages g++ cmake ninja-build pkg-config nlohmann-json3-dev libcpp-httplib-dev libsqlite3-dev libpq-dev postgresql python3
echo "== building dtm-server (build/examples), the first time a minute or two"
cmake -S . -B build/examples -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 --log-level=WARNING
cmake --build build/examples --target dtm-server
exec tools/with_postgres.sh python3 examples/cluster.py build/examples/examples/dtm-server "$@"
