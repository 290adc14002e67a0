#!/usr/bin/env bash
# Uses dtm in every way there is to get it, each time in small programs that run a saga to its end: core.cpp (neither
# SQLite nor HTTP), client.cpp (no SQLite; its coordinator is the installed dtm-server), embedded.cpp (no HTTP),
# everything.cpp; and one for each driver of a database, which finds no server. A program that links what it does not use fails.
#   run.sh BUILD_DIRECTORY                     installs from there; what it makes is in its folder packaging/
#   DTM_UPSTREAM=dir run.sh BUILD_DIRECTORY    again with dir/cpp-httplib and dir/json instead of the system's
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
build=$(cd "$1" && pwd)
upstream=${DTM_UPSTREAM:+$(cd "$DTM_UPSTREAM" && pwd)}
work=$build/packaging
rm -rf "$work"
mkdir -p "$work"
cd "$work"

warnings="-Wall -Wextra -Wconversion -Wshadow -Werror"
version=$(sed -n 's/.*kVersion = "\(.*\)".*/\1/p' "$source/include/dtm/base/version.hpp")
linker=-Wl,--no-as-needed  # else it leaves out by itself what we want to see
standard=17
never='brotli|libz'  # libraries that no program may link
ccache=$(command -v ccache || true)

# Ways run two at a time; each has a log, and one that fails leaves the file `failed`.
ways=()
way() {  # way NAME COMMAND...
  while [ "$(jobs -rp | wc -l)" -gt 2 ]; do wait -n || true; done  # dtm-server is the third
  name=$1
  "${@:2}" &
  ways+=($!)
}
log() { "$@" >>"$work/$name.log" 2>&1; }
fail() { touch failed; [ ! -e "$name.log" ] || tail -n 100 "$name.log"; echo "packaging: $name: $*"; exit 1; }

runs() {  # runs PROGRAM...: they end well, and link nothing that they do not use
  local program unused
  for program in "$@"; do
    # shellcheck disable=SC2046
    (cd "$name" && log "./$program" $([ "$program" = client ] && echo "$server")) || fail "$program failed"
    unused=$never
    case $program in
      core) unused+='|sqlite|httplib|ssl|crypto' ;;
      client) unused+='|sqlite|httplib|ssl|crypto' ;;
      embedded | compiled) unused+='|httplib|ssl|crypto' ;;
      postgres) unused+='|sqlite|httplib|ssl|crypto|maria|mysql|hiredis' ;;
      mysql) unused+='|sqlite|httplib|ssl|crypto|libpq|hiredis' ;;
      redis) unused+='|sqlite|httplib|ssl|crypto|libpq|maria|mysql' ;;
    esac
    log readelf -d "$name/$program"
    readelf -d "$name/$program" | grep NEEDED | grep -E "$unused" && fail "$program links what it does not use"
  done
  echo "$name ($*; C++$standard): works"
}

project() {  # project "PROGRAMS" CMAKE_ARGUMENTS...: with CMake
  log cmake -S "$here" -B "$name" -G Ninja -DCMAKE_CXX_FLAGS="$warnings" -DCMAKE_CXX_STANDARD="$standard" \
    -DCMAKE_EXE_LINKER_FLAGS=$linker -DCMAKE_CXX_COMPILER_LAUNCHER="$ccache" -DDTM_VERSION="$version" "${@:2}" ||
    fail "cmake failed"
  # shellcheck disable=SC2086
  log cmake --build "$name" -j 1 --target $1 || fail "the build failed"
  # shellcheck disable=SC2086
  runs $1
}

plain() {  # plain PROGRAM "FLAGS" [SECOND]: by the compiler alone, with a second file: one of here, or one that includes that header
  local file files=("$here/$1.cpp") objects=()
  mkdir "$name"
  case ${3:-} in
    *.cpp) files+=("$here/$3") ;;
    ?*) echo "#include <$3>" >"$name/second.cpp" && files+=("$name/second.cpp") ;;
  esac
  for file in "${files[@]}"; do
    objects+=("$name/$(basename "$file").o")
    # shellcheck disable=SC2086
    log $ccache "${CXX:-c++}" -std=c++$standard $warnings $2 -I"$here" -c "$file" -o "${objects[-1]}" ||
      fail "$1 does not compile"
  done
  # shellcheck disable=SC2086
  log "${CXX:-c++}" $linker "${objects[@]}" $2 -o "$name/$1" || fail "$1 does not link"
  runs "$1"
}

install() {  # install BUILD_DIRECTORY PREFIX
  name=$2
  log cmake --install "$1" --prefix "$work/$2" || fail "cmake --install failed"
}

flags_of() {  # flags_of PREFIX MODULE: what pkg-config says of a module that was installed there
  PKG_CONFIG_PATH=$work/$1/share/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH} pkg-config --cflags --libs "$2"
}

python3 "$here/recipes.py"
install "$build" installed
: >server.log  # the background makes it late on a busy machine
installed/bin/dtm-server --db server.db --listen 127.0.0.1:0 >server.log 2>&1 &
pid=$!
trap 'kill $pid' EXIT
server=
for _ in {1..100}; do
  server=$(sed -n 's/.* is ready at \([^ ,]*\).*/\1/p' server.log)
  [ -n "$server" ] && break
  sleep 0.1
done
[ -n "$server" ] || { cat server.log; echo "packaging: the installed dtm-server does not start"; exit 1; }
drivers=$PWD/no_drivers  # for pkg-config: a machine without them
mkdir "$drivers"
for file in $(pkg-config --variable pc_path pkg-config | tr : '\n' | sed 's|$|/*.pc|'); do
  case $file in */libpq.pc | */libmariadb.pc | */mysqlclient.pc | */hiredis*.pc | *\*.pc) ;; *) ln -sf "$file" "$drivers" ;; esac
done
way find_package project "core client embedded everything postgres mysql redis" -DDTM_FROM=find_package -DCMAKE_PREFIX_PATH="$work/installed"
name=plain  # what somebody gets who builds without options: what a user runs
log cmake -S "$source" -B plain -G Ninja -DDTM_FETCH_DEPS=OFF || fail "cmake failed"
built=$(cmake --build plain -- -t commands all | sed -n '/ -c /!s/.* -o \([^ ]*\) .*/\1/p' | sort | tr '\n' ' ')
# Debian 12 has no OpenTelemetry.
expected=$({ cd "$source/examples" && for file in *.cpp; do echo "examples/${file%.cpp}"; done
  for file in server/*.cpp; do echo "examples/dtm-server-$(basename "$file" .cpp).so"; done; echo tool/dtm; } |
  sed 's|^examples/server$|examples/dtm-server|; /trace_opentelemetry$/d' | sort | tr '\n' ' ')
grep -q Catch2 plain/CMakeCache.txt && fail "it looks for Catch2 without building tests"
[ "$built" = "$expected" ] || fail "cmake --build builds $built; expected are $expected"
standard=20
way add_subdirectory project everything -DDTM_FROM=add_subdirectory -DDTM_SOURCE="$source"
standard=17
name=find_package_no_drivers
(export PKG_CONFIG_LIBDIR=$drivers && log cmake -S "$here" -B "$name" -G Ninja -DDTM_VERSION="$version" -DDTM_FROM=find_package -DDTM_DRIVERS=OFF \
  -DCMAKE_PREFIX_PATH="$work/installed") || fail "find_package does not say what is missing"
PKG_CONFIG_LIBDIR=$drivers way FetchContent project "embedded compiled" -DDTM_DRIVERS=OFF -DDTM_FROM=FetchContent -DFETCHCONTENT_SOURCE_DIR_DTM="$source"
name=pkg-config
flags=$(flags_of installed dtm-core) && [[ $flags != *" -l"* ]] || fail "dtm-core links a library: $flags"
flags=$(flags_of installed dtm-client) && [[ $flags != *httplib* && $flags != *sqlite* ]] || fail "dtm-client: $flags"
flags=$(flags_of installed dtm)
way pkg-config_dtm plain embedded "$flags"
flags=$(flags_of installed dtm-http) && [[ $flags != *httplib* && $flags = *sqlite* ]] || fail "dtm-http: $flags"
flags=$(flags_of installed dtm-httplib)
way pkg-config_dtm-httplib plain everything "$flags"
for driver in postgres mysql redis; do
  name=pkg-config
  flags=$(flags_of installed dtm-$driver) || fail "dtm-$driver"
  way pkg-config_dtm-$driver plain $driver "$flags"
done
name=installed_compiled  # with the compiled form, which is no faster here for being optimised
log cmake -S "$source" -B compiled_build -G Ninja -DDTM_FETCH_DEPS=OFF -DDTM_EXAMPLES=OFF -DDTM_COMPILED=ON -DCMAKE_BUILD_TYPE= \
  -DCMAKE_CXX_FLAGS=-O0 -DCMAKE_CXX_COMPILER_LAUNCHER="$ccache" || fail "cmake failed"
log cmake --build compiled_build -j 2 || fail "the build failed"
install compiled_build installed_compiled
way compiled_find_package project compiled -DDTM_FROM=find_package -DCMAKE_PREFIX_PATH="$work/installed_compiled"
name=pkg-config
flags=$(flags_of installed_compiled dtm-compiled)
databases="$(pkg-config --cflags --libs libpq hiredis) $(pkg-config --cflags --libs libmariadb || pkg-config --cflags --libs mysqlclient)"
way pkg-config_dtm-compiled plain compiled "$flags $databases" drivers.cpp
single="-I$source/single_include -lsqlite3 -pthread"
way single_dtm.hpp plain embedded "$single $databases" drivers.cpp
way single_http.hpp plain everything "$single $(pkg-config --cflags --libs cpp-httplib)" dtm/httplib.hpp  # it includes http.hpp and dtm.hpp

if [ -n "$upstream" ]; then
  never+='|cpp-httplib'  # the system's
  sources=(-DDTM_FETCH_DEPS=ALWAYS "-DFETCHCONTENT_SOURCE_DIR_HTTPLIB=$upstream/cpp-httplib"
    "-DFETCHCONTENT_SOURCE_DIR_NLOHMANN_JSON=$upstream/json")
  name=upstream_installed
  log cmake -S "$source" -B upstream_build -DDTM_EXAMPLES=OFF "${sources[@]}" || fail "cmake failed"
  install upstream_build upstream_installed
  way upstream_find_package project everything -DDTM_FROM=find_package -DCMAKE_PREFIX_PATH="$work/upstream_installed"
  way upstream_FetchContent project client -DDTM_FROM=FetchContent -DFETCHCONTENT_SOURCE_DIR_DTM="$source" "${sources[@]}"
  flags=$(flags_of upstream_installed dtm-client)
  way upstream_pkg-config plain client "$flags"
  way upstream_single_http.hpp plain everything "$single -isystem $upstream/cpp-httplib -isystem $upstream/json/include"
fi

wait "${ways[@]}" || true
[ ! -e failed ] || exit 1
name=add_subdirectory
log cmake --install add_subdirectory --prefix "$work/nothing" || fail "installing a project that contains dtm failed"
[ ! -e nothing ] || fail "a project that contains dtm installs it without being asked"
