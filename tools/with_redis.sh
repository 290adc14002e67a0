#!/usr/bin/env bash
# Runs a command beside a Redis server of its own, which ends with it: with_redis.sh COMMAND...
# The command gets DTM_REDIS (127.0.0.1:port), DTM_REDIS_PID (the file with its pid) and DTM_REDIS_START (a shell command that starts the server
# again, if the command ended it). The server listens on the loopback; nothing it stores is meant to survive a power loss,
# but with its append-only file it survives its own end. On Debian what is missing is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/install_packages.sh
. "$here/install_packages.sh"
# shellcheck source=tools/free_ports.sh
. "$here/free_ports.sh"
[ $# -gt 0 ] || { echo "usage: with_redis.sh COMMAND..." >&2; exit 2; }
command -v redis-server >/dev/null || install_packages redis-server >&2

home=$(mktemp -d "${TMPDIR:-/tmp}/dtm_redis_XXXXXX")
server= command=
end() {
  trap - EXIT
  pid=$(cat "$home/pid" 2>/dev/null || true)  # another one than we started, if the command restarted it
  for each in $command $server $pid; do kill "$each" 2>/dev/null || true; done
  for _ in $(seq 100); do { [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; } || break; sleep 0.02; done
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  rm -rf "$home"
}
trap end EXIT
trap 'exit 143' TERM INT HUP
for attempt in 1 2 3 4 5; do
  port=$(free_ports 1)
  cat >"$home/conf" <<END
bind 127.0.0.1
port $port
dir $home
pidfile $home/pid
save ""
appendonly yes
appendfsync no
loglevel warning
logfile $home/log
END
  setpriv --pdeathsig TERM redis-server "$home/conf" >>"$home/log" 2>&1 &  # ends if this script is killed
  server=$!
  for _ in $(seq 200); do
    [ "$(redis-cli -p "$port" ping 2>/dev/null || true)" = PONG ] && [ "$(cat "$home/pid" 2>/dev/null)" = "$server" ] && break 2
    kill -0 "$server" 2>/dev/null || break  # somebody was faster and took the port
    sleep 0.02
  done
  [ "$attempt" -lt 5 ] || { cat "$home/log" >&2; exit 1; }
done
export DTM_REDIS=127.0.0.1:$port DTM_REDIS_PID=$home/pid
export DTM_REDIS_START="exec setpriv --pdeathsig TERM redis-server '$home/conf' >>'$home/log' 2>&1"
"$@" <&0 &
command=$!
wait "$command"
