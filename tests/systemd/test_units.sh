#!/usr/bin/env bash
# The units are well-formed, sandboxed as promised, and start what we build.
set -euo pipefail

src=${BRINDLE_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${BRINDLE_BUILD:-$src/build/dev}
tmp=${TMPDIR:-/tmp}
passed=0 failed=0

# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if "$@" >"$tmp/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $what"
        cat "$tmp/said"
    fi
}

# Succeeds, and says nothing.
quiet() {
    "$@" >"$tmp/quiet" 2>&1 || { cat "$tmp/quiet"; return 1; }
    [[ ! -s $tmp/quiet ]] || { cat "$tmp/quiet"; return 1; }
}

if ! command -v systemd-analyze >/dev/null; then
    echo "SKIP: systemd-analyze is not installed"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

# The daemon and its manual are not installed here: name them by their paths.
units=$tmp/units
mkdir -p "$units"
program=$(find "$build" -name brindled -type f -perm -u+x | head -1)
sed -e "s,^ExecStart=brindled,ExecStart=\"$program\"," -e '/^Documentation=/d' \
    "$src/systemd/brindle.service" >"$units/brindle.service"
sed -e '/^Documentation=/d' "$src/systemd/brindle.socket" >"$units/brindle.socket"

check "the service and the socket are valid" \
    quiet systemd-analyze verify --man=no "$units/brindle.service" "$units/brindle.socket"
check "the exposure of the service is at most 2.0" \
    systemd-analyze security --offline=true --threshold=20 --no-pager "$units/brindle.service"
echo "exposure: $(systemd-analyze security --offline=true --no-pager "$units/brindle.service" |
    sed -n 's/.*Overall exposure level[^:]*: //p')"
check "the sample configuration is valid" \
    "$program" --check-config -c "$src/systemd/brindle.conf" --data-dir "$tmp/none"
if command -v systemd-sysusers >/dev/null; then
    root=$tmp/root
    mkdir -p "$root/etc" "$root/usr/lib/sysusers.d"
    cp "$src/systemd/brindle.sysusers" "$root/usr/lib/sysusers.d/brindle.conf"
    check "sysusers makes the user" systemd-sysusers --root="$root" brindle.conf
    check "there is the user" grep -q '^brindle:' "$root/etc/passwd"
    check "there is the group" grep -q '^brindle:' "$root/etc/group"
fi

echo "$passed passed, $failed failed"
((failed == 0))
