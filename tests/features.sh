#!/bin/bash
# Checks every combination of Cargo features, and runs the tests without any feature.
# `cargo hack --feature-powerset` does the same, but would have to be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
features=(cli metrics redis)
for ((mask = 0; mask < 1 << ${#features[@]}; mask++)); do
  chosen=()
  for index in "${!features[@]}"; do
    ((mask >> index & 1)) && chosen+=("${features[index]}")
  done
  list=$(IFS=,; echo "${chosen[*]:-}")
  echo "features: ${list:-none}"
  RUSTFLAGS="${RUSTFLAGS:-} -D warnings" cargo check --quiet --locked --lib --bins --examples --no-default-features --features "$list"
done
cargo test --quiet --locked --no-default-features
