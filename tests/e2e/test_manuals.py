"""The manual pages say what the programs say of themselves: each option and verb, with the same
default, and none that is not there."""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from daemon import SRC, Results, find_program, sanitizer_prefix  # noqa: E402

GENERAL = {"config", "check-config", "print-config", "help", "version"}


def help_of(name):
    program = find_program(name)
    return subprocess.run([*sanitizer_prefix(program), program, "--help"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def page(name):
    """The lines of a manual page, without fonts."""
    text = (SRC / "docs" / "man" / name).read_text()
    text = re.sub(r"\\f[A-Z]", "", text)
    return text.replace("\\-", "-").replace("\\&", "").replace("\\(aq", "'").splitlines()


def plain(line):
    """The words of a line with a font macro."""
    return re.sub(r'^\.[A-Z]+ |"', "", line)


def flags_in(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", text))


def terms(lines):
    """What each .TP and .TQ introduces."""
    return [plain(following) for line, following in zip(lines, lines[1:])
            if re.match(r"\.T[PQ]\b", line)]


# ---- brindled --------------------------------------------------------------------------------


def joined(text):
    """The parts of an explanation, which the page writes as sentences and --help as lines."""
    return text.replace(". Allowed: ", " ").replace(". Default: ", " default: ")


def daemon_help():
    """{option: (section, argument, changes on SIGHUP, text)} of the table in --help."""
    options, section, at = {}, None, None
    for line in help_of("brindled").splitlines():
        if match := re.fullmatch(r"\[(.+)\]", line):
            section = match[1]
        elif section and (match := re.fullmatch(r"  --(\S+) (.*?)( \*)?", line)):
            at = options[match[1]] = [section, match[2], bool(match[3]), ""]
        elif section and line.startswith("      "):
            at[3] = f"{at[3]} {line.strip()}".strip()
        elif section and line:
            break
    assert len(options) > 30, options
    return {name: (*option[:3], joined(option[3])) for name, option in options.items()}


def daemon_page():
    """The same of brindled(8)."""
    options, section = {}, None
    lines = iter(page("brindled.8"))
    for line in lines:
        if line.startswith(".SH"):
            section = None
        elif match := re.fullmatch(r"\.SS \[(.+)\]", line):
            section = match[1]
        elif section and line == ".TP":
            term, text = plain(next(lines)), next(lines)
            match = re.fullmatch(r"--(\S+) +(.+)", term)
            assert match and match[1] not in options, term
            changes = text.endswith(" Changes on SIGHUP.")
            text = text.removesuffix(" Changes on SIGHUP.").removesuffix(".")
            options[match[1]] = (section, match[2], changes, joined(text))
    return options


def brindled_8_has_the_option_table():
    said, written = daemon_help(), daemon_page()
    assert set(said) == set(written), f"only one has: {sorted(set(said) ^ set(written))}"
    for name, option in said.items():
        assert written[name] == option, f"{name}:\n    page {written[name]}\n    help {option}"


def brindled_8_has_the_general_flags():
    lines = page("brindled.8")
    found = set().union(*(flags_in(term) for term in terms(lines[:lines.index(".SS [server]")])))
    assert found == GENERAL, found ^ GENERAL
    assert flags_in(help_of("brindled").split("\n\nEvery option")[0]) == GENERAL


def configuration_md_has_the_option_table():
    said = daemon_help()
    rows, section = {}, None
    for line in (SRC / "docs" / "configuration.md").read_text().splitlines():
        if match := re.fullmatch(r"### \[(.+)\]", line):
            section = match[1]
        elif section and (match := re.fullmatch(r"\| `([\w-]+)` \| (.*?) \| (.*) \| (.*) \| (.*) ?\|",
                                                line)):
            # A default that is no value stands in the meaning.
            initial = match[2].strip("`") or match[3].partition("Default: ")[2]
            rows[match[1]] = (section, initial, match[5].strip() == "*")
    assert set(rows) == set(said), f"only one has: {sorted(set(rows) ^ set(said))}"
    for name, (section, initial, changes) in rows.items():
        assert (section, changes) == (said[name][0], said[name][2]), f"{name}: {rows[name]}"
        default = re.search(r" default: (.*)$", said[name][3])[1]
        assert f"{default} ".startswith(f"{initial} "), f"{name}: {initial}, not {default}"


# ---- The others ------------------------------------------------------------------------------


def defined_flags(text):
    """{flag} that lines of a --help define, at their beginning."""
    return set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.M))


def brindle_bench_1_has_every_option_and_default():
    said = help_of("brindle-bench")
    lines = page("brindle-bench.1")
    found = set().union(*map(flags_in, terms(lines)))
    assert found == defined_flags(said), f"only one has: {sorted(found ^ defined_flags(said))}"
    text = " ".join(map(plain, lines))
    blocks = re.findall(r"^ +(?:-\w, )?--([a-z-]+)\b(.*(?:\n {20}.*)*)", said, re.M)
    defaults = [(name, re.search(r" \[([^\]]+)\]$", block)) for name, block in blocks]
    assert sum(match is not None for _, match in defaults) > 15, defaults
    for name, match in defaults:
        if not match:
            continue
        initial = match[1]
        entry = re.search(rf"\.T[PQ] (?:-\w, )?--{name}\b.*?(?=\.TP|\.S[HS]|$)", text)[0]
        assert re.search(rf"(?<!\w){re.escape(initial)}(?!\w)", entry), \
            f"{name}: no default {initial} in {entry!r}"


def brindle_1_has_every_verb_and_option():
    said = help_of("brindle")
    lines = page("brindle.1")
    verbs = set(re.findall(r"^  ([a-z]+)  ", said, re.M))
    assert len(verbs) > 15
    begin = lines.index(".SH VERBS")
    end = next(at for at in range(begin + 1, len(lines)) if lines[at].startswith(".SH"))
    found = {word for term in terms(lines[begin:end]) for word in re.findall(r"^[a-z]+\b", term)}
    assert found == verbs, f"only one has: {sorted(found ^ verbs)}"
    begin = lines.index(".SH OPTIONS")
    end = next(at for at in range(begin + 1, len(lines)) if lines[at].startswith(".SH"))
    found = set().union(*map(flags_in, terms(lines[begin:end])))
    assert found == defined_flags(said), f"only one has: {sorted(found ^ defined_flags(said))}"


def brindle_wal_1_has_every_option():
    found = set().union(*map(flags_in, terms(page("brindle-wal.1"))))
    said = flags_in(help_of("brindle-wal"))
    assert found == said, f"only one has: {sorted(found ^ said)}"


def main():
    results = Results()
    for test in (brindled_8_has_the_option_table, brindled_8_has_the_general_flags,
                 configuration_md_has_the_option_table,
                 brindle_bench_1_has_every_option_and_default,
                 brindle_1_has_every_verb_and_option, brindle_wal_1_has_every_option):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
