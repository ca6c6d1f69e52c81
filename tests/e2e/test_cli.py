"""The command line client and the examples against a running daemon: what they print, and
their exit status."""
import base64
import json
import os
import pathlib
import pty
import select
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from daemon import PATIENCE_S, Daemon, Results, find_program, sanitizer_prefix, scratch

DONE, FAILED, NOT_FOUND, USAGE = 0, 1, 2, 64
CLI = find_program("brindle")
PREFIX = sanitizer_prefix(CLI)
PATIENT = ("--timeout", f"{PATIENCE_S}s")


class Cli:
    """Runs brindle against one daemon."""

    def __init__(self, daemon):
        self.address = "%s:%d" % daemon.listen
        self.env = {**os.environ, "BRINDLE_ADDRESS": self.address}

    def run(self, *args, stdin=b"", expect=DONE):
        """The output of one run, which has to end with that status."""
        done = subprocess.run([*PREFIX, CLI, *PATIENT, *args], input=stdin, env=self.env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert done.returncode == expect, \
            f"{args}: {done.returncode}, not {expect}: {done.stdout} {done.stderr}"
        self.errors = done.stderr.decode()
        return done.stdout

    def json(self, *args, **more):
        return json.loads(self.run("--format", "json", *args, **more))


def values_come_back_as_they_went_in(cli):
    cli.run("put", "key", "a value")
    assert cli.run("get", "key") == b"a value\n"
    every_byte = bytes(range(256)) * 50
    cli.run("put", "binary", "-", stdin=every_byte)
    assert cli.run("get", "--raw", "binary") == every_byte
    cli.run("put", "empty", "-")
    assert cli.run("get", "--raw", "empty") == b""
    assert cli.run("get", "empty") == b"\n"
    cli.run("put", "--", "dash", "-", stdin=b"not this")
    assert cli.run("get", "dash") == b"-\n"


def a_large_value_goes_through_pipes(cli):
    large = os.urandom(20 * 1024 * 1024)
    cli.run("put", "large", "-", stdin=large)
    assert cli.run("get", "--raw", "large") == large


def what_is_not_there_is_exit_status_2(cli):
    cli.run("get", "none", expect=NOT_FOUND)
    assert "NOT_FOUND" in cli.errors
    cli.run("ttl", "none", expect=NOT_FOUND)
    cli.run("expire", "none", "5s", expect=NOT_FOUND)
    cli.run("persist", "none", expect=NOT_FOUND)
    cli.run("put", "none", "x", "--if-present", expect=NOT_FOUND)
    assert cli.run("delete", "none", expect=NOT_FOUND) == b"0\n"
    assert cli.run("exists", "none", expect=NOT_FOUND) == b"0\n"
    assert cli.run("getmany", "none", "nothing", expect=NOT_FOUND) == b"none\nnothing\n"


def conditions_hold_or_say_so(cli):
    version = cli.json("put", "key", "1", "--if-absent")["version"]
    assert cli.json("put", "key", "2", "--if-absent", expect=FAILED)["status"] == "EXISTS"
    assert "EXISTS" in cli.errors
    cli.run("put", "key", "3", "--if-version", str(version))
    refused = cli.json("put", "key", "4", "--if-version", str(version), "--return-previous",
                       expect=FAILED)
    assert refused["status"] == "VERSION_MISMATCH"
    assert cli.json("put", "key", "5", "--return-previous")["value"] == "3"
    cli.run("put", "key", "6", "--if-present")
    assert cli.run("get", "key") == b"6\n"


def expiry_can_be_set_seen_and_removed(cli):
    cli.run("put", "key", "value", "--ttl", "1h")
    left = int(cli.run("ttl", "key").split()[0])
    assert 3_500_000 < left <= 3_600_000
    cli.run("put", "key", "other", "--keep-ttl")
    assert cli.json("ttl", "key")["ttl_ms"] <= left
    assert cli.run("persist", "key") == b"1\n"
    assert cli.run("ttl", "key") == b"no expiry\n"
    assert cli.json("ttl", "key")["ttl_ms"] is None
    cli.run("expire", "key", "2d")
    assert cli.json("ttl", "key")["ttl_ms"] > 100_000_000
    cli.run("expire", "key", "--deadline", "1")
    cli.run("get", "key", expect=NOT_FOUND)


def many_keys_at_once(cli):
    cli.run("putmany", "a", "1", "b", "2", "--ttl", "1h")
    assert cli.run("getmany", "a", "x", "b") == b"a\t1\nx\nb\t2\n"
    items = cli.json("getmany", "a", "x")["items"]
    assert [item["found"] for item in items] == [True, False]
    assert items[0]["value"] == "1" and "value" not in items[1]
    assert cli.run("exists", "a", "a", "x") == b"2\n"
    assert cli.run("count") == b"2\n"
    assert cli.run("count", "--exact") == b"2\n"
    assert cli.run("delete", "a", "b", "x") == b"2\n"


def integers_and_appending(cli):
    assert cli.run("incr", "n") == b"1\n"
    assert cli.run("incr", "n", "-5") == b"-4\n"
    assert cli.run("incr", "m", "1", "--initial", "99") == b"100\n"
    cli.run("put", "text", "abc")
    cli.run("incr", "text", expect=FAILED)
    assert "NOT_AN_INTEGER" in cli.errors
    assert cli.run("append", "text", "-", stdin=b"def") == b"6\n"
    assert cli.json("append", "text", "ghi")["number"] == 9


def json_keeps_every_byte(cli):
    cli.run("put", "key", "-", stdin=b"\xff\x00a")
    assert base64.b64decode(cli.json("get", "key")["value"]["base64"]) == b"\xff\x00a"
    cli.run("put", "key", "-", stdin="grün\0\n\"".encode())
    assert cli.json("get", "key")["value"] == "grün\0\n\""


def the_server_answers_about_itself(cli):
    assert cli.run("ping").startswith(b"pong ")
    assert cli.run("ping", "payload") == b"payload\n"
    assert cli.json("ping")["round_trip_ms"] > 0
    assert cli.json("hello")["hello"]["protocol_version"] == 1
    assert b"server_version" in cli.run("hello")
    stats = cli.json("stats")["stats"]
    assert any(stat["counter"] for stat in stats.values())
    name = next(iter(stats)).encode()
    assert cli.run("stats", name).startswith(name)
    cli.run("resetstats")
    assert cli.run("purge") == b"0\n"
    assert cli.run("clear") == b"0\n"
    for words in (["sync"], ["checkpoint"], ["checkpoint", "truncate"]):
        cli.run(*words, expect=FAILED)  # nothing is logged here
        assert "NOT_DURABLE" in cli.errors
    failed = cli.json("checkpoint", "passive", expect=FAILED)
    assert failed["status"] == "NOT_DURABLE" and "checkpoint" not in failed, failed


def mistakes_are_exit_status_64(cli):
    for args in (["nonsense"], ["get"], ["get", "a", "b"], ["get", "--frob", "a"],
                 ["put", "a", "b", "--ttl", "5"], ["--format", "xml", "ping"], ["--frob"],
                 ["--connect", "nonsense", "ping"], ["--timeout", "0s", "ping"], ["--connect"],
                 ["--format", "json", "get", "--raw", "key"], ["checkpoint", "FULL"],
                 ["checkpoint", "full", "full"]):
        assert cli.run(*args, expect=USAGE) == b"" or "json" in args or "--connect" in args
        assert cli.errors.startswith("brindle: ")


def options_of_the_program_may_stand_behind_the_verb(cli):
    cli.run("put", "key", "value", "--timeout", "600s")
    assert b'"value": "value"' in cli.run("get", "key", "--format=json")
    cli.run("get", "key", "--format", "xml", expect=USAGE)
    cli.run("put", "key", "--", "--format")
    assert cli.run("get", "key") == b"--format\n"


def verbs_of_other_caches_are_explained(cli):
    for verb, hint in (("set", "put"), ("DEL", "delete"), ("GET", "get"), ("decr", "incr KEY -1")):
        cli.run(verb, "key", expect=USAGE)
        assert f'no verb "{verb}"; did you mean {hint}? See: brindle help\n' in cli.errors
    for words in (["nonsense"], ["help", "nonsense"]):
        cli.run(*words, expect=USAGE)
        assert "see: brindle help\n" in cli.errors and "mean" not in cli.errors


def help_comes_from_the_table_and_needs_no_server(cli):
    everything = cli.run("--connect", "127.0.0.1:1", "--help").decode()
    for verb in ("ping hello get put delete exists getmany putmany ttl expire persist incr append "
                 "count clear purge sync checkpoint stats resetstats help").split():
        assert f"\n  {verb} " in everything
        assert f"brindle [OPTIONS] {verb}" in cli.run("help", verb).decode()
        assert cli.run(verb, "--help") == cli.run("help", verb)
    assert cli.run("-h") == cli.run("--help")
    assert cli.run("--version").startswith(b"brindle ")


def h_is_help_before_operands_and_an_operand_behind_them(cli):
    cli.run("put", "--", "-h", "of the key -h")
    for verb in "ping get put delete exists getmany putmany expire incr append count help".split():
        assert cli.run("--connect", "127.0.0.1:1", verb, "-h") == cli.run("help", verb)
    assert cli.run("get", "--raw", "-h") == cli.run("help", "get")
    assert cli.run("delete", "-h", "key") == cli.run("help", "delete")
    assert cli.run(stdin=b"get -h\n") == cli.run("help", "get")
    assert cli.run("get", "--", "-h") == b"of the key -h\n"
    cli.run("put", "key", "-h")
    assert cli.run("get", "key") == b"-h\n"
    assert cli.run("delete", "key", "-h") == b"2\n"


def without_a_server_the_error_says_what_to_do(cli):
    failed = cli.json("--connect", "127.0.0.1:1", "get", "key", expect=FAILED)
    assert failed["status"] == "CONNECTION_FAILED"
    assert "--connect" in cli.errors and "refused" in cli.errors


def another_namespace_is_another_place(cli):
    cli.run("--namespace", "nowhere", "get", "key", expect=FAILED)
    assert "NAMESPACE_NOT_FOUND" in cli.errors


def a_file_of_commands_runs_to_its_end(cli):
    script = b"""# a comment
put "a key" 'a value\\n'
get "a key"
get none
get "open
nonsense
put bytes "\\x00\\xff"
"""
    assert cli.run(stdin=script, expect=USAGE).splitlines()[1] == b"a value\\n"
    assert cli.errors.count("brindle: ") == 3
    assert cli.run("get", "--raw", "bytes") == b"\0\xff"
    assert cli.run(stdin=b"put k v\nget none\n", expect=NOT_FOUND).startswith(b"version ")
    cli.run(stdin=b"get none\nincr k\n", expect=FAILED)
    assert cli.run(stdin=b"quit\nget k\n") == b""
    cli.run(stdin=b"put k -\n", expect=USAGE)


def full_output_is_noticed(cli):
    cli.run("put", "key", "value")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PREFIX, CLI, "get", "key"], stdout=full, stderr=subprocess.PIPE,
                              env=cli.env, check=False)
    assert done.returncode == FAILED and b"cannot write" in done.stderr


class Terminal:
    """brindle at a terminal of its own."""

    def __init__(self, cli, home):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe((PREFIX + [str(CLI)])[0], [*PREFIX, str(CLI), *PATIENT],
                       {**cli.env, "HOME": str(home), "TERM": "xterm"})
        self.seen = b""

    def until(self, text):
        """Reads until the text has been seen; returns what came before and with it."""
        end = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text} in {self.seen}"
            if select.select([self.fd], [], [], 0.5)[0]:
                self.seen += os.read(self.fd, 65536)
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def type(self, keys):
        os.write(self.fd, keys)

    def status(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def a_terminal_gets_a_prompt_history_and_completion(cli):
    home = scratch()
    prompt = cli.address.encode() + b"> "
    terminal = Terminal(cli, home)
    terminal.until(prompt)
    terminal.type(b'put key "bell\\x07"\n')
    terminal.until(b"version ")
    terminal.until(prompt)
    terminal.type(b"get key\n")
    terminal.until(b"bell\\x07")  # not the bell itself
    terminal.until(prompt)
    terminal.type(b"resets\t\n")
    terminal.until(b"OK")
    terminal.until(prompt)
    terminal.type(b"nonsense\n")
    terminal.until(b"there is no verb")
    terminal.until(prompt)
    history = home / ".brindle_history"
    assert "nonsense" in history.read_text()  # already: Ctrl-C would lose nothing
    terminal.type(b"quit\n")
    assert terminal.status() == DONE
    assert history.stat().st_mode & 0o077 == 0
    shutil.rmtree(home)


def every_example_runs(cli):
    examples = pathlib.Path(__file__).resolve().parents[2] / "client/examples"
    names = sorted(path.stem for path in examples.glob("*.c"))
    assert names
    for name in names:
        program = CLI.parent / "examples" / name
        done = subprocess.run([*sanitizer_prefix(program), program, cli.address],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, f"{name}: {done.stdout}"


TESTS = [
    values_come_back_as_they_went_in,
    a_large_value_goes_through_pipes,
    what_is_not_there_is_exit_status_2,
    conditions_hold_or_say_so,
    expiry_can_be_set_seen_and_removed,
    many_keys_at_once,
    integers_and_appending,
    json_keeps_every_byte,
    the_server_answers_about_itself,
    mistakes_are_exit_status_64,
    options_of_the_program_may_stand_behind_the_verb,
    verbs_of_other_caches_are_explained,
    help_comes_from_the_table_and_needs_no_server,
    h_is_help_before_operands_and_an_operand_behind_them,
    without_a_server_the_error_says_what_to_do,
    another_namespace_is_another_place,
    a_file_of_commands_runs_to_its_end,
    full_output_is_noticed,
    a_terminal_gets_a_prompt_history_and_completion,
    every_example_runs,
]


def run_one(daemon, test):
    """Each test begins with an empty cache."""
    assert daemon.running(), f"the daemon died\n{daemon.tail()}"
    cli = Cli(daemon)
    cli.run("clear")
    test(cli)


def main():
    results = Results()
    with Daemon("--workers", "2") as daemon:
        for test in TESTS:
            results.run(test.__name__, run_one, daemon, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
