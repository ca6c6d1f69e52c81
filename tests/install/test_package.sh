#!/usr/bin/env bash
# What `cmake --install` leaves is complete: a program finds the library through pkg-config
# and through CMake, and the library shows nothing but its own names.
set -euo pipefail

prefix=$TMPDIR/prefix
passed=0 failed=0

# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if "$@" >"$TMPDIR/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $what"
        cat "$TMPDIR/said"
    fi
}

# Succeeds if a command prints nothing on its standard error.
silent() { [[ -z $("$@" 2>&1 >/dev/null) ]]; }

# Succeeds if all of the given symbols, one a line, are ours.
only_ours() { ! grep -v '^brd_' <<<"$1"; }

check "installs" cmake --install "$BRINDLE_RELEASE" --prefix "$prefix"
lib=$(dirname "$(find "$prefix" -name libbrindle.a)")

for program in brindled brindle brindle-bench brindle-wal; do
    check "$program says its version" "$prefix/bin/$program" --version
    check "$program says nothing on stderr" silent "$prefix/bin/$program" --version
done
check "the sample configuration is there, and valid" \
    "$prefix/bin/brindled" --check-config \
    -c "$prefix/share/doc/brindle/brindle.conf"
check "soname is libbrindle.so.1" test -e "$lib/libbrindle.so.1"

check "the shared library shows only brd_ names" \
    only_ours "$(nm -D --defined-only --format=posix "$lib/libbrindle.so" | cut -d' ' -f1 | sed 's/@.*//' | grep -v '^BRINDLE_' || true)"
check "the static library shows only brd_ names" \
    only_ours "$(nm -g --defined-only --format=posix "$lib/libbrindle.a" | grep -v ':$' | cut -d' ' -f1)"

cat >"$TMPDIR/user.c" <<'EOF'
#include <brindle.h>

int main(void)
{
    return brd_status_text(BRD_OK) == 0;
}
EOF
cd "$TMPDIR"
export PKG_CONFIG_PATH=$lib/pkgconfig
# shellcheck disable=SC2046 # flags are words
check "links with pkg-config" \
    gcc -o shared user.c $(pkg-config --cflags --libs brindle)
check "runs with the shared library" env LD_LIBRARY_PATH="$lib" ./shared
# shellcheck disable=SC2046
check "links statically with pkg-config" \
    gcc -o static user.c $(pkg-config --cflags brindle) "$lib/libbrindle.a" \
    -pthread
check "runs alone" ./static

cat >CMakeLists.txt <<'EOF'
cmake_minimum_required(VERSION 3.16)
project(user C)
find_package(brindle 1.0 REQUIRED)
add_executable(user-shared user.c)
target_link_libraries(user-shared brindle::brindle)
add_executable(user-static user.c)
target_link_libraries(user-static brindle::brindle-static)
EOF
check "is found by CMake" cmake -G Ninja -B cmake -DCMAKE_PREFIX_PATH="$prefix"
check "builds with CMake" cmake --build cmake
check "runs as CMake linked it" cmake/user-shared
check "runs as CMake linked it statically" cmake/user-static

echo "$passed passed, $failed failed"
((failed == 0))
