#!/bin/sh
# Starts one of the servers in .peers/ in the foreground (the shell becomes it, so a signal to this process reaches it).
#
#   on stdio:                     server.sh fixture-stdio | everything | gitlab | slack | github | brave-search | memory | postgres <url> | sloppy <behaviour> | filesystem <folder>... | time | git <repository>
#   HTTP, prints `listening URL`: server.sh fixture | store | everything-http | everything-sse | py-sse | fastmcp-sse | oidc | bundles | egress-proxy     (port from PORT, else a free one)
set -eu

# A gateway may start this with an empty environment.
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
export PATH
here=$(cd "${0%/*}" && pwd)
peers="${here%/tests/peers}/.peers"
node="$peers/bin/node"
python="$peers/py/bin/python"
official="$peers/node_modules/@modelcontextprotocol"
[ -f "$peers/stamp" ] || {
    echo "server.sh: the peers are not installed: run \`make peers\` first" >&2
    exit 3
}

name=${1:-}
[ $# -gt 0 ] && shift
case $name in
    fixture) exec "$node" "$here/conformance-server.mjs" "$@" ;;
    store) exec "$node" "$here/ts-sdk1-store.mjs" ;;
    sloppy) exec "$node" "$here/sloppy-stdio.mjs" "$@" ;;
    fixture-stdio) exec "$node" "$here/conformance-server.mjs" --stdio ;;
    everything) exec "$node" "$official/server-everything/dist/index.js" stdio ;;
    everything-http)
        PORT=${PORT:-0}
        export PORT
        exec "$node" --import "$here/loopback.mjs" "$official/server-everything/dist/index.js" streamableHttp
        ;;
    everything-sse)
        PORT=${PORT:-0} LISTENS_AT=/sse
        export PORT LISTENS_AT
        exec "$node" --import "$here/loopback.mjs" "$official/server-everything/dist/index.js" sse
        ;;
    py-sse) exec "$python" "$here/py_sse.py" mcp ;;
    fastmcp-sse) exec "$python" "$here/py_sse.py" fastmcp ;;
    bundles) exec "$python" "$here/bundles.py" ;;
    egress-proxy) exec "$python" "$here/egress_proxy.py" ;;
    oidc) exec "$node" "$here/oidc.mjs" ;;
    gitlab) GITLAB_PERSONAL_ACCESS_TOKEN=none exec "$node" "$official/server-gitlab/dist/index.js" ;;
    slack) SLACK_BOT_TOKEN=none SLACK_TEAM_ID=none exec "$node" "$official/server-slack/dist/index.js" ;;
    github) GITHUB_PERSONAL_ACCESS_TOKEN=none exec "$node" "$official/server-github/dist/index.js" ;;
    brave-search) BRAVE_API_KEY=none exec "$node" "$official/server-brave-search/dist/index.js" ;;
    memory) exec "$node" "$official/server-memory/dist/index.js" ;;
    postgres) exec "$node" "$official/server-postgres/dist/index.js" "$@" ;;
    filesystem) exec "$node" "$official/server-filesystem/dist/index.js" "$@" ;;
    time) exec "$python" -m mcp_server_time ;;
    git) exec "$python" -m mcp_server_git --repository "$@" ;;
    *)
        echo "server.sh: no server \`$name\`: fixture, store, fixture-stdio, everything, everything-http, everything-sse, py-sse, fastmcp-sse, oidc, bundles, egress-proxy, gitlab, slack, github, brave-search, memory, postgres, sloppy, filesystem, time, git" >&2
        exit 2
        ;;
esac
