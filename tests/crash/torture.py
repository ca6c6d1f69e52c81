#!/usr/bin/python3
"""Repeats the crash tests with large numbers and new seeds until the time is over, or one fails.

usage: ./dev torture [MINUTES] [--seed N] [--only NAME]...

MINUTES: after so long no further test is begun (default: 480); 0: one. Each runs with a seed of its
own, drawn from --seed, and in a TMPDIR of its own, with KEEP (tests/support/rig.py): when one fails,
that folder stays, with all that it said (output), the data as the crash left it (before-recovery),
and what the last daemons said; and a line says how to repeat it. A seed repeats what was drawn, not what
the threads and the disk made of it: a repetition may need some tries. The numbers below can be set
in the environment, as for the tests themselves.

Exit status: 0 all passed, 1 one failed, 2 wrong usage, 130 interrupted.
"""
import argparse
import collections
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SRC = HERE.parents[1]
TAIL_LINES = 60
LONGEST_S = 3 * 3600  # a test that takes longer hangs
STOP_S = 60

# Some minutes each, so that all have their turns in an hour.
NUMBERS = {
    "kill_loop": {"KILLS": 200, "RECOVERY_KILLS": 60, "EVICTION_KILLS": 100},
    "power_cut": {"CUTS": 100, "KEYED_CUTS": 100, "BREAKS": 0},
    "linearizability": {"OPERATIONS": 1_000_000, "KILLS": 100, "BREAKS": 0},
    "faults": {},
    "damage": {"FLIPS": 150, "TAILS": 60},
    "expiry": {},
    "rekey": {"KILLS": 200},
}


class Interrupted(Exception):
    pass


def interrupt(*_):
    raise Interrupted


class Torture:
    def __init__(self, args):
        self.args = args
        self.dice = random.Random(args.seed)
        self.began = time.monotonic()
        self.totals = collections.Counter()
        self.seeds = {name: [] for name in args.only}
        self.skips = collections.Counter()

    def say(self, text):
        print(f"torture: {(time.monotonic() - self.began) / 60:6.1f} min  {text}", flush=True)

    def one(self, name):
        """False: it failed."""
        seed = self.dice.randrange(1, 2**31)
        settings = {"SEED": str(seed)}
        for setting, number in NUMBERS.get(name, {}).items():
            settings[setting] = os.environ.get(setting, str(number))
        self.seeds[name].append(seed)
        words = " ".join(f"{setting}={value}" for setting, value in settings.items())
        self.say(f"{name}: {words}")
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"brindle-torture-{name}-"))
        output = folder / "output"
        script = self.args.scripts / f"test_{name}.py"
        began = time.monotonic()
        try:
            status = self.run(script, folder, output, settings)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        text = output.read_text(errors="replace")
        self.note(text)
        if status == 0:
            shutil.rmtree(folder, ignore_errors=True)
            self.say(f"{name}: passed in {time.monotonic() - began:.0f} s")
            return True
        print("\n".join("    " + line for line in text.splitlines()[-TAIL_LINES:]))
        self.say(f"{name}: FAILED ({status}) after {time.monotonic() - began:.0f} s")
        print(f"evidence: {folder}")
        print(f"repeat with: {words} KEEP=1 BRINDLE_BUILD={shlex.quote(self.build())} "
              f"{shlex.join(['/usr/bin/python3', str(script)])}")
        return False

    def build(self):
        return os.environ.get("BRINDLE_BUILD") or str(SRC / "build" / "dev")

    def run(self, script, folder, output, settings):
        """The exit status, or why there is none. It has a process group of its own."""
        env = {**os.environ, **settings, "TMPDIR": str(folder), "KEEP": "1",
               "BRINDLE_SRC": str(SRC), "BRINDLE_BUILD": self.build(), "PYTHONUNBUFFERED": "1"}
        with open(output, "wb") as out:
            process = subprocess.Popen(["/usr/bin/python3", str(script)], env=env, stdout=out,
                                       stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            try:
                return process.wait(LONGEST_S)
            except subprocess.TimeoutExpired:
                return f"it took longer than {LONGEST_S} s"
            finally:
                self.end(process)

    def end(self, process):
        """It ends its daemons itself, if it is asked to; one that does not is killed with them."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def note(self, text):
        self.totals["tests"] += 1
        for line in re.findall(r"^DONE (.*)$", text, re.M):
            for name, count in re.findall(r"(\w+)=(\d+)", line):
                self.totals[name] += int(count)
        self.skips.update(re.findall(r"^SKIP: *(.*)$", text, re.M))

    def rounds(self):
        """False: one failed."""
        while True:
            for name in self.args.only:
                if not self.one(name):
                    return False
                if time.monotonic() - self.began >= self.args.minutes * 60:
                    return True

    def summarize(self):
        print(f"\n{(time.monotonic() - self.began) / 60:.1f} min, --seed {self.args.seed}: "
              + ", ".join(f"{count:,} {name}" for name, count in self.totals.items()))
        for name, seeds in self.seeds.items():
            print(f"  {name}: seeds {' '.join(map(str, seeds)) or 'none'}")
        for reason, count in self.skips.items():
            print(f"  SKIPPED {count} times: {reason}")
        sys.stdout.flush()


def parse_args():
    parser = argparse.ArgumentParser(prog="./dev torture", description=__doc__.split("\n\n")[0])
    parser.add_argument("minutes", type=float, nargs="?", default=480, metavar="MINUTES",
                        help="default: 480")
    parser.add_argument("--seed", type=int, default=None,
                        help="of all seeds; default: a new one")
    parser.add_argument("--only", action="append", metavar="NAME",
                        help=f"some of {' '.join(NUMBERS)} (may be repeated)")
    parser.add_argument("--scripts", type=pathlib.Path, default=HERE, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.minutes < 0:
        parser.error("MINUTES must not be below 0")
    args.only = args.only or list(NUMBERS)
    unknown = [name for name in args.only if not (args.scripts / f"test_{name}.py").is_file()]
    if unknown:
        parser.error(f"--only: there is no test {', '.join(unknown)}")
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1, 2**31)
    return args


def main():
    torture = Torture(parse_args())
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    torture.say(f"--seed {torture.args.seed}, {torture.args.minutes:g} min")
    try:
        passed = torture.rounds()
    except Interrupted:
        torture.say("interrupted")
        torture.summarize()
        return 130
    torture.summarize()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
