#!/usr/bin/env python3
"""The memory limit with real clients: each policy holds it, and both options change on SIGHUP."""
import json
import pathlib
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from daemon import PATIENCE_S, Daemon, Results, find_program, scratch, until  # noqa: E402

BENCH = find_program("brindle-bench")
CLI = find_program("brindle")
LIMIT = 2 << 20


def address(daemon):
    host, port = daemon.listen
    return f"{host}:{port}"


def cli(daemon, *args):
    return subprocess.run([CLI, "--timeout", f"{PATIENCE_S}s", "--connect", address(daemon), *args],
                          check=False, capture_output=True, text=True)


def stats_of(daemon):
    done = cli(daemon, "--format", "json", "stats")
    assert done.returncode == 0, done.stderr
    return {name: stat["value"] for name, stat in json.loads(done.stdout)["stats"].items()}


def fill(daemon, keys=30000, ttl=None):
    """Writes keys of 100 bytes from 20 connections; how many were refused."""
    options = ["--ttl", ttl] if ttl else []
    done = subprocess.run(
        [BENCH, "--connect", address(daemon), "--workload", "set", "-c", "20", "-P", "4", "-d", "100",
         "-r", str(keys), "-n", str(keys), "--format", "json", "--progress", "no", *options],
        check=False, capture_output=True, text=True)
    return json.loads(done.stdout)["errors"]


def every_policy_holds_the_limit():
    for policy in ("s3fifo", "lru", "random", "volatile-ttl", "allkeys-lfu"):
        with Daemon("--max-memory", LIMIT, "--eviction", policy, data_dir="none") as daemon:
            assert fill(daemon, ttl="1h") == 0, policy
            got = stats_of(daemon)
            assert got["evictions"] > 5000, (policy, got["evictions"])
            assert got["memory_used"] <= LIMIT + LIMIT // 16, (policy, got["memory_used"])
            assert got["keys"] > 2000, (policy, got["keys"])


def both_options_change_while_the_daemon_runs():
    folder = scratch()
    path = folder / "brindle.conf"
    path.write_text("[memory]\nmax-memory = 2mb\neviction = noeviction\n")
    with Daemon("--config", path, data_dir="none") as daemon:
        assert fill(daemon) > 0
        assert stats_of(daemon)["evictions"] == 0
        refused = cli(daemon, "put", "key", "v" * 1000)
        assert refused.returncode == 1 and "OUT_OF_MEMORY" in refused.stderr, refused.stderr

        path.write_text("[memory]\nmax-memory = 2mb\neviction = s3fifo\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(r"reload: eviction is now s3fifo \(was noeviction\)")
        until(lambda: stats_of(daemon)["eviction"] == "s3fifo")
        assert cli(daemon, "put", "key", "v" * 1000).returncode == 0
        giant = cli(daemon, "put", "giant", "v" * 100000)
        assert giant.returncode == 0, giant.stderr
        assert fill(daemon) == 0

        path.write_text("[memory]\nmax-memory = 1mb\neviction = lru\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(r"reload: max-memory is now 1mb")
        until(lambda: stats_of(daemon)["memory_used"] <= (1 << 20) + (1 << 16))
        until(lambda: stats_of(daemon)["eviction"] == "lru")  # taken over after the limit
    shutil.rmtree(folder)


def a_limit_below_an_empty_store_is_said():
    folder = scratch()
    path = folder / "brindle.conf"
    path.write_text("[memory]\nmax-memory = 60kb\n")
    with Daemon("--config", path, data_dir="none") as daemon:
        daemon.wait_log(r"warning: max-memory \(61440 bytes\) is less than the \d+ bytes")
        assert "OUT_OF_MEMORY" in cli(daemon, "put", "key", "value").stderr
        path.write_text("[memory]\nmax-memory = 2mb\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(r"reload: done")
        assert cli(daemon, "put", "key", "value").returncode == 0
        path.write_text("[memory]\nmax-memory = 1kb\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log(r"warning: max-memory \(1024 bytes\) is less than the \d+ bytes")
    shutil.rmtree(folder)


def main():
    results = Results()
    results.run("every policy holds the limit", every_policy_holds_the_limit)
    results.run("both options change while the daemon runs",
                both_options_change_while_the_daemon_runs)
    results.run("a limit below an empty store is said", a_limit_below_an_empty_store_is_said)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
