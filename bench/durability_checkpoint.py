"""Part of bench/durability: what a load notices of a checkpoint, and the memory that it takes.

Each round measures twice on the same server: the load alone, and the load with a checkpoint. The
second begins a moment before the checkpoint and ends a moment after it; the first takes as long
as the second of the round before took. One pair of each comes before the first round and is dropped.
"""
import json
import os
import pathlib
import signal
import subprocess
import threading

import harness
from durability_writes import NO_CHECKPOINTS, running
from harness import Goal, ask_redis, median

SAMPLE_S = 0.01
LEAD_PART = 8       # of a slice: the load before a checkpoint and after it
LEAD_LEAST_S = 0.05
UNDER_WAY = 100     # requests, after which a load has begun
LONGEST_S = 3600
POLL_S = 0.02
MIB = 1 << 20


# ---- Memory -----------------------------------------------------------------------------------


def resident_bytes(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return 0  # it has just ended
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") if text else 0


def children_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []


class MemoryWatch(threading.Thread):
    """The most memory that a process has: itself as the kernel counts it (VmHWM), with its
    children as sampled (RSS; pages that they share count for each)."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.over = threading.Event()
        self.alone_bytes = self.with_children_bytes = 0

    def __enter__(self):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")
        self.start()
        return self

    def __exit__(self, *_error):
        self.over.set()
        self.join()
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        self.alone_bytes = next(int(line.split()[1]) << 10 for line in status.split("\n")
                                if line.startswith("VmHWM:"))
        self.with_children_bytes = max(self.with_children_bytes, self.alone_bytes)

    def run(self):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self.over.wait(SAMPLE_S):
            together = resident_bytes(self.pid) + sum(map(resident_bytes, children_of(self.pid)))
            self.with_children_bytes = max(self.with_children_bytes, together)


# ---- What happens meanwhile -------------------------------------------------------------------


def pause(seconds):
    threading.Event().wait(seconds)


class BrindleCheckpoint:
    def __init__(self, run, server, name):
        self.run, self.server, self.name = run, server, name

    def stat(self, name):
        text = self.run.ask_brindle(self.server, "--format", "json", "stats", name)
        return json.loads(text)["stats"][name]["value"]

    def writes(self):
        return self.stat("puts")

    def happen(self):
        self.run.ask_brindle(self.server, "checkpoint", "restart")  # all of it: checkpoint_time

    def took_s(self):
        return self.stat("checkpoint_time") / 1000

    def copied_bytes(self):
        return 0


class RedisSave:
    """words: the command; running, result, seconds, copied: what INFO says of it."""

    def __init__(self, server, name, words, running_, result, seconds, copied):
        self.server, self.name, self.words = server, name, words
        self.running, self.result, self.seconds, self.copied = running_, result, seconds, copied

    def info(self, section="persistence"):
        text = ask_redis(self.server, "INFO", section)
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def writes(self):
        return int(self.info("stats")["total_commands_processed"])

    def happen(self):
        ask_redis(self.server, *self.words)
        while self.info()[self.running] != "0":
            pause(POLL_S)
        if self.info()[self.result] != "ok":
            raise RuntimeError(f"{self.name} failed")

    def took_s(self):
        return float(self.info()[self.seconds])

    def copied_bytes(self):
        return int(self.info()[self.copied])


def saves_of(server):
    return [RedisSave(server, "redis, BGSAVE", ["BGSAVE"], "rdb_bgsave_in_progress",
                      "rdb_last_bgsave_status", "rdb_last_bgsave_time_sec", "rdb_last_cow_size"),
            RedisSave(server, "redis, BGREWRITEAOF", ["BGREWRITEAOF"], "aof_rewrite_in_progress",
                      "aof_last_bgrewrite_status", "aof_last_rewrite_time_sec",
                      "aof_last_cow_size")]


# ---- Measuring --------------------------------------------------------------------------------


class Pair:
    """Figures of the load alone and with a checkpoint."""

    def __init__(self, quiet, busy):
        self.quiet, self.busy = quiet, busy

    def ratio(self, name):
        return self.busy[name] / self.quiet[name] if self.quiet[name] else None


class CheckpointPart:
    name = "checkpoint"

    def __init__(self, run):
        self.run = run
        self.loads = {"full speed": ["-c", "50", "-P", "16"]}
        if run.args.rate:
            self.loads[f"{run.args.rate:,} writes/s"] = [
                "-c", "50", "-P", "4", "--rate", str(run.args.rate), "--arrivals", "poisson"]
        self.lead_s = max(LEAD_LEAST_S, run.args.seconds / LEAD_PART)
        self.pairs = {}    # (load, event): Pairs
        self.lasts_s = {}  # (load, event): how long the load with it was, last

    def title(self):
        return f"Checkpoints of {self.run.args.many_keys:,} keys under a load of writes"

    def measure(self):
        run = self.run
        with running([]) as servers:
            events = self.start(servers)
            for server in servers:
                run.fill(server, run.args.many_keys)
            for round_ in range(run.args.checkpoint_rounds + 1):
                for load in self.loads:
                    for event in events:
                        self.one_pair(load, event, dropped=round_ == 0)
                run.say(f"checkpoint: round {round_} of {run.args.checkpoint_rounds}")

    def start(self, servers):
        run = self.run
        events = []
        for name, options in (("default rate", []), ("rate off", ["--checkpoint-rate", "off"])):
            name = f"Brindle, {name}"
            server = run.start_brindled(name, "--durability", "normal", *NO_CHECKPOINTS, *options,
                                        folder=run.folder(f"checkpoint-{name}"))
            servers.append(server)
            events.append(BrindleCheckpoint(run, server, name))
        if run.redis:
            server = run.start_redis("redis", "--appendonly", "yes", "--appendfsync", "everysec",
                                     folder=run.folder("checkpoint-redis"))
            servers.append(server)
            events += saves_of(server)
        return events

    def one_pair(self, load, event, dropped):
        key = load, event.name
        quiet = self.loaded(load, event.server, self.lasts_s.get(key, 2 * self.lead_s), dropped)
        busy = self.loaded(load, event.server, LONGEST_S, dropped, event)
        if busy is not None:
            self.lasts_s[key] = busy["seconds"]
        if quiet is not None and busy is not None and not dropped:
            self.pairs.setdefault(key, []).append(Pair(quiet, busy))

    def loaded(self, load, server, seconds, shown, event=None):
        """Figures of a load; it ends a moment after the event, if there is one."""
        run = self.run
        command = run.load(server, *self.loads[load], "-r", str(run.args.many_keys),
                           "--duration", f"{seconds:.3f}s")
        if shown and event is not None:
            run.commands.append(run.shown(command))
        run.settle()
        with MemoryWatch(server.process.pid) as memory:
            result = run.disturbance.around(lambda: self.bench(command, event))
        if result["failed"]:
            run.failures.append(f"{server.name}: {load}: {result['first_error']}")
            return None
        write = result["latency_us"]["write"]
        copied = event.copied_bytes() if event else 0
        return {"seconds": result["seconds"], "rate": result["requests_per_s"],
                "p50": write["p50"], "p99.9": write["p99_9"], "max": write["max"],
                "alone": memory.alone_bytes, "peak": memory.with_children_bytes,
                "once": memory.alone_bytes + copied, "unsent": result["unsent"],
                "took_s": event.took_s() if event else None}

    def bench(self, command, event):
        if event is None:
            return harness.run_bench(command)
        before = event.writes()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            while event.writes() < before + UNDER_WAY and process.poll() is None:
                pause(POLL_S)
            pause(self.lead_s)
            event.happen()
            pause(self.lead_s)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        return harness.load_result(out, err, process.returncode)

    # ---- what was found ----

    def figures(self, load, event, pick):
        values = [pick(pair) for pair in self.pairs.get((load, event), [])]
        return [value for value in values if value is not None]

    def goals(self):
        goals = []
        ours = [event for load, event in self.pairs if event.startswith("Brindle")]
        for event in dict.fromkeys(ours or ["Brindle"]):
            for what, pick, limit, form in (
                    ("peak memory (RSS with children), with over without",
                     lambda pair: pair.ratio("peak"), 1.05, ".3f"),
                    ("p99.9 of writes, with over without",
                     lambda pair: pair.ratio("p99.9"), 1.5, ".2f"),
                    ("slowest write with - without, ms", slowest_more_ms, 5.0, ".1f")):
                values = self.figures("full speed", event, pick)
                goals.append(Goal(f"checkpoint under full-speed writes, {event}: {what}",
                                  f"at most {limit}", median(values), max=limit, form=form,
                                  note=f"of single rounds: {harness.spread(values, form)}"))
        return goals

    def lines(self):
        lines = [
            "Medians of the rounds, and ranges. Peak: VmHWM, or RSS with children, sampled every "
            f"{SAMPLE_S * 1000:.0f} ms, whichever is more: pages that a child shares count twice. "
            "Pages once: VmHWM and what the child has copied, as redis says itself."]
        for load in self.loads:
            events = [event for other, event in self.pairs if other == load]
            lines += ["", f"### {load[0].upper()}{load[1:]}", ""]
            lines += harness.table(
                ["with", "it took s", "peak MiB without", "with", "ratio", "pages once, ratio",
                 "writes/s without", "with"], [self.memory_row(load, event) for event in events])
            lines += [""] + harness.table(
                ["with", "p50 us without", "with", "p99.9 us without", "with", "ratio",
                 "slowest ms without", "with", "difference"],
                [self.latency_row(load, event) for event in events])
        return lines

    def cell(self, load, event, pick, form):
        values = self.figures(load, event, pick)
        return f"{harness.number(median(values), form)} ({harness.spread(values, form)})"

    def both(self, load, event, name, form, unit=1):
        return [self.cell(load, event, lambda pair: pair.quiet[name] / unit, form),
                self.cell(load, event, lambda pair: pair.busy[name] / unit, form)]

    def memory_row(self, load, event):
        return [event, self.cell(load, event, lambda pair: pair.busy["took_s"], ".1f"),
                *self.both(load, event, "peak", ".0f", MIB),
                self.cell(load, event, lambda pair: pair.ratio("peak"), ".3f"),
                self.cell(load, event, lambda pair: pair.ratio("once"), ".3f"),
                *self.both(load, event, "rate", ",.0f")]

    def latency_row(self, load, event):
        return [event, *self.both(load, event, "p50", ".0f"),
                *self.both(load, event, "p99.9", ".0f"),
                self.cell(load, event, lambda pair: pair.ratio("p99.9"), ".2f"),
                *self.both(load, event, "max", ".1f", 1000),
                self.cell(load, event, slowest_more_ms, ".1f")]


def slowest_more_ms(pair):
    return (pair.busy["max"] - pair.quiet["max"]) / 1000
