#!/usr/bin/env bash
# brindle-wal on the golden log, whole and damaged: what it prints and how it ends.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
src=${BRINDLE_SRC:-$here/../..}
tool=${BRINDLE_BUILD:-$src/build/dev}/brindle-wal
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

ok() {
    passed=$((passed + 1))
    echo "ok    $1"
}
bad() {
    failed=$((failed + 1))
    echo "FAIL  $1"
    sed 's/^/      /' "$work/out" "$work/err"
}

# check NAME STATUS PATTERN ARGS...: the exit status, and a pattern in what it prints.
check() {
    local name=$1 status=$2 pattern=$3
    shift 3
    "$tool" "$@" >"$work/out" 2>"$work/err"
    if [[ $? == "$status" ]] && grep -qE -- "$pattern" "$work/out" "$work/err"; then
        ok "$name"
    else
        bad "$name"
    fi
}

fresh() {
    rm -rf "$work/data"
    cp -r "$src/tests/unit/wal/golden/v1" "$work/data"
}

# flip FILE OFFSET: changes one byte.
flip() {
    python3 - "$1" "$2" <<'PY'
import sys
path, offset = sys.argv[1], int(sys.argv[2])
data = bytearray(open(path, "rb").read())
data[offset] ^= 1
open(path, "wb").write(data)
PY
}

fresh
before=$(cd "$work/data" && find . -type f -exec sha256sum {} + | sort | sha256sum)
check "a torn end is whole, and named" 0 'torn .*0000000000000004.wal, offset [0-9]+' \
    verify "$work/data"
check "verify counts" 0 '4 segments, [0-9]+ groups, 64 records' verify "$work/data"
check "stat names identity and epoch" 0 '^epoch +2$' stat "$work/data"
check "stat in JSON" 0 '"type":"directory".*"epoch":2' stat --format json "$work/data"
check "dump shows changes" 0 '^1700000000001000000 put ns=1 key="key-1" value_bytes=7$' \
    dump "$work/data"
check "dump shows values when asked" 0 'key="key-1" value="bbbbbbb"$' dump --values "$work/data"
check "dump of a range" 0 'key-3"' dump --records --from 1700000000003000000 \
    --to 1700000000003000000 "$work/data"
if [[ $(wc -l <"$work/out") == 1 ]]; then
    ok "a range holds nothing else"
else
    bad "a range holds nothing else"
fi
check "dump in JSON" 0 '"changes":\[\{"kind":"put","ns":1,"key":"key-0"' dump --format=json \
    --values "$work/data"
if python3 -c 'import json,sys; n=[json.loads(l) for l in open(sys.argv[1])]; assert len(n) > 100' \
    "$work/out"; then
    ok "every line of JSON parses"
else
    bad "every line of JSON parses"
fi
after=$(cd "$work/data" && find . -type f -exec sha256sum {} + | sort | sha256sum)
if [[ $before == "$after" ]]; then
    ok "looking changes nothing"
else
    bad "looking changes nothing"
fi

check "bytes of an earlier life behind the end are none of the log's" 0 'version|put' \
    dump --records --values "$src/tests/unit/wal/golden/v1-recycled"
if [[ $(wc -l <"$work/out") == 20 ]]; then
    ok "and all of its records are"
else
    bad "and all of its records are"
fi

flip "$work/data/wal/0000000000000002.wal" 4200
check "damage ends with 3 and names file and offset" 3 \
    '0000000000000002.wal is damaged at offset [0-9]+' verify "$work/data"
check "damage in JSON" 3 '"type":"error","status":"CORRUPT","path":".*0000000000000002.wal"' \
    verify --format json "$work/data"
check "dump shows what comes before damage" 3 'key="key-1"' dump "$work/data"
fresh
rm "$work/data/wal/0000000000000003.wal"
check "a missing segment is named" 3 '0000000000000003.wal is missing' verify "$work/data"
fresh
rm "$work/data/meta"
check "segments without meta" 3 'meta is missing' stat "$work/data"
check "no log at all" 1 'there is no log' verify "$work"
check "no command" 2 'usage:'
check "an unknown command" 2 'no command' mend "$work/data"
check "an unknown option" 2 'no option' dump --frob "$work/data"
check "a version that is none" 2 'wants a version' dump --from yesterday "$work/data"
check "help" 0 'usage:' --help
check "version" 0 '^brindle-wal [0-9]' --version

echo "$passed passed, $failed failed"
((failed == 0))
