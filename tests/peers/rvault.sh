#!/bin/sh
# Builds RustyVault, a Vault-compatible server, once: the pinned version from crates.io, into a cache outside of every
# target directory. Prints the path of the program. Needs a Rust toolchain, a C compiler, pkg-config and OpenSSL's headers.
set -eu

version=0.2.1
cache="${KEEPGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keepgate}"
root="$cache/rvault-$version"
program="$root/bin/rvault"

if [ ! -x "$program" ]; then
    command -v pkg-config >/dev/null 2>&1 && pkg-config --exists openssl ||
        { echo "rvault: OpenSSL's headers are missing. On Debian/Ubuntu: apt-get install -y pkg-config libssl-dev" >&2; exit 1; }
    echo "rvault: building version $version into $root, once (about 5 minutes)" >&2
    mkdir -p "$cache"
    # Its own target directory, gone afterwards; --root takes the program only when all of it was built.
    build=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    cargo install rusty_vault --version "=$version" --locked --debug --bin rvault --root "$root" --target-dir "$build" >&2 ||
        { echo "rvault: the build failed" >&2; exit 1; }
fi
echo "$program"
