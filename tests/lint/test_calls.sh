#!/usr/bin/env bash
# The check of forbidden calls itself.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
passed=0 failed=0
mkdir -p "$tree"/{daemon/base,daemon/store,daemon/wal,client,tests/unit,tests/e2e}

# expect allowed|refused FILE LINE
expect() {
    local verdict=allowed
    printf '%s\n' "$3" >"$tree/$2"
    BRINDLE_CALLS_ROOT=$tree "$here/check_calls.sh" >"$tree/said" 2>&1 || verdict=refused
    if [[ $verdict == "$1" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $2 with $3 should be $1"
        cat "$tree/said"
    fi
    rm "$tree/$2"
}

expect refused daemon/store/a.c '    strcpy(a, b);'
expect refused client/a.c '    n = atoi(text);'
expect refused daemon/store/a.c '    p = realloc(p, n);'
expect refused daemon/store/a.c '    buf->data = realloc(buf->data, n);'
expect allowed daemon/store/a.c '    grown = realloc(p, n);'
expect refused daemon/wal/a.c '    if (fsync(fd) != 0)'
expect refused daemon/wal/a.c '    n = write(fd, data, size);'
expect allowed daemon/base/file.c '    n = write(fd, data, size);'
expect allowed daemon/wal/a.c '    n = io->write(fd, data, size);'
expect allowed daemon/wal/a.c '    n = brd_file_write(file, data, size);'
expect allowed client/a.c '    n = write(fd, data, size);'
expect refused daemon/wal/a.c '    fprintf(stderr, "no");'
expect allowed daemon/wal/a.c '    snprintf(text, sizeof(text), "yes");'
expect allowed daemon/base/diag.c '    fprintf(stderr, "yes");'
expect refused daemon/wal/a.c '    exit(1);'
expect refused tests/unit/a.c '    sleep(1);'
expect refused tests/e2e/a.py 'time.sleep(1)'
expect refused tests/e2e/a.sh 'while ! ready; do sleep 1; done' # lint:allow sleep: the sample
expect allowed tests/unit/a.c ' * never sleep(1) here'
expect allowed tests/unit/a.c '    x(); /* not sleep(1) */'
expect allowed tests/unit/a.c '    usleep(10); /* lint:allow sleep: a clock is what this tests */'
expect refused tests/unit/a.c '    usleep(10); /* lint:allow file: wrong name */'

echo "$passed passed, $failed failed"
((failed == 0))
