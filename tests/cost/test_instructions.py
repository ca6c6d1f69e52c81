#!/usr/bin/python3
"""Instructions for each operation, from a request's bytes to its reply's, against a record.

session.c is built as the shipped programs are and runs under callgrind, which counts the same
on a busy machine as on an idle one. A figure more than 5 % above the record fails. Who changes
one on purpose changes the record in the same commit, and says why:

    tests/cost/test_instructions.py --record

What could differ between machines is pinned: the hash's secret, the keys, the clock, and the
C library's choice of memcpy. Another compiler counts differently; the record names its own.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from daemon import SRC, Results

BUILD = pathlib.Path(os.environ.get("BRINDLE_RELEASE", SRC / "build/release"))
RECORD = SRC / "tests/cost/instructions.txt"
WORKS = ("get", "miss", "set", "set_new", "set_ttl", "get_many")
OPERATIONS = 20000
RISE_MAX = 1.05
# The plain SSE2 copies that every x86-64 has, whatever the processor could do.
TUNABLES = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM"


def build():
    """The program, from the shipped build."""
    subprocess.run([SRC / "dev", "build", "release", "--", "--target", "cost_session"],
                   check=True, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    return BUILD / "tests/cost_session"


def count(program, work):
    """Instructions of one operation."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no",
             f"--callgrind-out-file={folder}/out", program, "count", work],
            env={**os.environ, "GLIBC_TUNABLES": TUNABLES}, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    collected = re.search(r"Collected *: *(\d+)", run.stdout)
    assert run.returncode == 0 and collected, f"{work}: exit {run.returncode}\n{run.stdout}"
    assert int(collected[1]) > 0, f"{work}: built without valgrind's header"
    return int(collected[1]) / OPERATIONS


def compiler():
    cache = (BUILD / "CMakeCache.txt").read_text()
    path = re.search(r"^CMAKE_C_COMPILER:\w+=(.*)$", cache, re.M)[1]
    return subprocess.run([path, "--version"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.splitlines()[0]


def read_record(text):
    """{work: instructions}"""
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {work: float(figure) for work, figure in lines}


def judge(recorded, counted):
    """Nothing, or what is wrong with the figure of one work."""
    if recorded is None:
        return "is not in the record"
    if counted > recorded * RISE_MAX:
        return (f"{counted:.0f} instructions, {100 * (counted / recorded - 1):.1f} % above the "
                f"recorded {recorded:.0f} (with {compiler()})")
    return None


def record(counted):
    RECORD.write_text(
        "# Instructions for each operation; test_instructions.py --record writes this.\n"
        f"# {compiler()}\n" +
        "".join(f"{work} {figure:.1f}\n" for work, figure in counted.items()))


def the_judge_finds_a_rise():
    assert judge(1000, 1049) is None
    assert judge(1000, 900) is None
    assert judge(1000, 1051)
    assert judge(None, 1000)
    assert read_record("# a\nget 100.5\nset 2\n") == {"get": 100.5, "set": 2.0}


def main():
    program = build() if shutil.which("valgrind") else None
    if sys.argv[1:] == ["--record"]:
        record({work: count(program, work) for work in WORKS})
        print(RECORD.read_text(), end="")
        return 0
    results = Results()
    results.run("the_judge_finds_a_rise", the_judge_finds_a_rise)
    recorded = read_record(RECORD.read_text())

    def no_more_than_recorded(work):
        counted = count(program, work)
        wrong = judge(recorded.get(work), counted)
        print(f"      {work}: {counted:.1f} instructions, recorded {recorded.get(work)}")
        assert wrong is None, f"{work}: {wrong}\nOn purpose? tests/cost/test_instructions.py --record"

    for work in WORKS if program is not None else ():
        results.run(f"{work}_takes_no_more_than_recorded", no_more_than_recorded, work)
    if program is not None:
        return results.finish()
    print("SKIP: valgrind is not installed")
    print(f"{results.passed} passed, {results.failed} failed, {len(WORKS)} skipped")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
