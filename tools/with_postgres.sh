#!/usr/bin/env bash
# Runs a command beside a PostgreSQL server of its own, which ends with it: with_postgres.sh COMMAND...
# The command gets DTM_POSTGRES (what to connect with, a conninfo of libpq), DTM_POSTGRES_DATA (the data directory, with
# postmaster.pid) and DTM_POSTGRES_START (a shell command that starts the server again, if the command ended it). The server listens on the loopback and on a socket in a temporary directory; nothing it stores is meant
# to survive a power loss, unless DTM_POSTGRES_SETTINGS (lines of postgresql.conf) say so. On Debian what is missing is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/install_packages.sh
. "$here/install_packages.sh"
# shellcheck source=tools/free_ports.sh
. "$here/free_ports.sh"
[ $# -gt 0 ] || { echo "usage: with_postgres.sh COMMAND..." >&2; exit 2; }
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
if [ -z "$bin" ] && ! command -v initdb >/dev/null; then
  install_packages postgresql >&2
  bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
fi
PATH=$bin:$PATH
as=()  # PostgreSQL does not run as root
if [ "$(id -u)" -eq 0 ]; then as=(--reuid=nobody --regid=nogroup --clear-groups); fi

home=$(mktemp -d "${TMPDIR:-/tmp}/dtm_postgres_XXXXXX")
data=$home/data
server= command=
end() {
  trap - EXIT
  pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null || true)  # another one than we started, if the command restarted it
  [ -z "$command" ] || kill "$command" 2>/dev/null || true
  [ -z "$pid" ] || kill -INT "$pid" 2>/dev/null || true
  for _ in $(seq 100); do { [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; } || break; sleep 0.05; done
  rm -rf "$home"
}
trap end EXIT
trap 'exit 143' TERM INT HUP
[ ${#as[@]} -eq 0 ] || chown nobody "$home"
setpriv "${as[@]}" initdb -D "$data" -U dtm -A trust -E UTF8 --locale=C --no-sync --no-instructions >"$home/initdb.log" 2>&1 ||
  { cat "$home/initdb.log" >&2; exit 1; }
for attempt in 1 2 3 4 5; do
  port=$(free_ports 1)
  cat >"$data/postgresql.auto.conf" <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$home'
max_connections = 100
max_prepared_transactions = 100
fsync = off
shared_buffers = 16MB
log_min_messages = fatal
${DTM_POSTGRES_SETTINGS:-}
END
  setpriv "${as[@]}" --pdeathsig INT postgres -D "$data" >>"$home/server.log" 2>&1 &  # ends if this script is killed
  server=$!
  for _ in $(seq 200); do
    pg_isready -q -h "$home" -p "$port" && break 2
    kill -0 "$server" 2>/dev/null || break  # somebody was faster and took the port
    sleep 0.05
  done
  [ "$attempt" -lt 5 ] || { cat "$home/server.log" >&2; exit 1; }
done
export DTM_POSTGRES="host=$home port=$port user=dtm dbname=postgres" DTM_POSTGRES_DATA=$data
export DTM_POSTGRES_START="exec setpriv ${as[*]} '$(command -v postgres)' -D '$data' >>'$home/server.log' 2>&1"
"$@" <&0 &
command=$!
wait "$command"
