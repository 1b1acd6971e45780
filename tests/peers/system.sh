#!/usr/bin/env bash
# Sees to the programs of the system in apt.txt. As root with KEEPGATE_PEERS_APT=1 (CI) it installs what is missing; on
# anybody else's machine nothing is installed silently: it prints the one command that would.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
peers=$here/../../.peers
shopt -s nullglob
databases=(/usr/lib/postgresql/*/bin)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:$peers/unpacked/package/usr/bin:$peers/unpacked/package/usr/sbin
for place in "${databases[@]}"; do PATH=$PATH:$place; done

missing() {
    while read -r program package _; do
        [[ -z $program || $program == \#* ]] && continue
        command -v "$program" >/dev/null || echo "$package"
    done <"$here/apt.txt" | sort -u
}

packages=$(missing | tr '\n' ' ')
packages=${packages% }
[ -n "$packages" ] || exit 0
if [ "${KEEPGATE_PEERS_APT:-}" = 1 ] && [ "$(id -u)" = 0 ]; then
    echo "system programs: installing $packages"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
    packages=$(missing | tr '\n' ' ')
    [ -z "$packages" ] || { echo "system programs: still missing after the installation: $packages" >&2; exit 1; }
    exit 0
fi
cat >&2 <<END
system programs: some are missing. The tests that need them are skipped, and \`make test\` then fails (ALLOW_SKIPS=1: it does not).
    apt-get install -y --no-install-recommends $packages
END
