#!/bin/sh
# Runs the server half of the official conformance suite against a URL, in both requirement sets of the next version and whole in the
# last stable one, and writes the counts.
#
#   conformance.sh <url> <out.json>
#
# Exits 0 when the suite ran and every scenario left a record, whatever the checks said; conformance-compare.py judges.
set -eu

[ $# -eq 2 ] || {
    echo "usage: conformance.sh <url> <out.json>" >&2
    exit 2
}
url=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
peers=$(cd "$here/../.." && pwd)/.peers
suite="$peers/node_modules/@modelcontextprotocol/conformance"
[ -f "$peers/stamp" ] || {
    echo "conformance: the peers are not installed: run \`make peers\` first" >&2
    exit 3
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for set in 2025-11-25 2026-07-28; do
    # A failing check makes the suite exit 1, so its exit code says nothing about whether it ran: the records do.
    timeout 300 "$peers/bin/node" "$suite/dist/index.js" server --url "$url" --requirements "$set" \
        --output-dir "$work/$set" >"$work/$set.log" 2>&1 || true
done
timeout 300 "$peers/bin/node" "$peers/node_modules/conformance-stable/dist/index.js" server --url "$url" --suite all \
    --output-dir "$work/stable" >"$work/stable.log" 2>&1 || true
"$peers/py/bin/python" "$here/conformance-collect.py" "$suite/requirements" "$work" "$out" || {
    tail -n 40 "$work"/*.log >&2
    exit 1
}
