#!/usr/bin/env python3
# serial
"""What the daemon says about memory adds up and explains what the kernel says; the process
stays near its limit, and gives back what it does not need. With the release build: sanitizers
have an allocator of their own."""
import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from daemon import Daemon, Results, build_folder, until  # noqa: E402

MIB = 1 << 20
PROGRAM_BYTES = 16 * MIB  # code, stacks, and what the smallest daemon has
REST_BYTES = 8 * MIB
CONNECTION_BYTES = 16 << 10
PATIENCE_S = 600


def release_program(name):
    folder = pathlib.Path(os.environ.get("BRINDLE_RELEASE", build_folder()))
    found = [path for path in folder.rglob(name) if path.is_file() and os.access(path, os.X_OK)]
    return found[0] if found else None


BRINDLED, CLI, BENCH = (release_program(name) for name in ("brindled", "brindle", "brindle-bench"))


def start(*args):
    return Daemon("--workers", 2, *args, program=BRINDLED)


def address(daemon):
    return "{}:{}".format(*daemon.listen)


def cli(daemon, *args):
    return subprocess.run([CLI, "--connect", address(daemon), "--timeout", f"{PATIENCE_S}s",
                           *map(str, args)], check=True, capture_output=True).stdout


def stats(daemon):
    reply = json.loads(cli(daemon, "--format", "json", "stats"))["stats"]
    return {name: stat["value"] for name, stat in reply.items()}


def load(daemon, keys, size, *args):
    """Writes every key once; some are refused where there is no room."""
    subprocess.run([BENCH, "--connect", address(daemon), "-c", "8", "-P", "16", "-n", str(keys),
                    "-r", str(keys), "-d", str(size), "--keys", "seq", "--workload", "set",
                    *map(str, args)], check=False, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def rss(daemon):
    pages = int(pathlib.Path(f"/proc/{daemon.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def huge_pages(daemon):
    """Bytes of memory in transparent huge pages."""
    for line in pathlib.Path(f"/proc/{daemon.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("AnonHugePages:"):
            return int(line.split()[1]) << 10
    return None


def allowed(daemon):
    """Whether the process allows the kernel to make huge pages; None: an old kernel."""
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    found = re.search(r"^THP_enabled:\s*(\d)", status, re.M)
    return bool(int(found[1])) if found else None


def system_gives_huge_pages():
    modes = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return modes.exists() and "[never]" not in modes.read_text()


def most_resident(daemon):
    """The most that there ever was: whatever the scheduler did, it is within the limit's bound."""
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def eventually(daemon, below):
    """The least resident memory seen until it is below so many bytes."""
    least = rss(daemon)
    until = time.monotonic() + PATIENCE_S
    while least > below and time.monotonic() < until:
        stats(daemon)  # takes a moment
        least = min(least, rss(daemon))
    return least


def check_sums(daemon):
    """The parts are counted one after the other, while pages are given back: what must hold is
    that they add up when that is over."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return sums_of(daemon)
        except AssertionError:
            if time.monotonic() > until:
                raise


def sums_of(daemon):
    now = stats(daemon)
    entries = (now["memory_entries"] + now["memory_blobs"] + now["memory_held"]
               + now["memory_tables"] + now["memory_deadlines"] + now["memory_fixed"]
               + now["memory_graveyard"] + now["memory_eviction"])
    used = entries + now["memory_overhead"]
    # Each shard adds what it has gathered when that is 4 KiB.
    assert abs(now["memory_used"] - used) <= 2 * 4096 * now["stripes"], (now["memory_used"], used)
    assert now["memory_entries"] + now["memory_blobs"] >= now["memory_data"]
    if now["allocator_allocated"] == 0:
        return None
    given = now["allocator_allocated"] - now["allocator_cached"]
    explained = (entries - now["memory_chunks"] + now["input_buffer_bytes"]
                 + now["output_buffer_bytes"] + now.get("wal_queue", 0))
    rest = given - explained
    slack = REST_BYTES + CONNECTION_BYTES * now["connections"]
    assert -MIB <= rest <= slack, (given, explained, now)
    assert now["allocator_active"] >= given
    resident = now["allocator_resident"] + now["memory_chunks"] + now["memory_free_tables"]
    program = now["process_rss_bytes"] - resident
    assert abs(program) <= PROGRAM_BYTES + 2 * 1024 * 1024, (now["process_rss_bytes"], resident)
    return {"rest": rest, "program": program,
            "fragmentation": now["allocator_active"] - now["allocator_allocated"]}


def the_parts_add_up():
    with start("--max-memory", "1gb") as daemon:
        print("empty:", check_sums(daemon))
        load(daemon, 200000, 100)
        print("small values:", check_sums(daemon))
        load(daemon, 200000, "10-300", "--ttl", "1h")
        print("deadlines:", check_sums(daemon))
        load(daemon, 2000, 65536)
        print("large values:", check_sums(daemon))
        cli(daemon, "clear")
        print("cleared:", check_sums(daemon))


def what_is_cleared_or_expires_is_given_back(*args):
    with start("--max-memory", "1gb", *args) as daemon:
        load(daemon, 1000, 100)
        empty = rss(daemon)
        for what, args in (("cleared", ()), ("expired", ("--ttl", "3s"))):
            load(daemon, 400000, "50-500", *args)
            load(daemon, 1000, 65536, *args)
            full = rss(daemon)
            if what == "cleared":
                cli(daemon, "clear")
            least = eventually(daemon, empty + 16 * MIB)
            print(f"{what}: {empty // MIB} MiB, then {full // MIB}, then {least // MIB}")
            assert full > empty + 64 * MIB
            assert least <= empty + 16 * MIB


def resident_memory_stays_near_the_limit(policy):
    limit = 128 * MIB
    with start("--max-memory", limit, "--eviction", policy) as daemon:
        for keys, size in ((2000000, 60), (1000000, 250), (300000, "500-1500"), (20000, 20000),
                           (2000000, 30)):
            load(daemon, keys, size)
            now = stats(daemon)
            print(f"{keys} values of {size}: resident {rss(daemon) // MIB} MiB, "
                  f"at most {most_resident(daemon) // MIB}, "
                  f"counted {now['memory_used'] // MIB}, data {now['memory_data'] // MIB}, "
                  f"overhead {now['memory_overhead'] // MIB}")
            check_sums(daemon)
        # As docs/store.md says: an eighth and 48 MiB.
        most = most_resident(daemon)
        assert most <= limit + limit // 8 + 48 * MIB, most // MIB


def huge_pages_are_used_where_they_are_wanted():
    with start("--max-memory", "1gb") as daemon:
        load(daemon, 400000, 100)
        assert huge_pages(daemon) == 0, huge_pages(daemon)
        assert allowed(daemon) in (False, None)
    with start("--max-memory", "1gb", "--huge-pages", "yes") as daemon:
        load(daemon, 1000000, 100)
        print(f"{huge_pages(daemon) // MIB} of {rss(daemon) // MIB} MiB in huge pages")
        check_sums(daemon)
        found = huge_pages(daemon) > 0
        assert found == system_gives_huge_pages(), huge_pages(daemon)
        assert ("huge-pages is yes, but" in "\n".join(daemon.log)) != found
        assert allowed(daemon) in (True, None)
        cli(daemon, "clear")
        if stats(daemon)["allocator_metadata"] > 0:  # jemalloc, which knows what it gave back
            until(lambda: stats(daemon) and allowed(daemon) in (False, None), what="no new ones")
        load(daemon, 1000000, 100)
        until(lambda: stats(daemon) and allowed(daemon) in (True, None), what="new ones again")


def bytes_for_each_key_are_measured():
    with start("--max-memory", "1gb") as daemon:
        def measure():
            return subprocess.run(
                [BENCH, "--connect", address(daemon), "-c", "4", "-d", "100", "--ttl", "1h", "--from",
                 "200k", "--to", "400k", "--steps", "3", "--format", "json", "memory"],
                check=False, capture_output=True, text=True)

        found = json.loads(measure().stdout)
        steps = found["steps"]
        print([(step["keys"], step["bytes_per_key"]) for step in steps])
        assert [step["keys"] for step in steps] == [200000, 300000, 400000]
        assert found["worst"] == max(steps, key=lambda step: step["bytes_per_key"])
        assert found["server"]["pid"] == daemon.pid
        # 144 bytes in a class of 160, and a place in the table.
        per_key = (steps[-1]["resident_bytes"] - found["empty_bytes"]) / 400000
        assert 165 < per_key < 200, per_key
        again = measure()
        assert again.returncode == 1 and "must be empty" in again.stderr, again


def main():
    results = Results()
    if None in (BRINDLED, CLI, BENCH) or b"__asan_init" in BRINDLED.read_bytes():
        print("SKIP: there is no release build")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    results.run("the parts add up", the_parts_add_up)
    results.run("what is cleared or expires is given back", what_is_cleared_or_expires_is_given_back)
    results.run("what is cleared or expires is given back (huge pages)",
                what_is_cleared_or_expires_is_given_back, "--huge-pages", "yes")
    results.run("huge pages are used where they are wanted",
                huge_pages_are_used_where_they_are_wanted)
    results.run("bytes for each key are measured", bytes_for_each_key_are_measured)
    for policy in ("noeviction", "s3fifo", "random"):
        results.run(f"resident memory stays near the limit ({policy})",
                    resident_memory_stays_near_the_limit, policy)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
