"""What the scripts beside this file share: servers, runs of brindle-bench, and words for results.

A server is started on an ephemeral port of the loopback, pinned to the CPUs that its script
chooses, and belongs to the script that started it: stop() ends it. Nothing here decides what is
measured.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import select
import shlex
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BRINDLE_RELEASE", ROOT / "build" / "release"))
START_S = 60
KEY_BYTES = 16


def find_built(name):
    """A program of the release build, at any depth; None where it does not exist."""
    for path in sorted(BUILD.rglob(name)):
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def shown(command):
    """A command as one would type it in the top folder of the repository."""
    return shlex.join(command).replace(f"{ROOT}/", "")


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


# ---- Servers ------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server process and the ways to reach it."""

    def __init__(self, name, command, cpus):
        self.name = name
        self.command = ["taskset", "-c", cpus] + command
        self.process = None
        self.doors = []  # (label, protocol, address)
        self.version = "unknown"

    def start(self, **options):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, **options)

    def wait_for_port(self, port):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                pass
            try:
                self.process.wait(timeout=0.02)
                break  # it ended
            except subprocess.TimeoutExpired:
                pass
        self.stop()
        raise RuntimeError(f"{self.name} does not start: {shlex.join(self.command)}")

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_brindled(path, cpus, *options, name="brindled"):
    """In memory, with one worker unless `options` say more."""
    server = Server(name, [
        path, "--listen", "127.0.0.1:0", "--resp-listen", "127.0.0.1:0", "--http-listen", "none",
        "--data-dir", "none", "--max-memory", "8gb",
        *([] if "--workers" in options else ["--workers", "1"]), *options], cpus)
    server.version = output_of([path, "--version"]).split("\n")[0]
    server.start(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + START_S
    text = b""
    stream = server.process.stderr
    os.set_blocking(stream.fileno(), False)
    while time.monotonic() < deadline:
        if not select.select([stream], [], [], 0.2)[0]:
            continue
        chunk = stream.read(65536)
        if chunk == b"":
            break
        text += chunk or b""
        ready = re.search(rb"^ready: listen=(\S+) resp=(\S+) .*$", text, re.M)
        if ready:
            server.doors.append(("brindle", "brindle", ready.group(1).decode()))
            if ready.group(2) != b"none":
                server.doors.append(("brindle (RESP)", "resp", ready.group(2).decode()))
            return server
    server.stop()
    raise RuntimeError("brindled does not get ready:\n" + text.decode(errors="replace"))


def start_redis(path, cpus):
    port = free_port()
    server = Server("redis-server", [
        path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
        "--daemonize", "no"], cpus)
    server.version = " ".join(output_of([path, "--version"]).split()[:3])
    server.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.wait_for_port(port)
    server.doors.append(("redis", "resp", f"127.0.0.1:{port}"))
    return server


def start_memcached(path, cpus):
    port = free_port()
    server = Server("memcached", [
        path, "-l", "127.0.0.1", "-p", str(port), "-t", "1", "-m", "8192", "-u",
        output_of(["id", "-un"])], cpus)
    server.version = output_of([path, "--version"])
    server.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.wait_for_port(port)
    server.doors.append(("memcached", "memcached", f"127.0.0.1:{port}"))
    return server


# ---- Runs of brindle-bench ----------------------------------------------------------------


def bench_command(bench, cpus, door, *options):
    _, protocol, address = door
    return ["taskset", "-c", cpus, bench, "--connect", address, "--protocol", protocol,
            "--key-size", str(KEY_BYTES), "--format", "json", "--progress", "no", *options]


def run_program(command):
    """What brindle-bench reports; `failed` says whether it failed, `first_error` why."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        return {"first_error": done.stderr.strip() or "no result", "failed": True}
    result["failed"] = done.returncode != 0
    return result


def run_bench(command):
    """The same for a load: one that does not show what it was made for has failed too."""
    result = run_program(command)
    if not result["failed"] and result["misses"] > 0:
        result["failed"] = True  # a miss is cheaper than a hit
        result["first_error"] = f"{result['misses']} keys are missing"
    if not result["failed"] and result["server"]["cpu_us_per_request"] is None:
        result["failed"] = True
        result["first_error"] = result["server"]["cpu_unknown"]
    return result


def fill(bench, cpus, door, *options):
    command = bench_command(bench, cpus, door, "--fill", "-n", "1", *options)
    result = run_bench(command)
    if result["failed"]:
        raise RuntimeError(f"filling failed: {result['first_error']}: {shlex.join(command)}")


# ---- The machine --------------------------------------------------------------------------


def cpu_ticks():
    """(ticks that all CPUs have worked, ticks that the hypervisor took from them)."""
    fields = pathlib.Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return user + nice + system + irq + softirq, steal


class Disturbance:
    """How much of the CPUs others took while we measured: add() once per run of brindle-bench."""

    def __init__(self):
        self.wall_s = 0.0
        self.ours_s = 0.0
        self.busy_s = 0.0
        self.stolen_s = 0.0

    def around(self, run):
        """Calls run() and returns its result, a result of run_bench."""
        started = time.monotonic()
        busy, stolen = cpu_ticks()
        spent = os.times()
        result = run()
        later_busy, later_stolen = cpu_ticks()
        later = os.times()
        tick = os.sysconf("SC_CLK_TCK")
        self.wall_s += time.monotonic() - started
        self.busy_s += (later_busy - busy) / tick
        self.stolen_s += (later_stolen - stolen) / tick
        self.ours_s += sum(later[:4]) - sum(spent[:4])  # the script and its children
        if not result["failed"]:
            self.ours_s += result["server"]["cpu_us"] / 1e6
        return result

    def words(self):
        whole = self.wall_s * (os.cpu_count() or 1)
        if whole == 0:
            return "nothing was measured"
        others = max(0.0, self.busy_s - self.ours_s) / whole
        return (f"while it was measured, other processes took {100 * others:.1f} % of the CPUs, "
                f"the hypervisor {100 * self.stolen_s / whole:.1f} %")


def machine():
    """One line about what this runs on."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    virtual = ", a virtual machine" if re.search(r"^flags.*\bhypervisor\b", text, re.M) else ""
    return (f"{datetime.date.today().isoformat()}, {match.group(1) if match else platform.processor()}, "
            f"{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}{virtual}")


def spinning(cpu):
    """A process that keeps a CPU busy until it is killed."""
    return subprocess.Popen(["taskset", "-c", str(cpu), "python3", "-c", "while True: pass"],
                            stdin=subprocess.DEVNULL)


def speed_beside_work(samples=5):
    """How fast CPU 0 is while CPU 1 works, as a share of its speed while CPU 1 does nothing.

    About 1: they are two cores. Near 0.6: two threads of one core; then a server that keeps the
    load tester busier is itself slowed down by it. None where it cannot be measured."""
    loop = ("import time\n"
            "n, c = 0, time.process_time()\n"
            "while time.process_time() < c + 0.15:\n"
            "    for i in range(1000): n += i & 3\n"
            "    n += 1 << 40\n"
            "print(n >> 40)")

    def turns():
        text = output_of(["taskset", "-c", "0", "python3", "-c", loop])
        return int(text) if text.isdigit() else None

    alone, beside = [], []
    for _ in range(samples):
        alone.append(turns())
        other = spinning(1)
        try:
            beside.append(turns())
        finally:
            other.kill()
            other.wait()
    if None in alone or None in beside:
        return None
    return statistics.median(beside) / statistics.median(alone)


# ---- Figures ------------------------------------------------------------------------------


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def number(value, form):
    return "-" if value is None else format(value, form)


def spread(values, form):
    return f"{min(values):{form}} to {max(values):{form}}" if values else "-"


def table(head, rows):
    return (["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
            ["| " + " | ".join(row) + " |" for row in rows])


@dataclass
class Goal:
    work: str
    limit: str
    value: float = None
    max: float = None
    form: str = ".2f"
    note: str = ""

    def row(self):
        if self.value is None:
            return [self.work, self.limit, "-", "not measured", self.note]
        return [self.work, self.limit, format(self.value, self.form),
                "met" if self.value <= self.max else "**not met**", self.note]


# ---- Command lines ------------------------------------------------------------------------


def positive(text):
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value
