"""What libbrindle exports: exactly the functions of brindle.h, which the version script lists.
The static library hides the rest as well."""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from daemon import SRC, Results, find_program

HEADER = (SRC / "client/include/brindle.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)
DECLARED = set(re.findall(r"BRD_API[^;]*?\b(brd_\w+)\(", CODE))


def defined(library, *options):
    """Names of the functions and data that a library defines for others."""
    lines = subprocess.run(["nm", "--defined-only", *options, library], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.splitlines()
    symbols = [line.split() for line in lines]
    return {words[-1].split("@")[0] for words in symbols if len(words) == 3 and words[1] in "TDBRV"}


def the_header_declares_functions_for_export():
    assert len(DECLARED) > 50
    inline = set(re.findall(r"static inline [^;{]*?\b(brd_\w+)\(", CODE))
    called = set(re.findall(r"\b(brd_\w+)\(", CODE))
    assert called == DECLARED | inline, f"without BRD_API: {called - DECLARED - inline}"


def the_version_script_lists_them_all():
    script = re.sub(r"/\*.*?\*/", "", (SRC / "client/libbrindle.map").read_text(), flags=re.S)
    listed = set(re.findall(r"\b(brd_\w+);", script))
    assert listed == DECLARED, f"in one of the two only: {listed ^ DECLARED}"


def the_shared_library_exports_them_and_nothing_else():
    exported = defined(find_program("libbrindle.so"), "-D")
    assert exported == DECLARED, f"in one of the two only: {exported ^ DECLARED}"


def the_static_library_shows_nothing_else():
    archives = sorted(find_program("libbrindle.so").parent.rglob("libbrindle.a"))
    assert archives, "no libbrindle.a"
    shown = {name for name in defined(archives[0], "-g") if not name.startswith(("__", "_"))}
    assert shown == DECLARED, f"in one of the two only: {shown ^ DECLARED}"


def main():
    results = Results()
    for test in (the_header_declares_functions_for_export, the_version_script_lists_them_all,
                 the_shared_library_exports_them_and_nothing_else,
                 the_static_library_shows_nothing_else):
        results.run(test.__name__, test)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
