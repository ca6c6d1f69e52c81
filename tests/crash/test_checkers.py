"""The checkers themselves: what the crash tests are to find is planted, and found."""
import itertools
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from rig import (EVICTION, CrashResults, Daemon, Helper, SEED, address_of, find_program,  # noqa: E402
                 folder_of_its_own, number, sanitizer_prefix)
from brindle_client import Client, pb  # noqa: E402

PLANTED = number("PLANTED", 40)  # of each of six kinds


def some_key(client):
    """A string of the load that is there."""
    for conn, index in itertools.product(range(16), range(44)):
        key = b"load/%02d/%02d" % (conn, index)
        if client.call(get=pb.Get(key=key)).status == pb.OK:
            return key
    raise AssertionError("the load left no key")


def lose_a_key(client):
    client.call(delete=pb.Delete(keys=[some_key(client)]))


def change_a_value(client):
    client.call(append=pb.Append(key=some_key(client), value=b"x"))


def change_a_deadline(client):
    client.call(expire=pb.Expire(key=some_key(client), ttl_ms=123456))


def add_a_key(client):
    client.call(put=pb.Put(key=b"unknown", value=b"x"))


def loss_is_noticed(plant, evicts=False):
    """plant(client) changes what a load has left; or is the name of a change to the files."""
    options = ("--workers", "2", *((*EVICTION, "s3fifo") if evicts else ()))
    run = f"conns={16 if evicts else 2} depth=16 at=1500 evicts={int(evicts)}"
    verify = f"rule=kill class=normal evicts={int(evicts)}"
    with folder_of_its_own() as folder, Helper("crash_load") as load:
        data, older = folder / "data", folder / "older"
        for _ in range(2):
            if data.exists():
                shutil.copytree(data, older)
            with Daemon(*options, data_dir=data) as daemon:
                if older.exists():
                    load.ask(f"verify {address_of(daemon)} {verify}")
                load.ask(f"run {address_of(daemon)} {run} kill={daemon.pid}")
                daemon.wait()
        if plant == "nothing":
            shutil.rmtree(data)
        elif plant == "older":
            shutil.rmtree(data)
            older.rename(data)
        with Daemon("--workers", "2", data_dir=data) as daemon:  # without a limit: the plant stays
            if callable(plant):
                with Client(daemon.listen) as client:
                    plant(client)
            try:
                said = load.ask(f"verify {address_of(daemon)} {verify}")
            except AssertionError as error:
                assert "FAIL" in str(error), error
                return
    raise AssertionError(f"not noticed: {said}")


def linearizability_faults_are_found():
    program = find_program("crash_lincheck")
    done = subprocess.run([*sanitizer_prefix(program), program, "prove", str(SEED), str(PLANTED)],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, end="")
    assert done.returncode == 0


def main():
    results = CrashResults()
    for plant in (lose_a_key, change_a_value, change_a_deadline, add_a_key):
        results.run(f"load_notices_{plant.__name__}", loss_is_noticed, plant)
    for plant in ("nothing", "older"):
        results.run(f"load_notices_files_that_hold_{plant}", loss_is_noticed, plant)
    for plant in (change_a_value, change_a_deadline, add_a_key):
        results.run(f"load_notices_{plant.__name__}_beside_evictions", loss_is_noticed, plant, True)
    results.run("load_notices_files_that_hold_older_beside_evictions", loss_is_noticed, "older", True)
    results.run("linearizability_faults_are_found", linearizability_faults_are_found)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
