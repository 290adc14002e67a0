#!/usr/bin/env bash
# Runs a command beside a MariaDB server of its own, which ends with it: with_mariadb.sh COMMAND...
# The command gets DTM_MYSQL_HOST (127.0.0.1), DTM_MYSQL_PORT, DTM_MYSQL_SOCKET, DTM_MYSQL_USER (root, without a password),
# DTM_MYSQL_DATABASE, DTM_MYSQL_PID (a file) and DTM_MYSQL_START (a shell command that starts the server again, if the command ended
# it). What is committed survives a kill of the server, but no power loss, unless the options DTM_MYSQL_OPTIONS of mariadbd say so. On Debian what is missing is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/install_packages.sh
. "$here/install_packages.sh"
# shellcheck source=tools/free_ports.sh
. "$here/free_ports.sh"
[ $# -gt 0 ] || { echo "usage: with_mariadb.sh COMMAND..." >&2; exit 2; }
PATH=$PATH:/usr/sbin
command -v mariadbd >/dev/null || install_packages mariadb-server >&2
user=()
if [ "$(id -u)" -eq 0 ]; then user=(--user=root); fi

home=$(mktemp -d "${TMPDIR:-/tmp}/dtm_mariadb_XXXXXX")
server= command=
end() {
  trap - EXIT
  [ -z "$command" ] || kill "$command" 2>/dev/null || true
  pid=$(cat "$home/pid" 2>/dev/null || true)  # another one than we started, if the command restarted it
  [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null || true
  for _ in $(seq 200); do { [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; } || break; sleep 0.05; done
  rm -rf "$home"
}
trap end EXIT
trap 'exit 143' TERM INT HUP
mkdir "$home/tmp"  # in /tmp a server that starts removes the temporary tables of others
# Without waiting for the disk, which takes seconds.
new=(--innodb-log-file-size=8M --innodb-use-native-aio=0 --innodb-flush-method=nosync --debug-no-sync --skip-name-resolve)
small=("${new[@]}" --innodb-buffer-pool-size=16M --innodb-flush-log-at-trx-commit=2 --skip-log-bin --performance-schema=OFF)
TMPDIR="$home/tmp" mariadb-install-db --no-defaults "${user[@]}" --datadir="$home/data" --auth-root-authentication-method=normal --skip-test-db \
  "${new[@]}" >"$home/install.log" 2>&1 || { cat "$home/install.log" >&2; exit 1; }
for attempt in 1 2 3 4 5; do
  port=$(free_ports 1)
  # shellcheck disable=SC2206  # words
  start=(mariadbd --no-defaults "${user[@]}" "${small[@]}" ${DTM_MYSQL_OPTIONS:-} --datadir="$home/data" --tmpdir="$home/tmp" --bind-address=127.0.0.1 --port="$port" --socket="$home/socket"
    --pid-file="$home/pid" --log-error="$home/server.log")
  setpriv --pdeathsig TERM "${start[@]}" >>"$home/server.log" 2>&1 &  # ends if this script is killed
  server=$!
  for _ in $(seq 400); do
    mariadb-admin --no-defaults --socket="$home/socket" -u root ping >/dev/null 2>&1 && break 2
    kill -0 "$server" 2>/dev/null || break  # somebody was faster and took the port
    sleep 0.05
  done
  [ "$attempt" -lt 5 ] || { cat "$home/server.log" >&2; exit 1; }
done
mariadb --no-defaults --socket="$home/socket" -u root -e "CREATE DATABASE dtm_example CHARACTER SET utf8mb4"
export DTM_MYSQL_HOST=127.0.0.1 DTM_MYSQL_PORT=$port DTM_MYSQL_SOCKET=$home/socket DTM_MYSQL_USER=root DTM_MYSQL_DATABASE=dtm_example
export DTM_MYSQL_PID=$home/pid DTM_MYSQL_START="exec ${start[*]} >>'$home/server.log' 2>&1"
"$@" <&0 &
command=$!
wait "$command"
