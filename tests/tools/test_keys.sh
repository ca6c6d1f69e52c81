#!/usr/bin/env bash
# brindle-wal on an encrypted log: with its keys as on any other, without them not at all, and
# which of the two it was shows in the exit status.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
src=${BRINDLE_SRC:-$here/../..}
tool=${BRINDLE_BUILD:-$src/build/dev}/brindle-wal
golden=$src/tests/unit/wal/golden/v1-sealed
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
    sed 's/^/      /' "$work/out" "$work/err" "$work/diff"
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

expect() {
    local name=$1
    shift
    : >"$work/out"
    if "$@" >"$work/out" 2>"$work/err"; then
        ok "$name"
    else
        bad "$name"
    fi
}

fresh() {
    rm -rf "$work"/data*
    mkdir "$work/data"
    cp -r "$golden/meta" "$golden/wal" "$work/data"
}

sums() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }

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

umask 077
: >"$work/diff"
data=$work/data
keys=$work/keys
cp "$golden/keys" "$keys"
old=05cf00ebc71f2b077f08193623229441
new=3b787189a40a0632ecf7aa764181e9ee
grep -E '^02' "$keys" >"$work/new"
grep -E '^01' "$keys" >"$work/old"
printf '%064d\n' 7 >"$work/wrong"
(echo plain && cat "$keys") >"$work/off"

# ---- Reading ----

fresh
before=$(sums "$data")
check "verify reads it with its keys" 0 '64 records' verify --key-file "$keys" "$data"
check "so does dump" 0 '^1700000000001000000 put ns=1 key="key-1" value="bbbbbbb"$' \
    dump --values --key-file="$keys" "$data"
check "stat says under which key meta is" 0 "^key +$new: meta\$" stat --key-file "$keys" "$data"
check "and each segment" 0 "^key +$old: segment 1\$" stat --key-file "$keys" "$data"
check "and those in a row" 0 "^key +$new: segments 2 to 4\$" stat --key-file "$keys" "$data"
check "in JSON too" 0 "\"type\":\"key\",\"key_id\":\"$new\",\"file\":\"segment\",\"first\":2,\"last\":4" \
    stat --format json --key-file "$keys" "$data"
diff <("$tool" dump --records --values --key-file "$keys" "$data") \
    <("$tool" dump --records --values "$src/tests/unit/wal/golden/v1") >"$work/diff"
expect "what is decrypted is what the plain log of the same writes holds" test ! -s "$work/diff"
chacha=$src/tests/unit/wal/golden/v1-chacha
diff <("$tool" dump --records --values --key-file "$keys" "$chacha") \
    <("$tool" dump --records --values "$src/tests/unit/wal/golden/v1") >"$work/diff"
expect "also where the cipher is ChaCha20-Poly1305" test ! -s "$work/diff"

for command in verify stat dump repair "repair --yes"; do
    # shellcheck disable=SC2086 # a command and its option
    check "$command without a key file" 4 "a key file is needed: $data/meta is under the key ${new:0:8}" \
        $command "$data"
    # shellcheck disable=SC2086
    check "$command with other keys" 4 "$data/meta is encrypted under the key ${new:0:8}" \
        $command --key-file "$work/wrong" "$data"
    # shellcheck disable=SC2086
    check "$command with some of the keys" 4 \
        "$data/wal/0000000000000001.wal is encrypted under the key ${old:0:8}" \
        $command --key-file "$work/new" "$data"
done
check "an error in JSON names the status" 4 '"type":"error","status":"WRONG_KEY"' \
    verify --format json --key-file "$work/old" "$data"
rm -f "$data/lock" # repair --yes takes it
expect "nothing of that changed anything" test "$before" == "$(sums "$data")"
check "keys are no harm where nothing is encrypted" 0 '64 records' \
    verify --key-file "$keys" "$src/tests/unit/wal/golden/v1"

chmod 0640 "$keys"
check "a key file that is open to others is refused" 2 'open to others' \
    verify --key-file "$keys" "$data"
chmod 0600 "$keys"
check "a key file that is missing is named" 1 "$work/missing" verify --key-file "$work/missing" "$data"
check "an option without its file is refused" 2 'wants the name of a file' verify "$data" --key-file

# ---- Damage is not a wrong key, and a wrong key is no damage ----

flip "$data/wal/0000000000000001.wal" 124
check "a damaged header is damage, in its key id too" 3 '0000000000000001.wal is damaged at offset 0' \
    verify --key-file "$keys" "$data"
check "also for who has no key of it" 3 '0000000000000001.wal is damaged at offset 0' \
    verify --key-file "$work/new" "$data"
fresh
flip "$data/wal/0000000000000003.wal" 5000
check "a damaged group is damage" 3 '0000000000000003.wal is damaged at offset' \
    verify --key-file "$keys" "$data"
check "repair says so" 3 'keep +every version up to' repair --key-file "$keys" "$data"
check "repair does it" 0 'is whole now' repair --yes --key-file "$keys" "$data"
check "what it has written is under the current key" 0 "^key +$new: meta\$" \
    stat --key-file "$keys" "$data"
check "what is left of the log stays under its own" 0 "^key +$old: segment 1\$" \
    stat --key-file "$keys" "$data"
check "it is whole" 0 'is whole' verify --key-file "$keys" "$data"
fresh
rm "$data/meta"
check "a lost meta is made again" 0 'is whole now' repair --yes --key-file "$keys" "$data"
check "under the current key" 0 "^key +$new: meta\$" stat --key-file "$keys" "$data"
fresh
rm "$data/meta"
check "a lost meta is damage for who has no key" 4 '0000000000000001.wal' repair "$data"

# ---- Copies ----

fresh
check "backup without the keys" 4 'a key file is needed' backup "$data" "$work/data-copy"
expect "leaves nothing" test ! -e "$work/data-copy"
check "backup" 0 'is whole' backup --key-file "$keys" "$data" "$work/data-copy"
expect "copies segments as they are" cmp "$data/wal/0000000000000001.wal" \
    "$work/data-copy/wal/0000000000000001.wal"
check "whose meta is under the current key" 0 "^key +$new: meta\$" \
    stat --key-file "$keys" "$work/data-copy"
check "and cannot be read without" 4 'a key file is needed' verify "$work/data-copy"
check "backup while encryption is off" 0 'is whole' \
    backup --key-file "$work/off" "$data" "$work/data-off"
check "has a plain meta" 0 '^key +none: meta$' stat --key-file "$work/off" "$work/data-off"
check "restore without the keys" 4 'a key file is needed' restore "$work/data-copy" "$work/data-back"
check "restore" 0 'is whole' restore --key-file "$keys" "$work/data-copy" "$work/data-back"
diff <("$tool" dump --records --values --key-file "$keys" "$work/data-back") \
    <("$tool" dump --records --values --key-file "$keys" "$data") >"$work/diff"
expect "what was restored is what there was" test ! -s "$work/diff"
check "backup of a plain log with keys" 0 'is whole' \
    backup --key-file "$keys" "$src/tests/unit/wal/golden/v1" "$work/data-plain"
check "has a meta under the current one" 0 "^key +$new: meta\$" \
    stat --key-file "$keys" "$work/data-plain"

echo "$passed passed, $failed failed"
((failed == 0))
