"""Eight clients, 200,000 operations on a few keys (deletes, conditional puts and counters among
them), the daemon killed and restarted 20 times meanwhile, and on a disk whose power can be cut
every other time with the power: what the clients saw is linearizable.

This is also the test that no reader is shown what is lost afterwards: under `full` a value or
an absence that was seen before the cut is a fact after it. A build that acknowledges early must
leave a history that is not.

OPERATIONS=2000000 KILLS=200 for a long run; BREAKS=0 leaves that build out.
"""
import contextlib
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (CHECKPOINTS, CrashResults, Daemon, Disk, Helper, SEED, address_of,  # noqa: E402
                 build_broken, find_program, folder_of_its_own, number, preload, sanitizer_prefix,
                 seconds_since, tally, verify_log, why_no_disk)

OPERATIONS = number("OPERATIONS", 200_000)
KILLS = number("KILLS", 20)
BREAKS = number("BREAKS", 1)
SLOW_SYNC_MS = 1
OPERATIONS_BROKEN = 2000
KILLS_BROKEN = 10  # all with the power
SLOW_SYNC_BROKEN_MS = 5
THINK_BROKEN_MS = "12"


def make_history(file, disk, data_dir, dice, operations=OPERATIONS, kills=KILLS, program=None):
    """Returns how many kills were power cuts."""
    moments = sorted(dice.randrange(operations) for _ in range(kills)) + [operations]
    cuts = 0
    broken = program is not None
    env = {"THINK_MS": THINK_BROKEN_MS} if broken else {}
    with Helper("crash_history", file, operations, **env) as clients:
        for index, moment in enumerate(moments):
            cut = disk is not None and (index % 2 == 1 or broken) and moment < operations
            # Now and then a sync takes long, so that there is much to lose.
            slow_ms = SLOW_SYNC_BROKEN_MS if broken else SLOW_SYNC_MS if dice.random() < 0.2 else 0
            env = preload("slowsync", program, SLOW_SYNC_MS=slow_ms) if slow_ms else None
            with Daemon("--durability", "full", "--workers", "2", "--wal-segment-size", "16mb",
                        *CHECKPOINTS, data_dir=data_dir, program=program, env=env) as daemon:
                said = clients.ask(f"run {address_of(daemon)} {moment} {daemon.pid}"
                                   + (f" {disk.folder}" if cut else ""))
                assert said.split()[0] == ("down" if moment < operations else "end"), said
                daemon.process.kill()
                daemon.wait()
            if cut:
                disk.restore()
                cuts += 1
    return cuts


def check(file):
    """The checker's status and what it says."""
    checker = find_program("crash_lincheck")
    done = subprocess.run([*sanitizer_prefix(checker), checker, "check", file], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.strip()


def is_linearizable(with_cuts):
    dice = random.Random(f"{SEED}/history")
    began = time.monotonic()
    with folder_of_its_own() as folder:
        file = folder / "history"
        with Disk(2048) if with_cuts else contextlib.nullcontext() as disk:
            data_dir = (disk.folder if disk else folder) / "data"
            cuts = make_history(file, disk, data_dir, dice)
            verify_log(data_dir)
        tally(kills=KILLS - cuts, cuts=cuts, operations=OPERATIONS)
        print(f"{KILLS} kills, {cuts} of them with the power, {seconds_since(began)}", flush=True)
        began = time.monotonic()
        status, said = check(file)
        print(f"{said}; checked in {seconds_since(began)}")
        assert status == 0


def is_caught(fault):
    """By the checker; a daemon that does not start on what it left is not what is looked for."""
    dice = random.Random(f"{SEED}/{fault}")
    program = build_broken(fault)
    for attempt in range(1, 11):
        with folder_of_its_own() as folder, Disk(2048) as disk:
            try:
                make_history(folder / "history", disk, disk.folder / "data", dice,
                             OPERATIONS_BROKEN, KILLS_BROKEN, program)
            except RuntimeError as error:
                print(f"{fault}, attempt {attempt}: {error}")
                continue
            status, said = check(folder / "history")
            if status != 0:
                assert "not linearizable" in said, said
                print(f"{fault} caught at attempt {attempt}: {said}")
                return
    raise AssertionError(f"{fault}: ten histories and not caught")


def main():
    results = CrashResults()
    reason = why_no_disk()
    if reason:
        results.skip(f"without power cuts, kills only: {reason}")
    results.run("what_clients_see_through_crashes_is_linearizable", is_linearizable, not reason)
    if not reason and BREAKS:
        results.run("a_planted_early_ack_leaves_a_history_that_is_not", is_caught, "EARLY_ACK")
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
