"""What ./dev torture makes of tests that pass, fail, and are interrupted: with tests that are
none, and once with a real one and tiny numbers."""
import os
import pathlib
import re
import select
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from daemon import Results, scratch  # noqa: E402

TORTURE = pathlib.Path(__file__).resolve().parent / "torture.py"

GOOD = """
import os
print("SEED=" + os.environ["SEED"])
print("SKIP: there is no moon")
print("DONE cuts=3 operations=1000")
print("1 passed, 0 failed, 1 skipped")
"""
BAD = """
import os, pathlib, sys
pathlib.Path(os.environ["TMPDIR"], "left").write_text(os.environ["KEEP"])
print("DONE kills=2")
print("AssertionError: it is lost")
print("0 passed, 1 failed")
sys.exit(1)
"""
ENDLESS = """
import os, pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
pathlib.Path(os.environ["SAID"]).write_text("begun")
signal.sigwait({signal.SIGTERM})
pathlib.Path(os.environ["SAID"]).write_text("ended")
"""


def scripts(**texts):
    folder = scratch("brindle-scripts-")
    for name, text in texts.items():
        (folder / f"test_{name}.py").write_text(text)
    return folder


def torture(*args, **env):
    done = subprocess.run([sys.executable, TORTURE, *map(str, args)], text=True,
                          env={**os.environ, **env}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def expect(text, *patterns):
    for pattern in patterns:
        assert re.search(pattern, text, re.M), f"no line matches {pattern!r}:\n{text}"


def what_passes_is_counted_and_leaves_nothing():
    temporary = scratch()
    folder = scripts(good=GOOD, better=GOOD)
    status, said = torture(0.01, "--scripts", folder, "--only", "good", "--only", "better",
                           "--seed", 7, TMPDIR=str(temporary))
    assert status == 0, said
    expect(said, r"^torture: .* --seed 7, 0\.01 min$", r"  good: SEED=\d+$", r"good: passed in")
    seeds = re.findall(r"  \w+: SEED=(\d+)$", said, re.M)
    assert len(seeds) > 1 and len(set(seeds)) == len(seeds), said
    expect(said, rf"{len(seeds)} tests, {3 * len(seeds)} cuts, {1000 * len(seeds):,} operations$",
           rf"^  good: seeds {seeds[0]}\b", rf"SKIPPED {len(seeds)} times: there is no moon$")
    assert not list(temporary.iterdir()), list(temporary.iterdir())
    again = torture(0, "--scripts", folder, "--only", "good", "--seed", 7)[1]
    expect(again, rf"  good: SEED={seeds[0]}$")


def the_first_failure_ends_it_and_stays():
    status, said = torture(60, "--scripts", scripts(good=GOOD, bad=BAD, last=GOOD), "--only", "good",
                           "--only", "bad", "--only", "last")
    assert status == 1, said
    expect(said, r"bad: FAILED \(1\)", r"^    AssertionError: it is lost$",
           r"3 cuts, 1,000 operations, 2 kills$", r"^  last: seeds none$")
    seed = re.search(r"  bad: SEED=(\d+)$", said, re.M)[1]
    expect(said, rf"^repeat with: SEED={seed} KEEP=1 .*/test_bad\.py$")
    evidence = pathlib.Path(re.search(r"^evidence: (.*)$", said, re.M)[1])
    assert (evidence / "left").read_text() == "1"
    assert "it is lost" in (evidence / "output").read_text()


def an_interruption_ends_the_test_and_is_summarized():
    said = scratch() / "said"
    os.mkfifo(said)  # each writing waits for a reader
    process = subprocess.Popen(
        [sys.executable, TORTURE, "60", "--scripts", scripts(endless=ENDLESS), "--only", "endless"],
        env={**os.environ, "SAID": str(said)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    assert said.read_text() == "begun"
    process.send_signal(signal.SIGTERM)
    assert said.read_text() == "ended"
    output = process.communicate()[0]
    assert process.returncode == 130, output
    expect(output, r"interrupted$", r"^  endless: seeds \d+$")


def a_real_test_is_run():
    status, said = torture(0, "--only", "kill_loop", KILLS="2", RECOVERY_KILLS="1",
                           EVICTION_KILLS="1")
    assert status == 0, said
    expect(said, r"kill_loop: SEED=\d+ KILLS=2 RECOVERY_KILLS=1 EVICTION_KILLS=1$",
           r" 1 tests, \d+ kills, [\d,]+ operations$")


def wrong_usage_ends_with_2():
    for args in (["many"], ["--only", "nonsense"], ["-1"], ["--nonsense"]):
        status, said = torture(*args)
        assert status == 2, said


def main():
    results = Results()
    for test in (what_passes_is_counted_and_leaves_nothing, the_first_failure_ends_it_and_stays,
                 an_interruption_ends_the_test_and_is_summarized, a_real_test_is_run,
                 wrong_usage_ends_with_2):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
