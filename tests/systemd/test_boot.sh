#!/usr/bin/env bash
# A machine is booted under systemd-nspawn, over a copy-on-write view of this one: socket
# activation, readiness, restart after SIGKILL, the watchdog, an orderly stop. What is checked
# inside is in probe.py.
# serial
set -euo pipefail

src=${BRINDLE_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${BRINDLE_RELEASE:-$src/build/release}
tmp=${TMPDIR:-/tmp}

skip() {
    echo "SKIP: $1"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}

((EUID == 0)) || skip "booting a container needs root"
command -v systemd-nspawn >/dev/null || skip "systemd-nspawn (package systemd-container) is not installed"
program=$(find "$build" -name brindled -type f -perm -u+x | head -1)
[[ -n $program ]] || { echo "no brindled in $build"; exit 1; }

tree=$tmp/tree
mkdir -p "$tmp/upper" "$tmp/work" "$tree"
mount -t overlay brindle-test \
    -o "lowerdir=/,upperdir=$tmp/upper,workdir=$tmp/work" "$tree" 2>"$tmp/said" ||
    skip "cannot mount an overlay: $(<"$tmp/said")"
trap 'umount "$tree"' EXIT

install -D "$program" "$tree/usr/local/bin/brindled"
install -Dm644 -t "$tree/etc/systemd/system" "$src"/systemd/brindle.{service,socket}
install -Dm644 "$src/systemd/brindle.sysusers" "$tree/usr/lib/sysusers.d/brindle.conf"
install -Dm644 "$src/systemd/brindle.conf" "$tree/etc/brindle/brindle.conf"
install -Dm644 -t "$tree/brindle-test/proto" "$src/proto/brindle.proto"
install -Dm644 -t "$tree/brindle-test/tests/e2e" "$src/tests/e2e/brindle_client.py"
install -Dm755 -t "$tree/brindle-test" "$src/tests/systemd/probe.py"
rm -rf "$tree/var/lib/brindle" "$tree/var/lib/private/brindle"
install -Dm644 /dev/stdin "$tree/etc/systemd/system/brindle-probe.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=sysinit.target
Requires=sysinit.target
[Service]
Type=oneshot
Environment=BRINDLE_SRC=/brindle-test
ExecStart=/usr/bin/python3 /brindle-test/probe.py
ExecStopPost=systemctl --no-block poweroff --force
StandardOutput=file:/brindle-test/probe.log
StandardError=inherit
TimeoutStartSec=1200
UNIT

status=0
timeout 1500 systemd-nspawn --register=no --keep-unit -q -D "$tree" --private-network \
    -M "brindle-test-$$" --console=pipe -b systemd.unit=brindle-probe.service \
    </dev/null >"$tmp/console" 2>&1 || status=$?
if [[ ! -e $tree/brindle-test/probe.log ]]; then
    if grep -qiE 'not permitted|failed to (create|mount|allocate|open)' "$tmp/console" &&
        ! grep -q 'brindle-probe' "$tmp/console"; then
        skip "a container cannot be booted here: $(head -1 "$tmp/console")"
    fi
    echo "the machine did not boot (status $status)"
    tail -40 "$tmp/console"
    echo "0 passed, 1 failed"
    exit 1
fi
cat "$tree/brindle-test/probe.log"
if ! grep -qE '^[0-9]+ passed, 0 failed$' "$tree/brindle-test/probe.log"; then
    tail -40 "$tmp/console"
    grep -qE '^[0-9]+ passed, [0-9]+ failed$' "$tree/brindle-test/probe.log" ||
        echo "0 passed, 1 failed"
    exit 1
fi
