#!/usr/bin/env bash
# bench/durability with tiny numbers, on the build in $BRINDLE_RELEASE: every part runs, and the
# report has all goals and tables. Its figures mean nothing here, and none is looked at.
set -uo pipefail

tmp=${TMPDIR:-/tmp}/bench-durability.$$
mkdir -p "$tmp"
trap 'rm -rf "$tmp"' EXIT
passed=0
failed=0

fail() {
    failed=$((failed + 1))
    echo "FAIL: $*"
    tail -n 80 "$tmp/out" "$tmp/err" 2>/dev/null
}

# run NAME STATUS ARGS...
run() {
    local name=$1 wanted=$2 status=0
    shift 2
    "$BRINDLE_SRC/bench/durability" --dir "$tmp" --output "$tmp/report" "$@" \
        >"$tmp/out" 2>"$tmp/err" || status=$?
    if ((status == wanted)); then
        passed=$((passed + 1))
    else
        fail "$name: exit status $status, not $wanted"
    fi
}

# has PATTERN...: lines of the report
has() {
    local pattern
    for pattern in "$@"; do
        if grep -qE -- "$pattern" "$tmp/report"; then
            passed=$((passed + 1))
        else
            fail "the report has no line with $pattern"
        fi
    done
}

if (($(nproc) < 2)); then
    echo "SKIP: the script needs two CPUs"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
run "all parts" 0 --rounds 1 --checkpoint-rounds 1 --seconds 0.05 --keys 1000 --many-keys 4000 --warm-up 1000 \
    --rate 500
has '^- data on .*fdatasync take [0-9]+ us' '^None\.$'
has '^\| 200 connections, depth 1, full, a sync of 2 ms: SET/s \(on the disk,.*\| at least 45,000 \| [0-9,]+ \| (met|\*\*not met\*\*) \|' \
    '^\| 50 connections, depth 16, normal against none, checkpoints included: .* \| at most 0.25 \| -?[0-9.]+ \| ' \
    '^\| 50 connections, depth 16 \| Brindle normal, new segments \| [0-9,]+ \|' \
    '^\| checkpoint under full-speed writes, Brindle, default rate: peak memory .*\| at most 1.05 \| [0-9.]+ \|' \
    '^\| checkpoint under full-speed writes, Brindle, rate off: p99.9 .*\| at most 1.5 \| [0-9.]+ \|' \
    '^\| checkpoint under full-speed writes, Brindle, rate off: slowest .*\| at most 5.0 \| -?[0-9.]+ \|'
has '^\| 1 connection, depth 1 \| Brindle full \| [0-9,]+ \|' \
    '^\| 50 connections, depth 16 \| Brindle normal \| [0-9,]+ \|' \
    '^## Checkpoints of 4,000 keys under a load of writes$' '^### Full speed$' '^### 500 writes/s$' \
    '^\| Brindle, default rate \| [0-9.]+ \([0-9.]+ to [0-9.]+\) \|' \
    '^## Recovery of 4,000 keys$' '^\| Brindle, snapshot \| [0-9,]+ \|' \
    '^\| Brindle, log alone \| [0-9,]+ \|'
if [[ -d /dev/shm ]]; then
    has '^\| 200 connections, depth 1, full, .* \(in memory,.*\| at least 45,000 \| [0-9,]+ \|'
fi
if command -v redis-server >/dev/null; then
    has '^\| 1 connection, depth 1, Brindle full against redis always: p50 \| at most 0.75 \| [0-9.]+ \| (met|\*\*not met\*\*) \|' \
        '^\| 50 connections, depth 1, Brindle normal against redis everysec: server CPU \| - \| [0-9.]+ \|  \|' \
        '^\| recovery, Brindle, log alone against redis, AOF: .*\| at least 2.0 \| [0-9.]+ \|' \
        '^\| redis, BGSAVE \| ' '^\| redis, BGREWRITEAOF \| ' '^\| redis, RDB \| ' '^\| redis, AOF \| '
fi
run "some parts, nothing pinned" 0 --parts log --place apart --rounds 1 --seconds 0.02 --keys 500
has '^## What the log adds$' '^- one worker thread per server, .*nothing pinned$'
if grep -q '^## Recovery' "$tmp/report"; then
    fail "a part that was not asked for"
fi
run "a part that does not exist" 2 --parts log,nonsense
run "no rounds" 2 --rounds 0
BRINDLE_RELEASE=$tmp run "without a build" 1
echo "$passed passed, $failed failed"
((failed == 0))
