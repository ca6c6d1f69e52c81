#!/usr/bin/env bash
# bench/pauses with tiny numbers: every part runs, every request is answered and the report has
# all tables. How long anything took is no matter here.
set -uo pipefail

tmp=${TMPDIR:-/tmp}/bench-pauses.$$
mkdir -p "$tmp"
trap 'rm -rf "$tmp"' EXIT
passed=0
failed=0

fail() {
    failed=$((failed + 1))
    echo "FAIL: $*"
    tail -n 40 "$tmp/out" "$tmp/err" "$tmp/report" 2>/dev/null
}

# run NAME STATUS ARGS...
run() {
    local name=$1 wanted=$2 status=0
    shift 2
    BRINDLE_RELEASE=$BRINDLE_BUILD "$BRINDLE_SRC/bench/pauses" --output "$tmp/report" "$@" \
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

run "all parts" 0 --place apart --rounds 1 --keys 3000 --grow-to 20000 --grow-rate 4000 \
    --seconds 1 --rate 200
has '^## 3,000 keys expire within one second$' '^## Growth to 20,000 keys$' \
    '^## Clear of 3,000 keys$' '^## Delete of 16 values' '^\| all keys removed, s after .* \| -?[0-9]' \
    '^\| \*\*p99.9 meanwhile / p99.9 otherwise\*\* \| [0-9]' '^None\.$'
run "a part that does not exist" 2 --parts growth,shrinking
echo "$passed passed, $failed failed"
((failed == 0))
