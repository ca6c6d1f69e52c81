#!/usr/bin/env python3
"""An allocation that fails costs an error or one connection: never the daemon, never data.

The daemon of BRINDLE_RELEASE is used, because sanitizers bring an allocator of their own."""
import os
import pathlib
import re
import resource
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from brindle_client import Client, pb
from daemon import PATIENCE_S, Daemon, Results, build_folder, find_program, preloadable, scratch

KIB = 1024
PRELOAD = build_folder() / "tests" / "preload" / "failalloc.so"


def release_program():
    folder = pathlib.Path(os.environ.get("BRINDLE_RELEASE", build_folder()))
    found = [path for path in folder.rglob("brindled") if path.is_file()]
    return found[0] if found else find_program("brindled")


BRINDLED = release_program()


def env(at, length=1, every=0):
    return {"LD_PRELOAD": str(preloadable(PRELOAD)), "FAILALLOC_AT": str(at), "FAILALLOC_FOR": str(length),
            "FAILALLOC_EVERY": str(every)}


def every_allocation_of_a_start_may_fail():
    """It starts all the same, or says why not and ends with 1 or 2."""
    folder = scratch()
    statuses = {}
    at, clean = 1, 0
    while clean < 3:
        daemon = Daemon("--workers", 1, "--stripes", 4, "--wal-segment-size", "1mb",
                        data_dir=folder / "data", program=BRINDLED, env=env(at), wait=False)
        with daemon:
            with daemon._changed:
                daemon._changed.wait_for(lambda: daemon.ready or daemon._ended, PATIENCE_S)
            if daemon.ready:
                status = daemon.stop()
                assert status == 0, (at, status, daemon.tail())
            else:
                status = daemon.wait()
                assert status in (1, 2), (at, status, daemon.tail())
                assert any("error" in line for line in daemon.log), (at, daemon.log)
            statuses[status] = statuses.get(status, 0) + 1
            clean = clean + 1 if status == 0 else 0
        at += 1 if at < 60 else 7
        assert at < 5000
    print(f"starts with allocation 1 to {at} failing: status and how often: {statuses}")


def a_daemon_short_of_memory_serves_what_it_can(every):
    """Allocations keep failing in bursts. Acknowledged writes are there afterwards."""
    folder = scratch()
    outcomes = {"ok": 0, "refused": 0, "closed": 0}
    written = {}
    environment = env(3000, length=3, every=every)
    with Daemon("--workers", 2, "--stripes", 4, data_dir=folder / "data", program=BRINDLED,
                env=environment) as daemon:
        client = None
        number = 0
        while number < 3000:
            number += 1
            key = b"%d" % (number % 500)
            value = b"%d-" % number + b"v" * (number % 3 * 3000)
            try:
                if client and number % 10 == 0:
                    client.close()
                    client = None
                if client is None:
                    client = Client(daemon.listen)
                client.send(client.request(put=pb.Put(key=key, value=value)))
                reply = client.receive()
                if reply is None or reply.id == 0:  # refused before it was let in, say
                    raise ConnectionError
            except (ConnectionError, OSError):
                outcomes["closed"] += 1
                written.setdefault(key, set()).add(value)  # it may have happened
                if client:
                    client.close()
                client = None
                assert daemon.running(), daemon.tail()
                continue
            if reply.status == pb.OK:
                outcomes["ok"] += 1
                written[key] = {value}
            else:
                assert reply.status in (pb.OUT_OF_MEMORY, pb.BUSY), reply
                outcomes["refused"] += 1
        print(f"requests while 3 of {every} allocations fail: {outcomes}")
        assert outcomes["ok"] > 100, outcomes
        assert daemon.running(), daemon.tail()
        if client:
            client.close()
        daemon.kill()
    with Daemon(data_dir=folder / "data") as daemon, Client(daemon.listen) as client:
        for key, values in written.items():
            reply = client.call(get=pb.Get(key=key))
            assert len(values) > 1 or reply.status == pb.OK, (key, reply.status)
            assert reply.status == pb.NOT_FOUND or reply.value in values, key


def a_full_address_space_costs_connections_and_not_the_daemon():
    """Clients come to workers that have not allocated anything before."""
    with Daemon("--workers", 8, program=BRINDLED) as daemon:
        status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
        size = KIB * int(re.search(r"VmSize:\s+(\d+)", status)[1])
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (size, size))
        for _ in range(24):
            try:
                with Client(daemon.listen) as client:
                    client.call(ping=pb.Ping())
            except ConnectionError:
                pass
        assert daemon.stop() == 0


def main():
    results = Results()
    if not PRELOAD.exists():
        print(f"SKIP: {PRELOAD} was not built")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    subprocess.run([str(BRINDLED), "--version"], check=True, env={**os.environ, **env(0)},
                   stdout=subprocess.DEVNULL)
    if b"__asan_init" not in BRINDLED.read_bytes():
        results.run("a_full_address_space_costs_connections_and_not_the_daemon",
                    a_full_address_space_costs_connections_and_not_the_daemon)
    results.run("every_allocation_of_a_start_may_fail", every_allocation_of_a_start_may_fail)
    for every in (7, 31, 97):
        results.run(f"a_daemon_short_of_memory_serves_what_it_can({every})",
                    a_daemon_short_of_memory_serves_what_it_can, every)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
