#!/bin/sh
# Runs every client driver in every era it speaks against one target and prints a line for each.
#
#   drivers.sh <url> [driver option]...             e.g. --header 'Authorization: Bearer X', --skip 'resume: why'
#   drivers.sh --stdio -- <command> [argument]...
#
# Exits 1 if a step failed anywhere. With OUT set, keeps the reports as $OUT/<driver>-<era>.json. With ONLY_DRIVERS or
# ONLY_ERAS set (words separated by blanks), runs those alone.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
peers=$(cd "$here/../.." && pwd)/.peers
[ $# -gt 0 ] || {
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ -f "$peers/stamp" ] || {
    echo "drivers: the peers are not installed: run \`make peers\` first" >&2
    exit 3
}

# The era goes before a `--`, so the target stays as it was given.
first=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
reports=${OUT:-$scratch}
mkdir -p "$reports"
failed=0

run() {
    driver=$1
    era=$2
    interpreter=$3
    shift 3
    report="$reports/${driver%.*}-$era.json"
    code=0
    "$interpreter" "$here/$driver" "$first" --era "$era" "$@" >"$report" 2>"$scratch/errors" || code=$?
    "$peers/py/bin/python" "$here/driver-summary.py" "${driver%.*} $era" "$code" "$report" || {
        failed=1
        cat "$scratch/errors" >&2
    }
}

wanted() {
    case " ${2:-$1} " in
        *" $1 "*) return 0 ;;
        *) return 1 ;;
    esac
}

for driver in ts-client2.mjs ts-sdk1.mjs py_mcp.py py_fastmcp.py; do
    wanted "${driver%.*}" "${ONLY_DRIVERS:-}" || continue
    case $driver in
        *.mjs) interpreter="$peers/bin/node" ;;
        *) interpreter="$peers/py/bin/python" ;;
    esac
    for era in stateful stateless; do
        wanted "$era" "${ONLY_ERAS:-}" || continue
        # sdk 1.x knows nothing of the stateless revision.
        [ "$driver $era" = "ts-sdk1.mjs stateless" ] || run "$driver" "$era" "$interpreter" "$@"
    done
done
exit "$failed"
