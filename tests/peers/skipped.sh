#!/usr/bin/env bash
# Lists the tests that reported in $SKIPPED_TESTS that they cannot run here; fails if there are any, unless ALLOW_SKIPS=1.
set -euo pipefail

[ -s "$SKIPPED_TESTS" ] || exit 0
echo "SKIPPED, because this machine lacks something:"
sort -u "$SKIPPED_TESTS" | sed 's/^/    /'
"$(dirname "$0")/system.sh"
if [ "${ALLOW_SKIPS:-}" != 1 ]; then
    echo "a run with skipped tests fails: install what is missing, or accept it with ALLOW_SKIPS=1" >&2
    exit 1
fi
