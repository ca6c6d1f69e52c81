#!/usr/bin/env python3
"""docs/statistics.md is what a daemon says, name by name; counters count, and reset."""
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from daemon import PATIENCE_S, SRC, Daemon, Results, find_program, scratch  # noqa: E402

CLI = find_program("brindle")


def address(daemon):
    host, port = daemon.listen
    return f"{host}:{port}"


def documented():
    """{name: (unit, is a counter)}, a kind of request being KIND."""
    found = {}
    for line in (SRC / "docs" / "statistics.md").read_text().splitlines():
        row = re.match(r"\| (\w+) \| (\w*) ?\| (.*) \|$", line)
        if row and row[1] != "name":
            assert row[1] not in found, f"{row[1]} stands twice"
            found[row[1]] = (row[2], row[3].startswith("counter: "))
    return found


PATIENT = ("--timeout", f"{PATIENCE_S}s")


def stats_of(daemon):
    out = subprocess.run([CLI, *PATIENT, "--connect", address(daemon), "--format", "json", "stats"],
                         check=True, capture_output=True).stdout
    return json.loads(out)["stats"]


def run_cli(daemon, *args):
    subprocess.run([CLI, *PATIENT, "--connect", address(daemon), *args], check=False, capture_output=True)


def the_page_and_the_daemon_agree(daemon):
    page = documented()
    said = {}
    for name, stat in stats_of(daemon).items():
        if re.match(r"requests_\w+$", name):
            name = "requests_KIND"
        said[name] = (stat["unit"], stat["counter"])
    assert set(said) == set(page), f"only one has: {sorted(set(said) ^ set(page))}"
    for name, (unit, counter) in page.items():
        assert said[name] == (unit, counter), f"{name}: {said[name]} but documented {unit, counter}"


def number(daemon, name):
    return stats_of(daemon)[name]["value"]


def expiry_is_counted_however_it_happens(daemon):
    run_cli(daemon, "put", "a", "1", "--deadline", "1")
    run_cli(daemon, "put", "b", "1")
    run_cli(daemon, "expire", "b", "--deadline", "1")
    assert number(daemon, "ttl_expired") == 2
    run_cli(daemon, "resetstats")
    assert number(daemon, "ttl_expired") == 0 and number(daemon, "puts") == 0
    assert number(daemon, "connections_max") > 0


def main():
    results = Results()
    with Daemon("--workers", "2", data_dir=scratch()) as daemon:
        results.run("the page and the daemon agree", the_page_and_the_daemon_agree, daemon)
        results.run("expiry is counted", expiry_is_counted_however_it_happens, daemon)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
