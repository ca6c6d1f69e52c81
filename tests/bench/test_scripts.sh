#!/usr/bin/env bash
# The scripts of bench/ with tiny numbers: they run through, ask every server that is there, and
# write what they promise. Their figures mean nothing here, and none is looked at.
set -uo pipefail

tmp=${TMPDIR:-/tmp}/bench-scripts.$$
mkdir -p "$tmp"
trap 'rm -rf "$tmp"' EXIT
passed=0
failed=0
skipped=0

pass() { passed=$((passed + 1)); }

fail() {
    failed=$((failed + 1))
    echo "FAIL: $*"
    tail -n 60 "$tmp/out" "$tmp/err" 2>/dev/null
}

finish() {
    local total="$passed passed, $failed failed"
    ((skipped == 0)) || total+=", $skipped skipped"
    echo "$total"
    ((failed == 0))
    exit
}

# script NAME ARGS...: its result in $tmp/NAME.md, its exit status in $status
script() {
    local name=$1
    shift
    status=0
    "$BRINDLE_SRC/bench/$name" "$@" --output "$tmp/$name.md" >"$tmp/out" 2>"$tmp/err" || status=$?
}

# holds NAME FILE REGEX
holds() {
    if grep -qE -- "$3" "$tmp/$2.md"; then
        pass
    else
        fail "$1: no line matches '$3'"
    fi
}

ended() {
    if ((status == $2)); then
        pass
    else
        fail "$1: exit status $status, not $2"
    fi
}

if (($(nproc) < 2)); then
    echo "SKIP: the scripts need two CPUs"
    skipped=1
    finish
fi
tiny=(--rounds 2 --slices 1 --seconds 0.02 --keys 2000)
script compare "${tiny[@]}" --open-seconds 0.05 --large-keys 20 --memory-keys 4000
ended "compare: every request is answered" 0
holds "compare: a goal with a verdict" compare '^\| GET depth 10, against redis \| 0\.48 \|'
holds "compare: a figure of brindle" compare '^\| SET depth 100 \| brindle \| [0-9]+\.[0-9]+ \|'
holds "compare: 16 KiB" compare '^\| SET of 16 KiB, depth 10 \| brindle \| [0-9.]+ \|'
holds "compare: two workers" compare '^\| GET depth 10 \| 2 workers \| [0-9.]+ \|'
holds "compare: bytes per key" compare '^\| bytes per key, 16 \+ 32 bytes, with TTL \| 96 \| [0-9.]+ \|'
holds "compare: the open loop" compare '^\| brindle \| [0-9,]+ \| GET at [0-9,]+/s \| [0-9.]+ \|'
holds "compare: nothing failed" compare '^None\.$'
if command -v redis-server >/dev/null; then
    holds "compare: a ratio against redis" compare '^\| GET depth 1 \| redis \| .* \| [0-9]+\.[0-9]{2} \| [0-9,]+ \|'
    holds "compare: a goal is judged" compare '^\| GET depth 1, against redis \| 0\.95 \| [0-9.]+ \| (met|\*\*not met\*\*) \|'
fi
if command -v memcached >/dev/null; then
    holds "compare: many keys of memcached" compare '^\| GetMany of 100 keys, for each key \| memcached \| [0-9.]+ \|'
fi

script compare --only nonsense
ended "compare: an unknown part is a usage error" 2

BRINDLE_RELEASE=$tmp script compare "${tiny[@]}"
ended "compare: without a build it says so" 1
script striping --rounds 2 --seconds 0.02 --keys 500 --stripes 1,64 --depth 10
ended "striping: every request is answered" 0
holds "striping: cost with one worker" striping '^### Server CPU, us per operation, 1 worker$'
holds "striping: throughput with two" striping '^### Throughput, million .* per second, 2 workers$'
holds "striping: a figure for each number of stripes" striping \
    '^\| one hot key \| 50 % \| [0-9]+\.[0-9]+ \| [0-9]+\.[0-9]+ \|$'
holds "striping: nothing failed" striping '^None\.$'
script striping --stripes 0
ended "striping: no stripes are a usage error" 2
finish
