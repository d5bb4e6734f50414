#!/bin/bash
# Compares the library's public API with tests/public-api.txt, using cargo-public-api; `--update` rewrites the file.
# cargo-public-api reads rustdoc's JSON, which the stable toolchain writes only with RUSTC_BOOTSTRAP=1, and whose format changes between
# versions of Rust: VERSION reads that of Rust 1.95. A newer Rust may need a newer VERSION.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=0.52.0

mkdir -p target
tool=target/tools/bin/cargo-public-api
if [ "$($tool --version 2>/dev/null)" != "cargo-public-api $VERSION" ]; then
  env -u RUSTFLAGS cargo install --quiet --locked --root target/tools "cargo-public-api@$VERSION"
fi
now=target/public-api.txt
# Without blanket, auto trait and derived implementations, which almost every type has.
env -u RUSTFLAGS -u CARGO RUSTC_BOOTSTRAP=1 PATH="$PWD/target/tools/bin:$PATH" CARGO_TARGET_DIR=target/public-api \
  cargo public-api -sss --all-features >$now 2>target/public-api.log || {
  cat target/public-api.log >&2
  echo "cargo-public-api $VERSION could not read the crate with $(rustc --version)" >&2
  exit 1
}
if [ "${1:-}" = --update ]; then
  cp $now tests/public-api.txt
  echo "tests/public-api.txt: $(wc -l <$now) public items"
elif diff -u tests/public-api.txt $now; then
  echo "the public API is as recorded: $(wc -l <$now) items"
else
  echo "The public API has changed. If that is on purpose, run tests/public-api.sh --update and describe the change in CHANGELOG.md." >&2
  exit 1
fi
