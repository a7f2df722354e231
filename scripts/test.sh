#!/usr/bin/env bash
# Everything a change must pass: setup, checks, all tests. Says at the end which
# groups of tests were not run and why: those are not counted as passed.
#
# A test group that cannot run here appends a line "NOT RUN: <group> (<reason>)"
# to the file that REELMILL_NOT_RUN names.
#
# REELMILL_TEST_MEDIA   folder with real media files and their MANIFEST.tsv
# REELMILL_TEST_LONG    1 to run the tests that take minutes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p target
REELMILL_NOT_RUN="$(mktemp "$PWD/target/not-run.XXXXXX")"
export REELMILL_NOT_RUN

summary() {
  local status=$?
  echo
  if [ $status -ne 0 ]; then
    echo "FAILED, see above."
  elif [ -s "$REELMILL_NOT_RUN" ]; then
    echo "Passed, but for what was not run:"
  else
    echo "Passed."
  fi
  sort -u "$REELMILL_NOT_RUN"
  rm -f "$REELMILL_NOT_RUN"
}
trap summary EXIT

scripts/setup.sh --checks
scripts/check.sh
echo
echo "== cargo test --workspace --locked --no-fail-fast"
cargo test --workspace --locked --no-fail-fast
