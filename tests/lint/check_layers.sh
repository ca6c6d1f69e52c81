#!/usr/bin/env bash
# Checks every #include against cmake/layers.txt: calls go down, never up or across.
#
# usage: check_layers.sh [--quiet] [FOLDER...]     (default: all folders, from the root)
#
# The build runs it for each library, so that a layer that reaches upward does not compile.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "${BRINDLE_LAYERS_ROOT:-$root}"   # the test of this check looks at a tree of its own

quiet=false
if [[ ${1:-} == --quiet ]]; then
    quiet=true
    shift
fi
folders=("$@")
if ((${#folders[@]} == 0)); then
    folders=(proto daemon client bench tests)
fi
present=()
for folder in "${folders[@]}"; do
    [[ -d $folder ]] && present+=("$folder")
done
if ((${#present[@]} == 0)); then
    $quiet || echo "layers: nothing to check"
    exit 0
fi

# One line for each #include: path, line number, " or <, and the header.
includes() {
    { grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include' "${present[@]}" || true; } |
        sed -nE 's/^([^:]*):([0-9]+):[[:space:]]*#[[:space:]]*include[[:space:]]*(["<])([^">]+)[">].*/\1 \2 \3 \4/p'
}

includes | awk -v quiet="$quiet" '
function load_rules(file,    line, word, count, i) {
    while ((getline line < file) > 0) {
        count = split(line, word, /[ \t]+/)
        if (word[1] != "library" && word[1] != "program")
            continue
        rule[word[2]] = 1
        kind[word[2]] = word[1]
        for (i = 3; i <= count; i++) {
            may[word[2], word[i]] = 1
            if (word[1] == "library")
                uses[word[2]] = uses[word[2]] " " word[i]
        }
    }
    close(file)
}

# Is `lower` at or below `upper`, through any number of arrows?
function below(upper, lower,    list, count, i) {
    if (upper == lower)
        return 1
    count = split(uses[upper], list, " ")
    for (i = 1; i <= count; i++)
        if (below(list[i], lower))
            return 1
    return 0
}

function is_layer(name) {
    return kind[name] == "library"
}

# The part of the tree that a file belongs to.
function part_of(path,    dir, count) {
    count = split(path, dir, "/")
    if (dir[1] == "daemon")
        return count == 2 ? "main" : dir[2]
    if (dir[1] == "client")
        return (dir[2] == "cli" || dir[2] == "examples") ? dir[2] : "client"
    if (dir[1] == "tests") {
        if (dir[2] == "unit")
            return "unit " dir[3]
        if (dir[2] == "engine" || dir[2] == "session")
            return "unit " dir[2]
        if (dir[2] == "cost")
            return "unit session"   # the way of a request, from here down
        if (dir[2] == "fuzz" || dir[2] == "support")
            return dir[2]
        return "outside"            # e2e, crash, systemd, bench: a user of the daemon
    }
    return dir[1]                   # proto, bench
}

# The part that owns an included header; sets `front` when it is its front header.
function owner_of(header,    dir, count) {
    front = 0
    count = split(header, dir, "/")
    if (header == "brindle.h")
        return "brindle"
    if (header ~ /^[^\/]*\.pb-c\.h$/ || dir[1] == "proto")
        return "proto"
    if (count > 1 && is_layer(dir[1])) {
        front = (header == dir[1] "/" dir[1] ".h")
        return dir[1]
    }
    if (count > 1 && (dir[1] == "client" || dir[1] == "support" || dir[1] == "tools" ||
                      dir[1] == "bench" || dir[1] == "cli"))
        return dir[1]
    if (dir[1] == "tests")
        return "support"
    if (header ~ /^daemon\//)
        return "daemon"
    return "local"
}

# Why `part` may not include `header`, or "" if it may.
function objection(path, part, header, quoted,    owner, dir, tested) {
    if (header ~ /\.c$/)
        return "includes a source file"
    if (header ~ /(^|\/)\.\.(\/|$)/)
        return "climbs with ..; name it from its folder"
    owner = owner_of(header)
    if (!quoted && owner != "brindle" && owner != "proto" && !is_layer(owner))
        return ""                   # a system header

    if (owner == "daemon")
        return "write it without the leading daemon/"
    if (owner == "local") {
        dir = path
        sub(/[^\/]*$/, "", dir)
        if (exists(dir header))
            return ""
        if (is_layer(part) && exists("daemon/" part "/" header))
            return ""
        if (part == "main" && exists("daemon/" header))
            return ""
        if (part == "client" && exists("client/" header))
            return ""
        if (part ~ /^unit (daemon|waltool|cli|bench|client)$/)
            return ""               # the headers of the program under test
        if (part == "fuzz" && (exists("daemon/" header) || exists("bench/" header)))
            return ""
        return "is not a header of its own folder"
    }
    if (owner == part)
        return ""

    if (part ~ /^unit /) {
        tested = substr(part, 6)
        if (owner == "base" || owner == "support" || owner == tested)
            return ""
        if (tested == "client" || tested == "cli" || tested == "bench")
            return (owner == "brindle" || owner == "proto") ? "" : "is not part of the client"
        if (tested == "daemon")
            return is_layer(owner) && !front ? "is private to " owner : ""
        if (tested == "waltool")
            tested = "tools"
        if (owner == "proto" && below(tested, "proto"))
            return ""
        if (!below(tested, owner) && !((tested, owner) in may))
            return "is not below " tested
        return front ? "" : "is private to " owner
    }
    if (part == "fuzz")
        return ""                   # parsers are fuzzed from inside
    if (part == "support")
        return (owner == "brindle" || owner == "base" || owner == "proto" || front) ? "" \
            : "is private to " owner
    if (part == "outside")
        return (owner == "brindle" || owner == "support") ? "" : "only brindle.h from here"

    if (!(part in rule))
        return "its folder " part " has no line in cmake/layers.txt"
    if (!((part, owner) in may))
        return part " may not use " owner
    if (owner == "base" || owner == "proto" || owner == "brindle")
        return ""
    return front ? "" : "is private to " owner " (use " owner "/" owner ".h)"
}

function exists(file,    line, status) {
    if (!(file in seen)) {
        status = (getline line < file)
        close(file)
        seen[file] = status >= 0
    }
    return seen[file]
}

BEGIN { load_rules("cmake/layers.txt"); bad = 0 }

{
    why = objection($1, part_of($1), $4, $3 == "\"")
    if (why != "") {
        printf "%s:%s: \"%s\": %s\n", $1, $2, $4, why
        bad++
    }
    checked++
}

END {
    if (bad > 0) {
        printf "layers: %d of %d includes break the rules of cmake/layers.txt\n", bad, checked
        exit 1
    }
    if (quiet != "true")
        printf "layers: %d includes checked\n", checked
}'
