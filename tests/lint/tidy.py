"""Runs clang-tidy over the shipped sources, in parallel, and only where something changed.

usage: tidy.py SOURCE_DIR BUILD_DIR      (BUILD_DIR holds compile_commands.json of clang)

A source that passed is remembered by a hash of its preprocessed text, so that a second run
costs a second and a changed header brings back exactly the sources that see the change.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

SHIPPED = ("daemon", "proto", "client", "bench")


def shipped_commands(source_dir, build_dir):
    """One compile command for each source of ours, generated code left out."""
    commands = {}
    for command in json.loads((build_dir / "compile_commands.json").read_text()):
        path = pathlib.Path(command["directory"], command["file"]).resolve()
        try:
            relative = path.relative_to(source_dir)
        except ValueError:
            continue
        if relative.parts[0] in SHIPPED:
            commands.setdefault(relative, command)
    return commands


def fingerprint(command, salt):
    words = shlex.split(command["command"])
    out = words.index("-o")
    del words[out:out + 2]
    words.remove("-c")
    # -CC keeps comments, in macros too: NOLINT is one.
    text = subprocess.run(words + ["-E", "-CC", "-Wno-error"], cwd=command["directory"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return hashlib.sha256(salt + text).hexdigest()


def check(source_dir, build_dir, cache, salt, relative, command):
    """None if the source is clean, else what clang-tidy says."""
    try:
        stamp = cache / fingerprint(command, salt)
    except subprocess.CalledProcessError:
        return f"{relative}: cannot be preprocessed\n"
    if stamp.exists():
        return None
    result = subprocess.run(["clang-tidy", "--quiet", "-p", build_dir, source_dir / relative],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode == 0:
        stamp.touch()
        return None
    noise = (" warnings generated.", " warning generated.", "Suppressed ", "Use -header-filter")
    return "".join(line for line in result.stdout.splitlines(keepends=True)
                   if not any(words in line for words in noise))


def main():
    source_dir = pathlib.Path(sys.argv[1]).resolve()
    build_dir = pathlib.Path(sys.argv[2]).resolve()
    cache = build_dir / "tidy"
    cache.mkdir(exist_ok=True)
    version = subprocess.run(["clang-tidy", "--version"], stdout=subprocess.PIPE, check=True)
    salt = version.stdout + (source_dir / ".clang-tidy").read_bytes()
    commands = shipped_commands(source_dir, build_dir)
    # The largest first: none of them is then left for the end, on one core alone.
    items = sorted(commands.items(), key=lambda item: -(source_dir / item[0]).stat().st_size)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = list(pool.map(
            lambda item: check(source_dir, build_dir, cache, salt, *item), items))
    complaints = [verdict for verdict in verdicts if verdict is not None]
    for complaint in complaints:
        sys.stdout.write(complaint)
    # Once more without the paths that lead there: the last lines are what people see.
    for line in "".join(complaints).splitlines():
        if ": error: " in line:
            print(line.removeprefix(f"{source_dir}/"))
    print(f"tidy: {len(complaints)} of {len(commands)} sources have something to mend")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
