#!/usr/bin/env bash
# All checks of the code short of its tests; stops at the first that fails.
# Expects scripts/setup.sh --checks to have run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.tools/bin:$PATH"

step() { echo; echo "== $*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
step cargo fetch --locked --quiet
step cargo deny --offline check --hide-inclusion-graph licenses bans sources
step cargo test --workspace --locked --quiet --test tidy
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked --quiet

not_run="NOT RUN: cargo deny advisories (needs the advisory database)"
if [ -n "${REELMILL_NOT_RUN:-}" ]; then
  echo "$not_run" >>"$REELMILL_NOT_RUN"
else
  echo "$not_run"
fi
