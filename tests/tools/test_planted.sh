#!/usr/bin/env bash
# Tests the tests of what must survive: each fault for which daemon/ has a BREAK_ flag is planted, and
# the tests that are named here for it have to fail then, not just any. Without a fault they
# have to pass. What crash tests make of some of them is in docs/testing.md.
# serial
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
src=${BRINDLE_SRC:-$here/../..}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
cd "$src" || exit 1

# Each fault, the program of tests that must see it (log or checkpoint, below), in which of its
# cases, and the tests of which at least one has to fail.
planted=(
    "EARLY_ACK log faults power_may_fail_at_every_step"
    "IGNORED_FSYNC log faults a_failed_sync_is_never_repeated"
    "NO_DIR_FSYNC log faults power_may_fail_at_every_step"
    "SNAPSHOT_BEFORE_LOG checkpoint power power_may_fail_at_every_step_of_a_checkpoint|a_failed_log_makes_no_snapshot"
    "UNLOGGED_EVICTION checkpoint eviction what_eviction_takes_meanwhile_is_gone"
)

declare -A test_of=([log]=tests/unit/wal/test_faults.c [checkpoint]=tests/engine/test_checkpoint.c)
declare -A parts_of=([log]="base seal wal" [checkpoint]="base seal wal store engine")

read -ra cflags < <(pkg-config --cflags check)
read -ra libs < <(pkg-config --libs check)

# Not the tree's build: the same sources, with one flag more where the fault is.
compile() {
    local object=$1 source=$2
    shift 2
    gcc -std=gnu11 -D_GNU_SOURCE= -O1 -g -DBRD_DEBUG=1 "$@" -Idaemon -I. -Itests "${cflags[@]}" \
        -c "$source" -o "$object"
}

object_of() { printf '%s/%s.o' "$work" "${1//\//_}"; }

sources_of() {
    local part
    printf '%s\n' "${test_of[$1]}" tests/support/faulty_io.c
    for part in ${parts_of[$1]}; do
        printf '%s\n' "daemon/$part"/*.c
    done
}

build_whole() {
    local source pids=() status=0
    while read -r source; do
        while (($(jobs -rp | wc -l) >= 2)); do wait -n; done
        compile "$(object_of "$source")" "$source" &
        pids+=($!)
    done < <({ sources_of log && sources_of checkpoint; } | sort -u)
    for pid in "${pids[@]}"; do
        wait "$pid" || status=1
    done
    return $status
}

# build FAULT PROGRAM: its objects, those that name the fault compiled with it.
build() {
    local fault=$1 program=$2 source objects=()
    while read -r source; do
        if [[ $fault != none ]] && grep -qw "BREAK_$fault" "$source"; then
            compile "$work/broken-${#objects[@]}.o" "$source" "-DBREAK_$fault=1" || return 1
            objects+=("$work/broken-${#objects[@]}.o")
        else
            objects+=("$(object_of "$source")")
        fi
    done < <(sources_of "$program")
    gcc "${objects[@]}" -o "$work/tests" "${libs[@]}" -lisal -lcrypto -lpthread
}

# verdict NAME: of the command before, whose output is in $work/log.
verdict() {
    local status=$?
    if ((status == 0)); then
        echo "ok    $1"
        passed=$((passed + 1))
    else
        echo "FAIL  $1"
        tail -20 "$work/log"
        failed=$((failed + 1))
    fi
}

run_tests() { CK_RUN_CASE=$1 timeout 600 "$work/tests" >"$work/log" 2>&1; }

passes() { build none "$1" >"$work/log" 2>&1 && run_tests "$2"; }

# Exit status 1 is libcheck's for tests that failed; it names them as FILE:LINE:F:CASE:TEST:.
is_caught() {
    local fault=$1 program=$2 case_=$3 tests=$4
    build "$fault" "$program" >"$work/log" 2>&1 || return 1
    run_tests "$case_"
    (($? == 1)) && grep -Eq ":[0-9]+:[FE]:$case_:($tests):" "$work/log"
}

# all_are_planted FOLDER...: each BREAK_ flag that is there is in the list, and the other way round.
all_are_planted() {
    local entry
    diff <(grep -rhoE --include='*.[ch]' '\bBREAK_[A-Z0-9_]+' "$@" | sort -u) \
        <(for entry in "${planted[@]}"; do echo "BREAK_${entry%% *}"; done | sort -u) >"$work/log"
}

build_whole >"$work/log" 2>&1
verdict "all that is needed builds"
all_are_planted daemon proto
verdict "every planted fault of the daemon is tried"
mkdir "$work/more"
echo '#if BREAK_NOTHING_TRIES_THIS' >"$work/more/fault.c"
! all_are_planted daemon proto "$work/more" && grep -q NOTHING_TRIES_THIS "$work/log"
verdict "a fault that nothing tries is seen"
passes log faults
verdict "the log as it is passes"
for case_ in power eviction; do
    passes checkpoint $case_
    verdict "checkpoints as they are pass: $case_"
done
for entry in "${planted[@]}"; do
    read -r fault program case_ tests <<<"$entry"
    is_caught "$fault" "$program" "$case_" "$tests"
    verdict "$fault is caught"
done

echo "$passed passed, $failed failed"
((failed == 0))
