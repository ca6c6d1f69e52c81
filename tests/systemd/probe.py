#!/usr/bin/env python3
"""Runs inside the booted machine of test_boot.sh: starts the service as a client would, kills it,
stops it in its tracks, and prints one line for each thing that held or did not."""
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, "/brindle-test/tests/e2e")
from brindle_client import Client, pb

SOCKET = "/run/brindle/brindle.sock"
PATIENCE_S = 600  # for what must happen
ADDRESSES = (SOCKET, ("127.0.0.1", 7420))
passed = failed = 0


def check(what, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print(f"FAIL: {what} {detail}", flush=True)


def systemctl(*args):
    done = subprocess.run(["systemctl", *args], capture_output=True, text=True,
                          timeout=PATIENCE_S)
    return done.returncode, (done.stdout + done.stderr).strip()


def show(unit, name):
    return systemctl("show", "--value", "-p", name, unit)[1]


def call(address, **op):
    """Waits where there is no daemon just now: the socket is systemd's."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with Client(address, timeout=PATIENCE_S) as client:
                return client.call(**op)
        except ConnectionError:
            # The daemon that had taken the connection has died; the next one will live.
            if time.monotonic() > deadline:
                raise


def until(condition):
    """Asks until it holds; each asking waits for systemd or the kernel."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


def threads(process):
    """The states of a process's threads, such as {"S"}."""
    stats = pathlib.Path(f"/proc/{process}/task").glob("*/stat")
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats}


def set_watchdog(seconds):
    """None: as the unit has it. systemd judges by it at once; the daemon hears of it when it
    starts."""
    folder = pathlib.Path("/etc/systemd/system/brindle.service.d")
    if seconds is None:
        shutil.rmtree(folder)
    else:
        folder.mkdir()
        (folder / "test.conf").write_text(f"[Service]\nWatchdogSec={seconds}s\n")
    return systemctl("daemon-reload")[0] == 0


def value():
    return call(SOCKET, get=pb.Get(key=b"k")).value


def show_journal():
    subprocess.run(["systemctl", "--no-pager", "status", "brindle.service", "brindle.socket"],
                   check=False)
    subprocess.run(["journalctl", "--no-pager", "-u", "brindle.service", "-u", "brindle.socket"],
                   check=False)


def explain(*error):
    """An exception ends the probe: with what systemd knows, or nobody can tell why."""
    sys.__excepthook__(*error)
    sys.stderr.flush()
    show_journal()


sys.excepthook = explain

check("sysusers", subprocess.call(["systemd-sysusers", "brindle.conf"]) == 0)
check("the socket starts", systemctl("start", "brindle.socket")[0] == 0,
      systemctl("status", "brindle.socket")[1])
check("the service does not run yet", show("brindle.service", "ActiveState") == "inactive")
for address in ADDRESSES:
    reply = call(address, put=pb.Put(key=b"k", value=b"v"))
    check(f"a call through {address} starts it", reply.status == pb.OK, reply)
# It answers a moment before systemd has heard that it is ready.
check("the service is active", until(lambda: show("brindle.service", "ActiveState") == "active"),
      systemctl("status", "brindle.service")[1])
check("it says what it does", until(lambda: "Serving on" in show("brindle.service", "StatusText")),
      show("brindle.service", "StatusText"))
pid = show("brindle.service", "MainPID")
status = pathlib.Path(f"/proc/{pid}/status").read_text()
fields = dict(line.split(":", 1) for line in status.splitlines())
check("it is not root", fields["Uid"].split()[0] != "0", fields["Uid"])
check("it has no capability", int(fields["CapEff"], 16) == 0 and int(fields["CapBnd"], 16) == 0)
check("its system calls are filtered", fields["Seccomp"].strip() == "2")
data = pathlib.Path("/var/lib/brindle")
check("its data is private", data.stat().st_mode & 0o077 == 0, oct(data.stat().st_mode))

check("it reloads", systemctl("reload", "brindle.service")[0] == 0)
check("it is active after that", show("brindle.service", "ActiveState") == "active")

# With nobody asking: systemd restarts it, not a client.
systemctl("kill", "-s", "SIGKILL", "brindle.service")
check("it is restarted by itself",
      until(lambda: show("brindle.service", "NRestarts") == "1" and
            show("brindle.service", "ActiveState") == "active"))

for kill, what in (("SIGKILL", "after SIGKILL"), ("SIGSTOP", "after SIGSTOP the watchdog")):
    pid = show("brindle.service", "MainPID")
    systemctl("kill", "-s", kill, "brindle.service")
    if kill == "SIGSTOP":  # it takes effect a little later
        check("it is stopped", until(lambda: threads(pid) == {"T"}), threads(pid))
        # Not before: a daemon that has lost its core for some seconds is no failure.
        check("the watchdog has less patience", set_watchdog(1))
    # The dying process may still answer: SIGABRT to a stopped one comes with SIGCONT.
    check(f"{what}: there is another process",
          until(lambda: show("brindle.service", "MainPID") not in (pid, "0")))
    if kill == "SIGSTOP":
        check("the watchdog has its patience again", set_watchdog(None))
    check(f"{what}: it has the data", value() == b"v")

check("it stops", systemctl("stop", "brindle.socket", "brindle.service")[0] == 0)
check("the stop was orderly", show("brindle.service", "Result") == "success",
      show("brindle.service", "Result"))
check("its status was 0", show("brindle.service", "ExecMainStatus") == "0",
      show("brindle.service", "ExecMainStatus"))

if failed:
    show_journal()
print(f"{passed} passed, {failed} failed", flush=True)
