#!/bin/sh
# Installs the pinned tools that look at deploy/ (linter of image files, schemas of compose and Kubernetes) into
# .peers/deploy/. Idempotent: when the stamp matches the pins nothing is done. Needs python3 with venv.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
place=$(cd "$here/../.." && pwd)/.peers/deploy
stamp=$({
    cat "$here/deploy-requirements.txt" "$0"
    python3 --version
    uname -sm
} | cksum)
[ -f "$place/stamp" ] && [ "$(cat "$place/stamp")" = "$stamp" ] && {
    echo "deploy tools: up to date in .peers/deploy/"
    exit 0
}
echo "deploy tools: installing into .peers/deploy/"
rm -rf "$place"
python3 -m venv "$place"
"$place/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/deploy-requirements.txt"
"$place/bin/pip" check --disable-pip-version-check >/dev/null
echo "$stamp" >"$place/stamp"
