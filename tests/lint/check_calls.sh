#!/usr/bin/env bash
# Finds calls that we do not make, or make in one place only.
#
# A line that must break a rule says so, with the reason: /* lint:allow CALL: reason */
# (# lint:allow in scripts).
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "${BRINDLE_CALLS_ROOT:-$root}"

bad=0

# forbid NAME WHY PATTERN INCLUDE ALLOWED FOLDER...
# NAME is what lint:allow takes; ALLOWED a pattern of paths that may.
forbid() {
    local name=$1 why=$2 pattern=$3 include=$4 allowed=$5 folder hits
    shift 5
    local present=()
    for folder in "$@"; do
        [[ -e $folder ]] && present+=("$folder")
    done
    ((${#present[@]} > 0)) || return 0
    # Comments after code are cut off, comment lines dropped: prose may name a call.
    hits=$(grep -rnE --include="$include" "$pattern" "${present[@]}" |
        grep -vE "^($allowed):|lint:allow $name:|^[^:]+:[0-9]+:[[:space:]]*(\*|/\*|//|#)" |
        sed -E 's,/\*.*\*/,,' | grep -E "$pattern" || true)
    [[ -n $hits ]] || return 0
    while IFS= read -r line; do
        echo "$line"
        bad=$((bad + 1))
    done <<<"$hits"
    echo "    $name: $why"
}

# call NAMES: matches calls of these functions, but neither member calls nor longer names.
call() { printf '(^|[^A-Za-z0-9_.>"])(%s)[[:space:]]*\(' "$1"; }

ours=(daemon proto client bench tests)
none=none

forbid strcpy "use snprintf or a brd_buf" "$(call 'strcpy|strcat|sprintf|vsprintf|gets')" \
    '*.[ch]' $none "${ours[@]}"
forbid atoi "says nothing about errors; use strtol and its kin, checked" \
    "$(call 'atoi|atol|atoll|atof')" '*.[ch]' $none "${ours[@]}"
forbid rand "hidden shared state; use brd_random, or rand_r with a printed seed in tests" \
    "$(call 'rand|srand|random|srandom|drand48')" '*.[ch]' $none "${ours[@]}"
forbid realloc "loses the old block when it fails; assign to another variable first" \
    '([A-Za-z_][][A-Za-z0-9_.>*-]*)[[:space:]]*=[[:space:]]*realloc\([[:space:]]*\1[[:space:]]*,' \
    '*.[ch]' $none "${ours[@]}"

# Disk calls go through base/file, where faults are injected and errors are handled once.
# base/check.c and base/diag.c write to stderr.
forbid file "use base/file.h (and eventfd_write for eventfds)" \
    "$(call 'write|pwrite|pwrite64|writev|pwritev|fsync|fdatasync|sync_file_range|rename|renameat|ftruncate|fallocate')" \
    '*.[ch]' 'daemon/base/(file|check|diag)\.c' daemon

# Lower layers return a status; whoever decides logs it, once, through base/diag.
libraries=(daemon/base daemon/wire daemon/store daemon/seal daemon/wal daemon/engine daemon/session daemon/server)
forbid printf "libraries do not print; return a status or use base/diag.h" \
    "$(call 'printf|vprintf|fprintf|vfprintf|puts|fputs|putchar|perror')" \
    '*.[ch]' 'daemon/base/(diag|check)\.c' "${libraries[@]}"
forbid exit "only main decides to stop" "$(call 'exit|_exit|quick_exit')" \
    '*.[ch]' 'daemon/base/(check|crashpoint)\.c' "${libraries[@]}"

# Tests wait for events, or move the clock.
forbid sleep "wait for an event, or move brd_clock" "$(call 'sleep|usleep|nanosleep')" \
    '*.[ch]' $none tests
forbid sleep "wait for an event" 'time\.sleep\(' '*.py' $none tests
forbid sleep "wait for an event" '(^|[;&|({]|do|then)[[:space:]]*sleep[[:space:]]+[0-9$"]' \
    '*.sh' $none tests

if ((bad > 0)); then
    echo "calls: $bad forbidden"
    exit 1
fi
echo "calls: nothing forbidden"
