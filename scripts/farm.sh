# What demo.sh and bench.sh share: a coordinator and workers on this machine,
# started and stopped by process id, and reading what reelmill says in JSON with
# nothing but awk. To be sourced from the repository's root.
#
# REELMILL_BIN   use this binary instead of building one

farm_folder=""      # temporary: states, scratch folders, logs
farm_url=""         # the coordinator's address
declare -A farm_pid # process ids by name; the coordinator is "coordinator"

die() { echo "${0##*/}: $*" >&2; exit 1; }

# Builds the release binary and leaves its path in $reelmill.
farm_build() {
  reelmill="${REELMILL_BIN:-}"
  if [ -z "$reelmill" ]; then
    echo "Building reelmill in release mode (the first time takes some minutes)…"
    cargo build --release --locked --quiet --package reelmill
    reelmill="${CARGO_TARGET_DIR:-$PWD/target}/release/reelmill"
  fi
  [ -x "$reelmill" ] || die "there is no program $reelmill"
}

# Makes the temporary folder and sees to it that nothing outlives this script.
farm_begin() {
  farm_folder="$(mktemp -d "${TMPDIR:-/tmp}/reelmill-${0##*/}.XXXXXX")"
  # The user's own settings shall not change what is shown.
  unset REELMILL_API_KEY DISTCONV_API_KEY REELMILL_TOKEN REELMILL_SERVER REELMILL_LOG
  export REELMILL_CONFIG_DIR="$farm_folder/config" REELMILL_SCRATCH="$farm_folder/scratch"
  trap farm_end EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

farm_end() {
  local status=$?
  trap '' HUP INT TERM
  farm_stop
  case $status in
    0 | 129 | 130 | 143) rm -rf "$farm_folder" ;;
    *) echo "The logs are in $farm_folder." >&2 ;;
  esac
  return $status
}

# Stops every process of the farm, workers first.
farm_stop() {
  local name
  for name in "${!farm_pid[@]}"; do
    if [ "$name" != coordinator ]; then farm_stop_one "$name"; fi
  done
  farm_stop_one coordinator
}

farm_stop_one() {
  local pid="${farm_pid[$1]:-}" tries
  unset "farm_pid[$1]"
  [ -n "$pid" ] || return 0
  # A second signal says: give back what you have, now.
  for tries in 1 2; do kill -TERM "$pid" 2>/dev/null || break; sleep 0.1; done
  for ((tries = 0; tries < 50; tries++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# Starts a coordinator on a free port, its state in the folder "$1"; the other
# arguments go to `reelmill serve`.
farm_serve() {
  local state="$farm_folder/$1" said="$farm_folder/$1.said" tries
  shift
  "$reelmill" serve --json --listen 127.0.0.1:0 --state "$state" "$@" \
    >"$said" 2>"$state.log" </dev/null &
  farm_pid[coordinator]=$!
  for ((tries = 0; tries < 300; tries++)); do
    farm_url="$(sed -n 's/.*"address":"\([^"]*\)".*/http:\/\/\1/p' "$said" | head -n 1)"
    [ -z "$farm_url" ] || return 0
    kill -0 "${farm_pid[coordinator]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$state.log" >&2
  die "the coordinator did not start"
}

# Starts a worker named "$1" with one slot and a scratch folder of its own.
farm_work() {
  "$reelmill" work --server "$farm_url" --slots 1 --name "$1" --scratch "$farm_folder/$1" \
    >/dev/null 2>>"$farm_folder/$1.log" </dev/null &
  farm_pid[$1]=$!
}

# A client command.
farm() { "$reelmill" --server "$farm_url" "$@"; }

# The workers that have joined: "id name" a line.
farm_workers() {
  farm workers --json | awk "$json_value"'
    /"encodes":true/ { print value($0, "id"), value($0, "name") }'
}

# Waits until "$1" workers have joined.
farm_wait_workers() {
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    if [ "$(farm_workers | wc -l)" -ge "$1" ]; then return 0; fi
    sleep 0.1
  done
  die "the workers did not join"
}

# awk: the first plain value of "key" in a text, without its quotes.
json_value='
  function value(text, key,   found) {
    if (!match(text, "\"" key "\":(\"[^\"]*\"|[-+.0-9a-zE]+)")) return "-"
    found = substr(text, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
    gsub(/"/, "", found)
    return found == "null" ? "-" : found
  }'

# The video pieces of a job in JSON on standard input:
# "task state worker frames-done frames-total attempts lost-workers" a line.
farm_chunks() {
  awk "$json_value"'
    BEGIN { RS = "{" }
    /"kind":"encode_(chunk|video)"/ && /"frames_done":/ {
      print value($0, "task"), value($0, "state"), value($0, "worker"),
        value($0, "frames_done") + 0, value($0, "frames_total") + 0,
        value($0, "attempts") + 0, value($0, "lost_workers") + 0
    }'
}

# The history of a job in JSON (status --json --history) on standard input:
# "microseconds event task kind worker-id message" a line, oldest first.
farm_history() {
  awk "$json_value"'
    BEGIN { RS = "\"seq\":" }
    /"at":[0-9]/ && /"event":"/ {
      print value($0, "at"), value($0, "event"), value($0, "number"), value($0, "kind"),
        value($0, "worker"), value($0, "message")
    }'
}
