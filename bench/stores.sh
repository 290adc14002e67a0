#!/usr/bin/env bash
# What bench/run.sh stores runs beside the servers of tools/with_*.sh: stores.sh FOLDER [GO_SERVER]
set -euo pipefail
folder=$1 go=${2:-}
build/release/bench/bench_stores 5
compare=()
if [ -n "$go" ]; then  # its tables, by its own scripts
  sqls=$(go env GOMODCACHE)/github.com/dtm-labs/dtm@v1.19.0/sqls
  psql -q "$DTM_POSTGRES" -f "$sqls/dtmsvr.storage.postgres.sql" >"$folder/psql.log" 2>&1
  mariadb --no-defaults -S "$DTM_MYSQL_SOCKET" -u root <"$sqls/dtmsvr.storage.mysql.sql"
  compare=(--go "$go")
fi
exec build/release/bench/bench_http 5 "$folder" --databases --types saga --connections 64 "${compare[@]}"
