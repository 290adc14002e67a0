#!/usr/bin/env bash
# Measures: builds the preset `release`, runs the benchmarks (at most 5 minutes), prints each result as a JSON line and
# all of them as tables. On Debian it installs what is missing. Nothing else should use the machine and its disk.
#   bench/run.sh                        all
#   bench/run.sh barrier                only this, on SQLite, and on PostgreSQL, MariaDB and Redis beside the Go client, which it builds if it can
#   bench/run.sh in_process             only these: barrier, barrier_servers, in_process, in_transaction, large_file, lists, start_up, stores, url_calls, http
#   bench/run.sh stores                 stores that coordinators share, on PostgreSQL and MariaDB; over HTTP beside the Go server on the same databases
#   bench/run.sh http                   beside the Go server on boltdb and Redis, which it builds and installs if it can
#   bench/run.sh --save FILE            also append the JSON lines to FILE, behind one that says when and what was measured
#   bench/run.sh --folder DIR           where the store files are (default: the build directory); a real disk
set -euo pipefail
save="" folder="" names=()
while [ $# -gt 0 ]; do
  case $1 in
    --save | --folder)
      [ $# -ge 2 ] || { echo "$1 needs a value; see the head of $0" >&2; exit 2; }
      path=$(realpath -m -- "$2")
      if [ "$1" = --save ]; then save=$path; else folder=$path; fi
      shift 2 ;;
    -*) echo "$0 does not know $1; it knows --save FILE, --folder DIR and names of benchmarks" >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done
cd "$(dirname "$0")/.."

known=()
for source in bench/*.cpp; do known+=("$(basename "$source" .cpp)"); done
[ ${#names[@]} -gt 0 ] || names=("${known[@]}")
for name in "${names[@]}"; do
  [ -f "bench/$name.cpp" ] || { echo "There is no benchmark $name; there are: ${known[*]}" >&2; exit 2; }
done

if [[ " ${names[*]} " = *" barrier "* && " ${names[*]} " != *" barrier_servers "* ]]; then names+=(barrier_servers); fi

# Over HTTP too, on the same servers.
targets=("${names[@]/#/bench_}")
if [[ " ${names[*]} " = *" stores "* ]]; then targets+=(bench_http); fi

mkdir -p "${folder:=$PWD/build/release}"
disk=$(stat -f -c %T "$folder")
case $disk in
  tmpfs | ramfs) echo "$folder is in memory ($disk); give a folder on a real disk with --folder" >&2; exit 2 ;;
esac

load=$(cut -d' ' -f1 /proc/loadavg)  # before our own build
. tools/install_packages.sh
install_packages g++ cmake ninja-build pkg-config python3 nlohmann-json3-dev libcpp-httplib-dev libsqlite3-dev
if [[ " ${names[*]} " = *" barrier_servers "* ]]; then install_packages libpq-dev libmariadb-dev libhiredis-dev; fi
if [[ " ${names[*]} " = *" stores "* ]]; then install_packages libpq-dev libmariadb-dev postgresql mariadb-server; fi
echo "== building (build/release)"
cmake --preset release --log-level=WARNING >/dev/null
cmake --build --preset release --target "${targets[@]}" | tail -n 1

compare=() go=
if [[ " ${names[*]} " = *" http "* || " ${names[*]} " = *" stores "* ]]; then
  if go=$(tools/go_dtm.sh); then
    compare+=(--go "$go")
    command -v redis-server >/dev/null || (install_packages redis-server) || true
    if command -v redis-server >/dev/null; then compare+=(--redis redis-server)
    else echo "== WARNING: no redis-server, so http compares with the Go server on boltdb only" >&2; fi
  else
    echo "== WARNING: no Go server, so http measures ours alone" >&2
  fi
fi

go_bank=()
if [[ " ${names[*]} " = *" barrier_servers "* ]]; then
  if python3 tests/interop/run.py --build build/release/interop --prepare go; then go_bank=("$PWD/build/release/interop/go_bank")
  else echo "== WARNING: no Go client, so barrier_servers measures ours alone" >&2; fi
fi

folder=$(mktemp -d "$folder/bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
echo "== store files in $folder ($disk), $(nproc) processors"
echo "== the numbers mean something only on a quiet machine with a quiet disk"
if awk "BEGIN { exit !($load > 0.5) }"; then
  echo "== WARNING: the load average was $load at the start (above 0.5); something else was running" >&2
fi
sync  # what the build wrote

# Servers that keep what is committed through a loss of power, with room for the connections of the Go server.
durable=(env "DTM_POSTGRES_SETTINGS=fsync = on
shared_buffers = 128MB
max_connections = 600"
  "DTM_MYSQL_OPTIONS=--innodb-flush-log-at-trx-commit=1 --innodb-flush-method=fsync --skip-debug-no-sync --innodb-buffer-pool-size=128M --innodb-log-file-size=96M --max-connections=600")

results=$folder/results.jsonl failed=0
deadline=$((SECONDS + 290))
: >"$results"
for name in "${names[@]}"; do
  left=$((deadline - SECONDS))
  [ "$left" -gt 0 ] || left=1
  start=() arguments=(3 "$folder") program=build/release/bench/bench_$name
  case $name in
    lists) arguments=(1000000 10000 "$folder") ;;
    start_up) arguments=(40 "$folder") ;;  # there it is a limit
    barrier_servers) start=(tools/with_postgres.sh tools/with_mariadb.sh tools/with_redis.sh) arguments=(20 "$folder" "${go_bank[@]}") ;;
    stores) start=("${durable[@]}" tools/with_postgres.sh tools/with_mariadb.sh) program=bench/stores.sh arguments=("$folder" "$go") ;;
    http) arguments=(5 "$folder" "${compare[@]}") ;;
  esac
  timeout --kill-after=5 "$left" "${start[@]}" "$program" "${arguments[@]}" | tee -a "$results" && continue
  echo "== $name failed or took too long" >&2
  failed=1
done

python3 bench/table.py "$results"
if [ -n "$save" ]; then
  commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
  {
    printf '{"bench":"run","time":"%s","commit":"%s","processors":%s,"disk":"%s","load":%s}\n' \
      "$(date -u +%FT%TZ)" "$commit" "$(nproc)" "$disk" "$load"
    cat "$results"
  } >>"$save"
  echo && echo "== appended to $save"
fi
exit "$failed"
