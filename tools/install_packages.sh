# Sourced by examples/run.sh and tests/run.sh. Installs what is missing; downloads nothing if nothing is.

# install_packages NAME...   Debian package names; elsewhere it only says what is needed.
install_packages() {
  local missing lock sudo=()
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    require_tools "$@"
    return
  fi
  [ -z "$(missing_packages "$@")" ] && return
  # Tests that run side by side may want the same: one installs, the other finds it there.
  exec {lock}<"${BASH_SOURCE[0]}"
  flock "$lock"
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -eq 0 ] && exec {lock}<&- && return
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "These packages are missing: ${missing[*]}. Neither root nor sudo is at hand; run as root: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    sudo=(sudo)
  fi
  echo "== installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null {lock}<&- || {
    echo "apt-get could not install: ${missing[*]}. See its message above." >&2
    exit 1
  }
  exec {lock}<&-
}

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'install ok installed' || echo "$package"
  done
}

# Systems without apt: name the missing tools; missing libraries are named by CMake.
require_tools() {
  local tool missing=()
  for tool in cmake ninja pkg-config python3 c++; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} -eq 0 ] && return
  cat >&2 <<EOF
Missing: ${missing[*]}. This script installs packages only on Debian and its relatives. Please install:
  a C++17 compiler, CMake >= 3.25, Ninja, pkg-config, Python 3, SQLite >= 3.35, nlohmann-json >= 3.10.5, cpp-httplib, Catch2
  Fedora:  dnf install gcc-c++ cmake ninja-build pkgconf-pkg-config python3 sqlite-devel json-devel cpp-httplib-devel catch-devel clang
  Arch:    pacman -S gcc cmake ninja pkgconf python sqlite nlohmann-json cpp-httplib catch2 clang
  macOS:   brew install cmake ninja pkg-config python sqlite nlohmann-json cpp-httplib catch2
(The Debian names are: $*)
EOF
  exit 1
}
