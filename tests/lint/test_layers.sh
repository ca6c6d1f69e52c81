#!/usr/bin/env bash
# The layer check itself: accepts what the arrows allow, names what they do not.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
passed=0 failed=0

# A tree with a header for every layer, and the rules of the real one.
mkdir -p "$tree/cmake"
cp "$here/../../cmake/layers.txt" "$tree/cmake/"
for folder in base wire store wal engine session server; do
    mkdir -p "$tree/daemon/$folder" "$tree/tests/unit/$folder"
    touch "$tree/daemon/$folder/$folder.h" "$tree/daemon/$folder/inner.h"
done
mkdir -p "$tree"/{proto,client/cli,client/include,bench,tests/e2e,tests/engine,tests/support}
mkdir -p "$tree/daemon/tools/wal" "$tree/daemon/wire/resp" "$tree/tests/fuzz"
touch "$tree/proto/frame.h" "$tree/daemon/config.h" "$tree/client/conn.h" "$tree/bench/histogram.h"

# expect allowed|refused FILE INCLUDE
expect() {
    local verdict=allowed
    printf '#include %s\n' "$3" >"$tree/$2"
    BRINDLE_LAYERS_ROOT=$tree "$here/check_layers.sh" >"$tree/said" 2>&1 || verdict=refused
    if [[ $verdict == refused ]] && ! grep -q "^$2:1: " "$tree/said"; then
        verdict="refused without naming the line"
    fi
    if [[ $verdict == "$1" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $2 with $3 should be $1, is $verdict"
        cat "$tree/said"
    fi
    rm "$tree/$2"
}

# The arrows go down.
expect allowed daemon/server/a.c '"session/session.h"'
expect allowed daemon/session/a.c '"engine/engine.h"'
expect allowed daemon/session/a.c '"wire/wire.h"'
expect allowed daemon/engine/a.c '"store/store.h"'
expect allowed daemon/engine/a.c '"wal/wal.h"'
expect allowed daemon/store/a.c '"base/inner.h"'
expect allowed daemon/wire/a.c '"proto/frame.h"'
expect allowed daemon/wire/a.c '"brindle.pb-c.h"'
expect allowed daemon/main.c '"store/store.h"'
expect allowed daemon/config.c '"config.h"'
expect allowed daemon/tools/wal/main.c '"wal/wal.h"'
# Not up, not across, not past the next layer.
expect refused daemon/base/a.c '"store/store.h"'
expect refused daemon/store/a.c '"engine/engine.h"'
expect refused daemon/store/a.c '"wal/wal.h"'
expect refused daemon/engine/a.c '"session/session.h"'
expect refused daemon/engine/a.c '"wire/wire.h"'
expect refused daemon/server/a.c '"store/store.h"'
expect refused daemon/store/a.c '"brindle.pb-c.h"'
expect refused daemon/tools/wal/main.c '"session/session.h"'
expect refused proto/frame.c '"base/inner.h"'
# Only the front header of another folder; anything of one's own.
expect refused daemon/engine/a.c '"store/inner.h"'
expect refused daemon/main.c '"store/inner.h"'
expect allowed daemon/store/a.c '"inner.h"'
expect allowed daemon/store/a.c '"store/inner.h"'
expect allowed daemon/wire/resp/a.c '"inner.h"'
expect refused daemon/store/a.c '"config.h"'
# No way around.
expect refused daemon/store/a.c '"../engine/engine.h"'
expect refused daemon/store/a.c '"daemon/engine/engine.h"'
expect refused daemon/store/a.c '<engine/engine.h>'
expect refused daemon/store/a.h '"engine/engine.h"'
expect refused tests/unit/store/test_a.c '"a.c"'
expect allowed daemon/store/a.c '<stdio.h>'
# The client side knows the protocol, users know brindle.h.
expect allowed client/conn.c '"proto/frame.h"'
expect allowed client/conn.c '"conn.h"'
expect refused client/conn.c '"base/inner.h"'
expect allowed client/cli/main.c '"brindle.h"'
expect refused client/cli/main.c '"proto/frame.h"'
expect allowed bench/main.c '<brindle.h>'
expect allowed bench/main.c '"histogram.h"'
expect refused bench/main.c '"client/conn.h"'
# Tests stay as low as what they test.
expect allowed tests/unit/store/test_a.c '"store/inner.h"'
expect allowed tests/unit/session/test_a.c '"store/store.h"'
expect refused tests/unit/session/test_a.c '"store/inner.h"'
expect refused tests/unit/store/test_a.c '"engine/engine.h"'
expect allowed tests/engine/test_a.c '"engine/inner.h"'
expect allowed tests/engine/test_a.c '"wal/wal.h"'
expect allowed tests/e2e/test_a.c '"support/daemon.h"'
expect refused tests/e2e/test_a.c '"store/store.h"'
expect allowed tests/fuzz/fuzz_a.c '"wal/inner.h"'

echo "$passed passed, $failed failed"
((failed == 0))
