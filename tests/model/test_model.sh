#!/usr/bin/env bash
# The models of docs/model, searched to the end by spin: as they are no state breaks what
# they promise, and everything that matters was reached; with a planted fault one does.
#
#   LARGE=1   the models as they are once more, with larger bounds: ten minutes, 12 GiB.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
src=${BRINDLE_SRC:-$here/../..}
work=$(mktemp -d)
mkdir "$work/runs"
trap 'rm -rf "$work"' EXIT
memory_mib=1024
passed=0
failed=0

ok() {
    passed=$((passed + 1))
    echo "ok    $*"
}
bad() {
    failed=$((failed + 1))
    echo "FAIL  $1"
    sed 's/^/      /' "$work/said" | head -20
}

# search FOLDER MODEL FLAGS...: what the verifier says is in FOLDER/out. Fails where there
# is none, or where it did not come to an end: by an error or with all states.
search() {
    local folder=$work/runs/$1 model=$2
    shift 2
    mkdir "$folder"
    cp "$src"/docs/model/*.pml "$folder" && cd "$folder" || return 1
    if ! spin -a "$@" "$model.pml" >"$work/said" 2>&1 || grep -q Error "$work/said"; then
        return 1
    fi
    gcc -O2 -w -DSAFETY -DNOREDUCE -DMEMLIM="$memory_mib" -o pan pan.c >"$work/said" 2>&1 ||
        return 1
    # -E: processes that wait for ever are none of its business.
    ./pan -E -m10000 -w24 >out 2>&1
    cp out "$work/said"
    grep -q '^Full statespace search for:' out && ! grep -q 'max search depth too small' out
}

states() { sed -n 's/^ *\([0-9.e+]*\) states, stored$/\1/p' "$work/runs/$1/out"; }

# holds NAME MODEL FLAGS...: no state breaks a promise, and none was left out.
holds() {
    local name=$1
    if search "$@" && grep -q 'errors: 0$' "$work/runs/$name/out" &&
        ! grep -q 'Search not completed' "$work/runs/$name/out"; then
        ok "$name: no error in $(states "$name") states"
    else
        bad "$name"
    fi
}

# reached MODEL NAME...: each event and each step of the model was reached in one of these
# searches.
reached() {
    local model=$1 name
    shift
    for name in "$@"; do
        # Name and count of the events, and the text of what was not reached.
        grep '^seen ' "$work/runs/$name/out" >>"$work/events"
        sed -n 's/^\t[^ ]*\.pml:\([0-9]*\), state [0-9]*, \(.*\)$/\1 \2/p' "$work/runs/$name/out" |
            grep -v -- '"-end-"$' | sort -u >>"$work/unreached"
    done
    awk '{ n[$2] += $3 } END { for (e in n) if (n[e] == 0) print e, "was never reached"
        if (length(n) < 20) print "there are no events" }' "$work/events" >"$work/said"
    sort "$work/unreached" | uniq -c |
        awk -v all=$# '$1 == all { $1 = "not reached: line"; print }' >>"$work/said"
    rm "$work/events" "$work/unreached"
    if [[ -s $work/said ]]; then
        bad "$model: what matters is reached"
    else
        ok "$model: what matters is reached"
    fi
}

# catches FAULT MODEL FLAGS...: with the fault there is a state that breaks a promise.
catches() {
    local fault=$1 model=$2 name=$2-$1
    shift 2
    if search "$name" "$model" "-D$fault" "$@" && grep -q 'errors: 1$' "$work/said" &&
        grep -q '^pan:1: assertion violated' "$work/said"; then
        ok "$model: $fault is caught"
    else
        bad "$model: $fault is caught"
    fi
    rm -rf "${work:?}/runs/$name"
}

# A fault that the model does not know would make it the model as it is.
planted() {
    local model=$1
    shift
    grep -ohE '(ifdef|ifndef|defined\() *[A-Z_]+' "$src/docs/model/$model.pml" |
        grep -oE '[A-Z_]{3,}' | grep -vxE 'RECORDS|FAILURES|CRASHES|RUNS' | sort -u >"$work/known"
    printf '%s\n' "$@" | sort >"$work/tried"
    if diff "$work/known" "$work/tried" >"$work/said"; then
        ok "$model: the planted faults are those that are tried"
    else
        bad "$model: the planted faults are those that are tried"
    fi
}

holds log log
reached log log
log_faults=(EARLY_ACK IGNORED_FSYNC REPEATED_SYNC SEALED_NOT_SYNCED NEWEST_BEFORE_HEADER
    WITNESS_OF_WRITTEN NO_DIR_FSYNC NORMAL_WHEN_QUEUED NORMAL_AFTER_FAILED_SYNC READ_UNCOMMITTED
    VERSION_OUTSIDE_STRIPE VERSION_OUTSIDE_QUEUE NO_SYNC_AT_START NO_REWRITE DROP_OLDEST_FIRST)
planted log "${log_faults[@]}"
for fault in "${log_faults[@]}"; do
    catches "$fault" log
done

# What may stand in a snapshot needs many records; what may be left of the files two
# checkpoints and two crashes. Everything at once would be too much.
contents=(-DRECORDS=5 -DRUNS=1 -DCRASHES=1 -DFAILURES=0)
crashes=(-DRECORDS=3 -DRUNS=2 -DCRASHES=2 -DFAILURES=0)
failures=(-DRECORDS=3 -DRUNS=2 -DCRASHES=1 -DFAILURES=1)
both=(-DRECORDS=2 -DRUNS=2 -DCRASHES=2 -DFAILURES=1)
holds contents checkpoint "${contents[@]}"
holds crashes checkpoint "${crashes[@]}"
holds failures checkpoint "${failures[@]}"
holds crashes-and-failures checkpoint "${both[@]}"
reached checkpoint contents crashes failures crashes-and-failures
content_faults=(VERSION_OUTSIDE_STRIPE START_NOTED_LATE REPLAYED_ABOVE_END DELTA_UNGUARDED
    MISSING_BASE_IS_DAMAGE)
file_faults=(SNAPSHOT_BEFORE_LOG DROPPED_IN_SNAPSHOT RENAME_BEFORE_SYNC NAME_BEFORE_VERIFY
    RELEASE_BEFORE_NAME OLDER_REMOVED_FIRST RELEASE_UNSYNCED REMOVE_BEFORE_META META_ONE_SLOT
    RELEASED_BEFORE_META START_TRUSTS_NAMES)
planted checkpoint "${content_faults[@]}" "${file_faults[@]}"
for fault in "${content_faults[@]}"; do
    catches "$fault" checkpoint "${contents[@]}"
done
for fault in "${file_faults[@]}"; do
    catches "$fault" checkpoint "${both[@]}"
done

if [[ -n ${LARGE:-} ]]; then
    memory_mib=14000
    holds large-log log -DRECORDS=4
    holds large-contents checkpoint -DRECORDS=6 -DRUNS=1 -DCRASHES=1 -DFAILURES=0
    holds large-checkpoint checkpoint -DRECORDS=3 -DRUNS=2 -DCRASHES=2 -DFAILURES=1
    holds large-crashes checkpoint -DRECORDS=4 -DRUNS=2 -DCRASHES=2 -DFAILURES=0
fi

echo "$passed passed, $failed failed"
((failed == 0))
