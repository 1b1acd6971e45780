#!/bin/sh
# Runs every peer without Keepgate: the baseline that a run through it is compared with.
#
#   direct.sh [<folder for the results>]
#
# Leaves conformance.json and the drivers' reports in the folder (http/ and stdio/). Exits 1 if anything failed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
node=$(cd "$here/../.." && pwd)/.peers/bin/node
work=$(mktemp -d)
out=${1:-$work/results}
mkdir -p "$out"
servers=
trap 'for pid in $servers; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
failed=0

# Starts an HTTP server and sets $url to where it listens.
start() {
    "$here/server.sh" "$1" >"$work/$1.log" 2>&1 &
    servers="$servers $!"
    for _ in $(seq 100); do
        url=$(sed -n 's/^listening //p' "$work/$1.log")
        [ -z "$url" ] || return 0
        sleep 0.1
    done
    cat "$work/$1.log" >&2
    echo "direct: $1 did not start" >&2
    exit 1
}

start fixture
echo "== drivers over HTTP"
OUT="$out/http" "$here/drivers.sh" "$url" || failed=1
for revision in 2025-03-26 2025-06-18; do
    echo "== ts-client2 in $revision"
    OUT="$out/$revision" ONLY_DRIVERS=ts-client2 ONLY_ERAS=stateful "$here/drivers.sh" "$url" --revision "$revision" || failed=1
done
echo "== drivers over stdio"
OUT="$out/stdio" "$here/drivers.sh" --stdio -- "$here/server.sh" fixture-stdio || failed=1
echo "== conformance suite"
"$here/conformance.sh" "$url" "$out/conformance.json" || failed=1
"$here/conformance-compare.py" "$out/conformance.json" "$out/conformance.json" >/dev/null || failed=1

echo "== real servers"
git init -q "$work/repository"
for server in everything "filesystem $work" time "git $work/repository"; do
    # shellcheck disable=SC2086 # the words of an entry are the command's arguments
    if "$node" "$here/stdio-direct.mjs" -- "$here/server.sh" $server >"$work/tools"; then
        echo "${server%% *}: $(wc -l <"$work/tools") tools"
    else
        echo "${server%% *}: failed"
        failed=1
    fi
done
start everything-http
if "$node" "$here/ts-sdk1.mjs" "$url" --list-and-call echo '{"message":"hello"}' >"$out/everything-http.json"; then
    echo "everything-http: answered a call"
else
    cat "$out/everything-http.json"
    failed=1
fi
exit "$failed"
