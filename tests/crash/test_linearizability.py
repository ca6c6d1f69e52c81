"""Eight clients, 200,000 operations on a few keys (deletes, conditional puts and counters among
them), the daemon killed and restarted 20 times meanwhile, and on a disk whose power can be cut
every other time with the power: what the clients saw is linearizable.

This is also the test that no reader is shown what is lost afterwards: under `full` a value or
an absence that was seen before the cut is a fact after it.

OPERATIONS=2000000 KILLS=200 for a long run.
"""
import contextlib
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (CHECKPOINTS, CrashResults, Daemon, Disk, Helper, SEED, address_of, find_program,  # noqa: E402
                 folder_of_its_own, number, preload, sanitizer_prefix, seconds_since, verify_log,
                 why_no_disk)

OPERATIONS = number("OPERATIONS", 200_000)
KILLS = number("KILLS", 20)
SLOW_SYNC_MS = 1


def make_history(file, disk, data_dir, dice):
    """Returns how many kills were power cuts."""
    moments = sorted(dice.randrange(OPERATIONS) for _ in range(KILLS)) + [OPERATIONS]
    cuts = 0
    with Helper("crash_history", file, OPERATIONS) as clients:
        for index, moment in enumerate(moments):
            cut = disk is not None and index % 2 == 1 and moment < OPERATIONS
            # Now and then a sync takes long, so that there is much to lose.
            env = preload("slowsync", SLOW_SYNC_MS=SLOW_SYNC_MS) if dice.random() < 0.2 else None
            with Daemon("--durability", "full", "--workers", "2", "--wal-segment-size", "16mb",
                        *CHECKPOINTS, data_dir=data_dir, env=env) as daemon:
                said = clients.ask(f"run {address_of(daemon)} {moment} {daemon.pid}"
                                   + (f" {disk.folder}" if cut else ""))
                assert said.split()[0] == ("down" if moment < OPERATIONS else "end"), said
                daemon.process.kill()
                daemon.wait()
            if cut:
                disk.restore()
                cuts += 1
    return cuts


def is_linearizable(with_cuts):
    dice = random.Random(f"{SEED}/history")
    began = time.monotonic()
    checker = find_program("crash_lincheck")
    with folder_of_its_own() as folder:
        file = folder / "history"
        with Disk(2048) if with_cuts else contextlib.nullcontext() as disk:
            data_dir = (disk.folder if disk else folder) / "data"
            cuts = make_history(file, disk, data_dir, dice)
            verify_log(data_dir)
        print(f"{KILLS} kills, {cuts} of them with the power, {seconds_since(began)}", flush=True)
        began = time.monotonic()
        done = subprocess.run([*sanitizer_prefix(checker), checker, "check", file], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(f"{done.stdout.strip()}; checked in {seconds_since(began)}")
        assert done.returncode == 0


def main():
    results = CrashResults()
    reason = why_no_disk()
    if reason:
        results.skip(f"without power cuts, kills only: {reason}")
    results.run("what_clients_see_through_crashes_is_linearizable", is_linearizable, not reason)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
