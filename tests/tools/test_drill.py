"""The drill in the README, "Backup and repair", performed word for word: what it prints is what is
written there, but for numbers.

UPDATE=1 writes what it prints into the README.
"""
import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from daemon import PATIENCE_S, SRC, Results, build_folder, find_program, sanitizer_prefix  # noqa: E402

README = SRC / "README.md"
MARK = "@@@ next @@@"


def the_drill():
    """The block itself, and its commands with what is said to be printed: [(command, [line])]."""
    section = README.read_text().partition("\n## Backup and repair\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.S)
    steps = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    assert len(steps) > 15
    return block, steps


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def perform(steps, folder):
    """What each command prints, on either channel, run by one shell."""
    script = "".join(f"{command}\necho '{MARK}'\n" for command, _ in steps)
    address = f"127.0.0.1:{free_port()}"
    env = {**os.environ, "PATH": f"{build_folder()}:{os.environ['PATH']}",
           "BRINDLE_LISTEN": address, "BRINDLE_ADDRESS": address, "LC_ALL": "C"}
    for name in ("BRINDLE_DATA_DIR", "STATE_DIRECTORY", "BRINDLE_CONFIG"):
        env.pop(name, None)
    shell = subprocess.Popen([*sanitizer_prefix(find_program("brindled")), "bash", "-c", script],
                             cwd=folder, env=env, text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
    try:
        out, _ = shell.communicate(timeout=PATIENCE_S)
    finally:
        # Whatever it left behind is in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    printed = out.split(MARK + "\n")
    assert len(printed) == len(steps) + 1 and printed[-1] == "", out
    return [text.splitlines() for text in printed[:-1]]


def plain(lines):
    """Without what differs from run to run. Two names of one second have a number behind."""
    return [re.sub(r"\d+", "0", re.sub(r"(?<=\dZ)-\d+|\b[0-9a-f]{16}\b", "", line))
            for line in lines]


def it_goes_as_it_is_written():
    block, steps = the_drill()
    with tempfile.TemporaryDirectory(prefix="brindle-drill-") as folder:
        printed = perform(steps, folder)
    if os.environ.get("UPDATE"):
        new = "".join(f"$ {command}\n" + "".join(f"{line}\n" for line in lines)
                      for (command, _), lines in zip(steps, printed))
        README.write_text(README.read_text().replace(block, new))
        return
    for (command, written), lines in zip(steps, printed):
        assert plain(lines) == plain(written), \
            f"$ {command}\nprinted {plain(lines)}\nwritten {plain(written)}"


def main():
    results = Results()
    results.run("it_goes_as_it_is_written", it_goes_as_it_is_written)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
