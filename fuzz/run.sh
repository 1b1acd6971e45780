#!/bin/sh
# Runs one fuzz target for so many seconds (30 if not said) on the pinned stable toolchain:
#
#     fuzz/run.sh decode 60
#
# No nightly and no cargo-fuzz: the coverage passes are codegen options, and an address sanitizer would find little in
# code that forbids unsafe. What it finds lies in fuzz/artifacts; a find worth keeping goes to fuzz/seeds.
set -eu
cd "$(dirname "$0")"
target=$1
seconds=${2:-30}
triple=$(rustc -vV | sed -n 's/^host: //p')
out=${CARGO_TARGET_DIR:-target}
passes="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    passes="$passes -Cllvm-args=-sanitizer-coverage-$option"
done
RUSTFLAGS="$passes -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing" \
    cargo build --quiet --release --target "$triple" --bin "$target"
mkdir -p "corpus/$target" "artifacts/$target" "seeds/$target"
exec "$out/$triple/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target"
