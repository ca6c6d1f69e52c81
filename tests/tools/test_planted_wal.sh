#!/usr/bin/env bash
# The tests of the log must notice faults that are planted in it: each is built in by a
# BREAK_ flag, and the fault tests have to fail then. Without one they have to pass.
# serial
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
src=${BRINDLE_SRC:-$here/../..}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
cd "$src" || exit 1

read -ra check < <(pkg-config --cflags --libs check)

build() {
    # Not the tree's build: the same sources, one flag more.
    gcc -std=gnu11 -D_GNU_SOURCE= -O1 -g -DBRD_DEBUG=1 "$@" -Idaemon -I. -Itests \
        tests/unit/wal/test_faults.c tests/support/faulty_io.c daemon/base/*.c daemon/seal/*.c daemon/wal/*.c \
        -o "$work/faults" "${check[@]}" -lisal -lcrypto -lpthread
}

expect() {
    local name=$1 wanted=$2 status
    shift 2
    if ! build "$@" >"$work/log" 2>&1; then
        echo "FAIL  $name: does not build"
        cat "$work/log"
        failed=$((failed + 1))
        return
    fi
    timeout 300 "$work/faults" >"$work/log" 2>&1
    status=$?
    if [[ ($wanted == pass && $status == 0) || ($wanted == fail && $status == 1) ]]; then
        echo "ok    $name"
        passed=$((passed + 1))
    else
        echo "FAIL  $name: exit status $status"
        tail -20 "$work/log"
        failed=$((failed + 1))
    fi
}

expect "the log as it is passes" pass
expect "an early acknowledgement is caught" fail -DBREAK_EARLY_ACK=1
expect "an ignored sync error is caught" fail -DBREAK_IGNORED_FSYNC=1
expect "a directory that is not synced is caught" fail -DBREAK_NO_DIR_FSYNC=1

echo "$passed passed, $failed failed"
((failed == 0))
