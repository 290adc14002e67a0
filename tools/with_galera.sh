#!/usr/bin/env bash
# Runs a command beside a Galera cluster of its own, three nodes of MariaDB on the loopback, which ends with it: with_galera.sh COMMAND...
# The command gets DTM_GALERA (host:port of each node, with blanks between them), DTM_GALERA_USER (root, without a password),
# DTM_GALERA_DATABASE and DTM_GALERA_PIDS (the pid of each node). Nothing it stores is meant to survive. On Debian what is missing is installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/install_packages.sh
. "$here/install_packages.sh"
# shellcheck source=tools/free_ports.sh
. "$here/free_ports.sh"
[ $# -gt 0 ] || { echo "usage: with_galera.sh COMMAND..." >&2; exit 2; }
PATH=$PATH:/usr/sbin
provider=/usr/lib/galera/libgalera_smm.so
{ command -v mariadbd && command -v rsync && [ -f $provider ]; } >/dev/null || install_packages mariadb-server galera-4 rsync >&2
as=()  # rsync, with which a node that was away catches up, does not take root
if [ "$(id -u)" -eq 0 ]; then as=(--reuid=nobody --regid=nogroup --clear-groups); fi

home=$(mktemp -d "${TMPDIR:-/tmp}/dtm_galera_XXXXXX")
servers=() command=
end() {
  trap - EXIT
  for each in $command "${servers[@]}"; do kill -KILL "$each" 2>/dev/null || true; done
  wait "${servers[@]}" 2>/dev/null || true
  rm -rf "$home"
}
trap end EXIT
trap 'exit 143' TERM INT HUP
[ ${#as[@]} -eq 0 ] || chown nobody "$home"
small=(--innodb-log-file-size=8M --innodb-use-native-aio=0 --innodb-flush-method=nosync --debug-no-sync --skip-name-resolve)  # does not wait for the disk
# In /tmp a server that starts removes the temporary tables of others, which end by a fault then.
TMPDIR="$home" setpriv "${as[@]}" mariadb-install-db --no-defaults --datadir="$home/new" --auth-root-authentication-method=normal --skip-test-db "${small[@]}" \
  >"$home/install.log" 2>&1 || { cat "$home/install.log" >&2; exit 1; }
all_synced() {  # fails as soon as a node has ended: somebody was faster and took one of its ports
  local node
  for _ in $(seq 300); do
    for node in 0 1 2; do
      kill -0 "${servers[node]}" 2>/dev/null || return 1
      mariadb --no-defaults --socket="$home/socket$node" -u root -Ne "SHOW STATUS WHERE Variable_name = 'wsrep_cluster_size' AND Value = 3
        OR Variable_name = 'wsrep_local_state_comment' AND Value = 'Synced'" 2>/dev/null | wc -l | grep -qx 2 || break
      [ "$node" -lt 2 ] || return 0
    done
    sleep 0.1
  done
  return 1
}
state=11111111-1111-1111-1111-111111111111
for attempt in 1 2 3 4 5; do
  mapfile -t ports < <(free_ports 12)
  servers=()
  for node in 0 1 2; do
    rm -rf "${home:?}/$node"
    cp -r "$home/new" "$home/$node"
    mkdir -p "$home/tmp$node"
    # All begin with the same state, and as members of a cluster that has just lost power: so they need no copy from each other.
    printf '%s\n' "version: 2.1" "uuid: $state" "seqno: 0" "safe_to_bootstrap: 0" >"$home/$node/grastate.dat"
    printf '%s\n' "my_uuid: 0000000$node-0000-11e0-8000-000000000000" "#vwbeg" "view_id: 3 00000000-0000-11e0-8000-000000000000 1" "bootstrap: 0" \
      "member: "0000000{0,1,2}"-0000-11e0-8000-000000000000 0" "#vwend" >"$home/$node/gvwstate.dat"
    [ ${#as[@]} -eq 0 ] || chown -R nobody "$home/$node" "$home/tmp$node"
    own=("${ports[@]:node*4:4}")  # for clients, for the group, and two for what a node missed
    setpriv "${as[@]}" --pdeathsig KILL mariadbd --no-defaults "${small[@]}" --innodb-buffer-pool-size=16M --performance-schema=OFF --binlog-format=ROW \
      --innodb-autoinc-lock-mode=2 --datadir="$home/$node" --tmpdir="$home/tmp$node" --bind-address=127.0.0.1 --port="${own[0]}" --socket="$home/socket$node" --pid-file="$home/pid$node" \
      --wsrep-on=ON --wsrep-provider=$provider --wsrep-cluster-name=dtm --wsrep-node-name="$node" --wsrep-start-position=$state:0 \
      --wsrep-cluster-address="gcomm://127.0.0.1:${ports[1]},127.0.0.1:${ports[5]},127.0.0.1:${ports[9]}" --wsrep-node-address="127.0.0.1:${own[1]}" \
      --wsrep-sst-method=rsync --wsrep-sst-receive-address="127.0.0.1:${own[2]}" \
      --wsrep-provider-options="gmcast.listen_addr=tcp://127.0.0.1:${own[1]};ist.recv_addr=127.0.0.1:${own[3]};gcache.size=8M;evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S" \
      >>"$home/$node.log" 2>&1 &  # ends if this script is killed
    servers+=($!)
  done
  all_synced && break
  [ "$attempt" -lt 5 ] || { tail -n 40 "$home"/?.log >&2; exit 1; }
  for each in "${servers[@]}"; do kill -KILL "$each" 2>/dev/null || true; done
  wait "${servers[@]}" 2>/dev/null || true
done
mariadb --no-defaults --socket="$home/socket0" -u root -e "CREATE DATABASE dtm_example CHARACTER SET utf8mb4"
export DTM_GALERA="127.0.0.1:${ports[0]} 127.0.0.1:${ports[4]} 127.0.0.1:${ports[8]}" DTM_GALERA_USER=root DTM_GALERA_DATABASE=dtm_example
export DTM_GALERA_PIDS="${servers[*]}"
"$@" <&0 &
command=$!
wait "$command"
