#!/usr/bin/env bash
# Makes the real dtm server, written in Go, once, and prints the path of the binary.
# It is an ordinary Go dependency: a module of our own requires github.com/dtm-labs/dtm and builds its command. All is
# kept in ${XDG_CACHE_HOME:-~/.cache}/dtm-cpp; the first time takes some minutes.
# Needs: Go >= 1.19 (on Debian it is installed if missing).
set -euo pipefail

package=github.com/dtm-labs/dtm
version=v1.19.0

cache=${XDG_CACHE_HOME:-$HOME/.cache}/dtm-cpp
binary=$cache/dtm-$version
if [ ! -x "$binary" ]; then
  if ! command -v go >/dev/null; then
    . "$(dirname "${BASH_SOURCE[0]}")/install_packages.sh"
    install_packages golang >&2
    command -v go >/dev/null || { echo "Go is missing. Please install Go >= 1.19, so that there is a command go." >&2; exit 1; }
  fi
  echo "== building $package $version (some minutes, once)" >&2
  # A directory of its own for each build and a rename at the end: two at once do not disturb each other, and what was
  # interrupted is not found.
  mkdir -p "$cache"
  module=$(mktemp -d "$cache/module.XXXXXX")
  trap 'rm -rf "$module"' EXIT
  cd "$module"
  printf 'module dtm_server\n\ngo 1.19\n\nrequire %s %s\n' "$package" "$version" >go.mod
  # -mod=mod: what else it needs is not listed above. GOTOOLCHAIN: the Go that is there will do, do not fetch another.
  GOTOOLCHAIN=local go build -mod=mod -buildvcs=false -o dtm "$package" >&2
  mv dtm "$binary"
fi
echo "$binary"
