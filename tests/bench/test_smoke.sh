#!/usr/bin/env bash
# brindle-bench against real servers: Brindle, and redis-server and memcached where they are
# installed. What it reports must be what happened.
set -uo pipefail

bench=$BRINDLE_BUILD/brindle-bench
tmp=${TMPDIR:-/tmp}/bench-smoke.$$
mkdir -p "$tmp"
patience_s=600 # for what must happen
passed=0
failed=0
skipped=0
pids=()

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    ((${#pids[@]} == 0)) || kill -9 "${pids[@]}" 2>/dev/null
    rm -rf "$tmp"
}
trap cleanup EXIT

pass() { passed=$((passed + 1)); }

fail() {
    failed=$((failed + 1))
    echo "FAIL: $*"
    tail -n 60 "$tmp/out" "$tmp/err" 2>/dev/null
}

skip() {
    skipped=$((skipped + 1))
    echo "SKIP: $*"
}

finish() {
    local total="$passed passed, $failed failed"
    ((skipped == 0)) || total+=", $skipped skipped"
    echo "$total"
    ((failed == 0))
    exit
}

# bench ARGS...: its output in $tmp/out and $tmp/err, its exit status in $status
bench() {
    status=0
    "$bench" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
}

# json_holds EXPRESSION: about the result r
json_holds() {
    python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); sys.exit(not eval(f"({sys.argv[2]})"))' \
        "$tmp/out" "$1"
}

# expect NAME STATUS EXPRESSION
expect() {
    if ((status != $2)); then
        fail "$1: exit status $status, not $2"
    elif [[ -n $3 ]] && ! json_holds "$3"; then
        fail "$1: not true: $3"
    else
        pass
    fi
}

# says NAME STATUS FILE TEXT
says() {
    if ((status != $2)); then
        fail "$1: exit status $status, not $2"
    elif ! grep -qF -- "$4" "$tmp/$3"; then
        fail "$1: does not say '$4'"
    else
        pass
    fi
}

# ---- Servers: each sets $address, $protocol and $server_pid ------------------------------

wait_until_it_answers() {
    local give_up=$((SECONDS + patience_s))
    while ((SECONDS < give_up)); do
        kill -0 "$server_pid" 2>/dev/null || return 1
        "$bench" --connect "$address" --protocol "$protocol" -c 1 -n 1 >/dev/null 2>&1 && return 0
    done
    return 1
}

start_redis() {
    address=unix:$tmp/redis.sock
    protocol=resp
    redis-server --port 0 --unixsocket "$tmp/redis.sock" --save '' --appendonly no --dir "$tmp" \
        >"$tmp/redis.log" 2>&1 &
    server_pid=$!
    pids+=("$server_pid")
    disown "$server_pid" # or bash announces its end
    wait_until_it_answers
}

start_memcached() {
    address=unix:$tmp/memcached.sock
    protocol=memcached
    memcached -s "$tmp/memcached.sock" -m 256 -t 1 -u "$(id -un)" >"$tmp/memcached.log" 2>&1 &
    server_pid=$!
    pids+=("$server_pid")
    disown "$server_pid" # or bash announces its end
    wait_until_it_answers
}

start_brindled() {
    local line=
    protocol=brindle
    mkfifo "$tmp/brindled.err"
    "$BRINDLE_BUILD/brindled" --listen 127.0.0.1:0 --resp-listen none --http-listen none \
        --data-dir none --max-key-size 1mb >/dev/null 2>"$tmp/brindled.err" &
    server_pid=$!
    pids+=("$server_pid")
    disown "$server_pid" # or bash announces its end
    exec 7<"$tmp/brindled.err"
    while IFS= read -r -t "$patience_s" -u 7 line; do
        [[ $line == ready:* ]] && break
        echo "brindled: $line"
    done
    [[ $line == ready:* ]] || return 1
    address=$(sed -E 's/^ready: listen=([^ ]+).*/\1/' <<<"$line")
}

if [[ ! -x $bench ]]; then
    fail "there is no $bench"
    finish
fi

# ---- What needs no server -----------------------------------------------------------------

bench --help
says "help names the defaults" 0 out "[127.0.0.1:7420]"
bench --version
says "version" 0 out "brindle-bench "
bench --nonsense
says "an unknown option is a usage error" 64 err "unknown option '--nonsense'"
bench -r 1000000 --key-size 3
says "too small keys are a usage error" 64 err "1000000 keys need names of at least 6 bytes"
bench --protocol memcached --key-size 251
says "too large keys are a usage error" 64 err "keys of 251 bytes: with --protocol memcached at most 250"
bench --histogram "$tmp/no/where" --connect "unix:$tmp/nobody"
says "a histogram that cannot be written is told before the load" 1 err \
    "--histogram $tmp/no/where: No such file or directory"
bench replay --help
says "help stands behind a command too" 0 out "[127.0.0.1:7420]"
bench --connect 127.0.0.1
says "an address without port is named" 1 err "'127.0.0.1' is no address"
bench --connect "unix:$tmp/nobody"
says "a server that is not there is named" 1 err "cannot connect: No such file or directory"
bench --connect unix:@nobody
says "an abstract socket is refused" 1 err "write unix:./@nobody for a file of that name"
bench --connect unix:./@nobody
says "a file whose name begins like one is not" 1 err "cannot connect: No such file or directory"
bench replay "$tmp/nothing.csv"
says "a trace that is not there is named" 1 err "nothing.csv: No such file or directory"
printf '1,a,1,0,0,get,0\n1,a b,1,0,0,get,0\n' >"$tmp/bad.csv"
bench replay "$tmp/bad.csv"
says "a bad line is named" 1 err "bad.csv:2: the key holds a space"
: >"$tmp/empty.csv"
bench replay "$tmp/empty.csv"
says "an empty trace is an error" 1 err "empty.csv: the trace is empty"
xz -k "$tmp/empty.csv"
bench --format json replay - <"$tmp/empty.csv.xz"
says "so is one that is packed and from standard input" 1 err "brindle-bench: -: the trace is empty"
if [[ -s $tmp/out ]]; then fail "there is a report of an empty trace"; else pass; fi
printf 'nonsense\n\n' >"$tmp/bad.csv"
bench --skip-bad-lines replay "$tmp/bad.csv"
says "and one of which every line was skipped" 1 err "bad.csv: all 2 lines of the trace are bad"

# A trace whose hot keys repeat within any pipeline: 20,000 gets, 500 keys, sizes given and not.
awk 'BEGIN {
    srand(1)
    for (i = 0; i < 20000; i++) {
        key = i < 500 ? i : int(exp(rand() * log(500)))
        printf "%d,key-%d,%d,%d,1,get,0\n", i / 100, key % 500, 7, key % 3 * 40
    }
}' >"$tmp/trace.csv"
xz -k "$tmp/trace.csv"
printf '1,a,1,10,0,set,0\n1,a,1,0,0,get,0\n1,b,1,5,0,add,0\n1,b,1,5,0,add,0\n1,a,1,0,0,delete,0
1,a,1,0,0,get,0\n1,c,1,5,0,replace,0\n1,a,1,5,0,append,0\n1,a,1,3,0,incr,0\n' >"$tmp/writes.csv"

# Two gets of a key of so many bytes.
for bytes in 250 65536 1048576 1048577; do
    key=$(head -c "$bytes" /dev/zero | tr '\0' k)
    printf '1,%s,9,9,1,get,0\n' "$key" "$key" >"$tmp/long-$bytes.csv"
done
bench replay "$tmp/long-1048577.csv"
says "a key that no server takes is named" 1 err "long-1048577.csv:1: the key is longer than 1048576"
bench --protocol memcached replay "$tmp/long-65536.csv"
says "a key that the protocol does not carry is named" 1 err \
    "long-65536.csv:1: the key has 65536 bytes; the protocol carries at most 250"

# ---- With each server ---------------------------------------------------------------------

test_server() {
    local name=$1 key_bytes_max=65536
    [[ $protocol != memcached ]] || key_bytes_max=250
    local to=(--connect "$address" --protocol "$protocol" --format json)

    bench "${to[@]}" -n 20000 -r 5000 --fill --verify -P 7 -c 11 -t 3
    expect "$name: a mixed load finds what was filled" 0 \
        "r['requests'] == 20000 and r['errors'] == 0 and r['misses'] == 0 and r['hits'] > 17000
         and r['fill_requests'] == 5000 and r['latency_us']['read']['count'] == r['hits']
         and r['latency_us']['read']['count'] + r['latency_us']['write']['count'] == 20000"
    expect "$name: the cost of the server is known" 0 \
        "r['server']['cpu_us_per_request'] is not None and r['server']['pid'] == $server_pid
         and r['server']['version'] and r['server']['cpu_source'] == 'clock'
         and r['server']['cpu_us'] > 0 and r['bench_sleeps'] > 0"
    bench "${to[@]}" -n 3000 -r 5000 --workload getmany --getmany 20 --verify -P 3 -c 5
    expect "$name: many keys in one request" 0 \
        "r['requests'] == 3000 and r['hits'] == 60000 and r['errors'] == 0"
    bench "${to[@]}" -n 2000 -r 100 --workload set -d 0-70000 --ttl 1h --keys seq -P 20 -c 3
    expect "$name: values of many sizes with a time to live" 0 \
        "r['requests'] == 2000 and r['errors'] == 0 and r['bytes_out'] > 50000000"
    bench "${to[@]}" -n 2000 -r 100 --workload get --verify --keys zipf:1.3 --refill each -P 9 -c 2
    expect "$name: they come back whole" 0 "r['misses'] == 0 and r['errors'] == 0"
    bench "${to[@]}" -n 2000 -r 3000 --key-size lognormal:32:1.5 --fill --verify -P 20 -c 3
    expect "$name: sizes of names that have no ends of their own" 0 \
        "r['misses'] == 0 and r['errors'] == 0 and r['settings']['key_bytes']['min'] == 4
         and r['settings']['key_bytes']['max'] == $key_bytes_max"
    bench "${to[@]}" -n 100 -r 100 --key-size $key_bytes_max --workload getmany --fill
    expect "$name: the longest names" 0 "r['hits'] == 1000 and r['errors'] == 0"
    bench "${to[@]}" -n 500 --histogram "$tmp/histogram"
    expect "$name: a histogram counts every latency" 0 \
        "sum(int(line.split()[1]) for line in open('$tmp/histogram') if line[0] != '#')
         == r['latency_us']['read']['count'] + r['latency_us']['write']['count']"
    bench "${to[@]}" --rate 2000 --duration 500ms -r 5000 -c 4 --arrivals poisson
    expect "$name: the open loop sends what is due" 0 \
        "800 < r['requests'] + r['unsent'] < 1200 and r['errors'] == 0"

    bench "${to[@]}" replay "$tmp/trace.csv.xz" -t 3 -c 7 -P 16 --verify
    expect "$name: every key misses once, however deep the pipeline" 0 \
        "r['misses'] == 500 and r['hits'] == 19500 and r['trace']['keys'] == 500
         and r['trace']['answered'] == 20000 and r['trace']['sets_after_miss'] == 500"
    bench "${to[@]}" replay "$tmp/trace.csv" -P 100 -c 1 --verify
    expect "$name: the second time none misses" 0 "r['misses'] == 0 and r['hits'] == 20000"
    bench "${to[@]}" replay "$tmp/writes.csv" -c 2 -P 5
    expect "$name: other operations are replayed as what they are" 0 \
        "r['hits'] == 1 and r['misses'] == 1 and r['refused'] == 2 and r['requests'] == 10"

    bench "${to[@]}" replay "$tmp/long-$key_bytes_max.csv" --verify
    expect "$name: keys of a trace may be as long as the server takes" 0 \
        "r['misses'] == 1 and r['hits'] == 1 and r['errors'] == 0"

    begin_long_run -r 5000
    kill -INT "$run"
    end_long_run
    expect "$name: an interrupt prints what was measured" 0 \
        "r['interrupted'] and r['requests'] > 0 and r['errors'] == 0"
}

# begin_long_run ARGS...: a run that lasts until it is stopped, in $run, and under way
begin_long_run() {
    local line=
    mkfifo "$tmp/progress"
    "$bench" --connect "$address" --protocol "$protocol" --format json --duration 1h \
        --progress yes "$@" >"$tmp/out" 2>"$tmp/progress" &
    run=$!
    pids+=("$run")
    exec 8<"$tmp/progress"
    IFS= read -r -t "$patience_s" -n 20 -u 8 line
}

# end_long_run: waits for its end; its exit status in $status
end_long_run() {
    cat <&8 >/dev/null
    status=0
    wait "$run" || status=$?
    exec 8<&-
    rm "$tmp/progress"
}

# The server stands still for half a second or more of the two that an open loop lasts. All that
# was due meanwhile was delayed, not only what was under way: eight requests.
test_stall() {
    local name=$1 line=
    mkfifo "$tmp/stall"
    "$bench" --connect "$address" --protocol "$protocol" --format json --rate 2000 --duration 2s \
        -c 4 -P 2 -r 5000 --workload get --progress yes >"$tmp/out" 2>"$tmp/stall" &
    local run=$!
    pids+=("$run")
    exec 8<"$tmp/stall"
    IFS= read -r -t 600 -d '/' -u 8 line # a line of progress, twice a second
    kill -STOP "$server_pid"
    IFS= read -r -t 600 -d '/' -u 8 line
    IFS= read -r -t 600 -d '/' -u 8 line # a whole interval lies between these two
    kill -CONT "$server_pid"
    status=0
    wait "$run" || status=$?
    exec 8<&-
    rm "$tmp/stall"
    expect "$name: the open loop charges a stall to everything that it delayed" 0 \
        "r['latency_us']['read']['p90'] > 100000 and r['latency_us']['read']['count'] > 1000"
}

# The server dies under load.
test_death() {
    local name=$1
    begin_long_run -P 10
    kill -9 "$server_pid"
    end_long_run
    expect "$name: a server that dies is an error, and what was measured is printed" 1 \
        "r['requests'] > 0 and r['errors'] == 50 and r['unanswered'] >= 0 and r['first_error']"
}

if [[ -x $BRINDLE_BUILD/brindled ]]; then
    if start_brindled; then
        test_server brindled
        bench --connect "$address" --format json replay "$tmp/long-1048576.csv" --verify
        expect "brindled: the longest key of all" 0 \
            "r['misses'] == 1 and r['hits'] == 1 and r['errors'] == 0"
        test_stall brindled
        test_death brindled
    else
        fail "brindled does not get ready"
    fi
else
    skip "there is no brindled in $BRINDLE_BUILD"
fi
if command -v redis-server >/dev/null; then
    if start_redis; then
        test_server redis-server
        bench --connect "$address" --protocol memcached -c 2 -n 10
        says "the wrong protocol is an error" 1 out "not understood"
        redis-cli -s "$tmp/redis.sock" set key:000000000000 other >/dev/null
        bench --connect "$address" --protocol resp -c 2 -n 10 -r 1 --workload get --verify
        says "a value that somebody else wrote is found" 1 out "wrong values  10"
        redis-cli -s "$tmp/redis.sock" config set maxmemory 1 >/dev/null
        bench --connect "$address" --protocol resp -c 2 -n 10 --workload set
        says "errors of the server are counted and shown" 1 out "OOM command not allowed"
        redis-cli -s "$tmp/redis.sock" config set maxmemory 0 >/dev/null
        test_death redis-server
    else
        fail "redis-server does not get ready"
    fi
else
    skip "redis-server is not installed"
fi
if command -v memcached >/dev/null; then
    if start_memcached; then
        test_server memcached
        test_death memcached
    else
        fail "memcached does not get ready"
    fi
else
    skip "memcached is not installed"
fi
finish
