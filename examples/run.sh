#!/usr/bin/env bash
# Builds and runs an example: run.sh [NAME] [ARGUMENT...]; without a name the quick start. What it needs is installed (on Debian), and
# servers that it needs are started for it and end with it, unless DTM_POSTGRES, DTM_MYSQL_HOST or DTM_REDIS say where there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/install_packages.sh
name=quick_start
if [ $# -gt 0 ]; then
  if [ -f "examples/$1.cpp" ]; then
    name=$1
    shift
  elif [[ $1 =~ ^[a-z][a-z_]*$ ]]; then
    echo "examples/run.sh: there is no example '$1'; there are: $(cd examples && echo *.cpp | sed 's/\.cpp//g')" >&2
    exit 2
  fi
fi
packages=(g++ cmake ninja-build pkg-config nlohmann-json3-dev libcpp-httplib-dev libsqlite3-dev)
with=()
needs() {  # needs VARIABLE SCRIPT PACKAGE...
  packages+=("${@:3}")
  [ -n "${!1:-}" ] || with+=("$PWD/tools/$2")
}
case $name in
  *postgres) needs DTM_POSTGRES with_postgres.sh libpq-dev ;;
  *libpqxx) needs DTM_POSTGRES with_postgres.sh libpq-dev libpqxx-dev ;;
  *mariadb) needs DTM_MYSQL_HOST with_mariadb.sh libmariadb-dev ;;
  *soci) needs DTM_MYSQL_HOST with_mariadb.sh libmariadb-dev libsoci-dev ;;
  *redis) needs DTM_REDIS with_redis.sh libhiredis-dev ;;
  xa_two_databases)
    needs DTM_POSTGRES with_postgres.sh libpq-dev
    needs DTM_MYSQL_HOST with_mariadb.sh libmariadb-dev
    ;;
  event_loop_asio) packages+=(libboost-dev) ;;
  observe_spdlog) packages+=(libspdlog-dev) ;;
esac
[ "$name" != polyglot ] || packages+=(python3 python3-pip)
install_packages "${packages[@]}"

echo "== building (build/examples), the first time a few minutes"
cmake -S . -B build/examples -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 --log-level=WARNING
cmake --build build/examples --target "$name"
if [ "$name" = polyglot ]; then  # with dtm's own client if it can be had, else by HTTP
  python3 -m pip install -q --target build/examples/python dtmcli==1.7.7.0 >build/examples/pip.log 2>&1 || true
  export PYTHONPATH=$PWD/build/examples/python
  [ $# -gt 0 ] || set -- "$PWD/examples/polyglot.py"
fi
cd build/examples/examples  # where they leave their files
exec "${with[@]}" "./$name" "$@"
