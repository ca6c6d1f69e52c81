#!/usr/bin/env bash
# The test runner itself: counts what tests say, believes no silence, leaves no process.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
passed=0 failed=0
mkdir -p "$tree/tests/e2e" "$tree/tests/fuzz"
cp "$here/../run" "$tree/tests/run"
printf '#!/bin/sh\nexit 0\n' >"$tree/dev"
chmod +x "$tree/dev"

# expect STATUS LAST_LINE [VARIABLE=VALUE...]: of a run of the tests that the tree holds.
expect() {
    local status=0 wanted=$1 line=$2 last
    shift 2
    env CI=false "$@" "$tree/tests/run" --only e2e >"$tree/said" 2>&1 || status=$?
    last=$(tail -n 1 "$tree/said")
    if [[ $status == "$wanted" && $last == "$line" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: expected \"$line\" and status $wanted, got \"$last\" and $status:"
        cat "$tree/said"
    fi
}

# holds PATTERN: the last run said so.
holds() {
    if grep -q "$1" "$tree/said"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: \"$1\" is not in:"
        cat "$tree/said"
    fi
}

write_test() {
    rm -f "$tree"/tests/e2e/*
    cat >"$tree/tests/e2e/test_$1"
}

# The build of the presets is one test of its own.
write_test good.sh <<<'echo noise; echo "3 passed, 0 failed"'
expect 0 "4 passed, 0 failed"

write_test bad.sh <<<'echo "why it failed"; echo "2 passed, 1 failed"; exit 1'
expect 1 "3 passed, 1 failed"
holds "why it failed"

write_test dies.sh <<<'echo "2 passed, 0 failed"; exit 3'
expect 1 "3 passed, 1 failed"
holds "exit status 3"

write_test silent.sh <<<'true'
expect 1 "1 passed, 1 failed"
holds "reported no tests"

write_test skips.sh <<<'echo "SKIP: no kernel support"; echo "1 passed, 0 failed, 1 skipped"'
expect 0 "2 passed, 0 failed, 1 skipped"
holds "no kernel support: e2e/skips"
expect 1 "2 passed, 1 failed" CI=true

write_test python.py <<<'print("5 passed, 0 failed")'
expect 0 "6 passed, 0 failed"

write_test leaves.sh <<'EOF'
setsid tail -f /dev/null &
echo $! >"$BRINDLE_SRC/pid"
echo "1 passed, 0 failed"
EOF
expect 0 "2 passed, 0 failed"
holds "left 1 processes behind"
if [[ -e /proc/$(<"$tree/pid")/exe ]]; then
    failed=$((failed + 1))
    echo "FAIL: the process is still there"
else
    passed=$((passed + 1))
fi

write_test environment.sh <<'EOF'
[[ -d $TMPDIR && -z $(ls "$TMPDIR") && $BRINDLE_BUILD == */build/dev && -n $SEED ]]
! read -r line
echo "1 passed, 0 failed"
EOF
expect 0 "2 passed, 0 failed"

write_test nothing.txt </dev/null
expect 1 "0 passed, 0 failed"
holds "no tests ran"

echo "$passed passed, $failed failed"
((failed == 0))
