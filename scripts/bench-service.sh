#!/usr/bin/env bash
# Measures the coordinator as a service: jobs a second, claims from long queues,
# memory with a million jobs, uploads and downloads beside nginx, answers beside slow
# clients. Prints figures with their targets; never fails because something was slow.
#
# REELMILL_BENCH_SIZE    short: up to 100,000 jobs; long: up to 1,000,000 (long)
# REELMILL_BENCH_BYTES   size of the file that is sent and fetched, MiB (1024)
# REELMILL_BENCH_RUNS    transfers of each kind, the middle counts (3)
# REELMILL_BENCH_SLOW    slow connections (1000)
# REELMILL_BENCH_PARTS   some of: queue memory transfer slow (all of them)
# REELMILL_BIN           use this binary instead of building one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/farm.sh

size="${REELMILL_BENCH_SIZE:-long}"
mebibytes="${REELMILL_BENCH_BYTES:-1024}"
runs="${REELMILL_BENCH_RUNS:-3}"
slow="${REELMILL_BENCH_SLOW:-1000}"
parts=" ${REELMILL_BENCH_PARTS:-queue memory transfer slow} "

wanted() { [[ $parts == *" $1 "* ]]; }
note() { printf '%s\n' "$*" >&2; }
row() { printf '  %-58s %10s %-8s %s\n' "$@"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
seconds() { local begun; begun="$(date +%s%N)"; "$@" >/dev/null; awk -v a="$begun" -v b="$(date +%s%N)" 'BEGIN { print (b - a) / 1e9 }'; }

# Rows and claims: a test that does it whole when it is asked to.
queue() {
  note "Building the benchmark of the queue in release mode…"
  mkdir -p "$farm_folder/coordinator"
  REELMILL_BENCH="$size" REELMILL_BENCH_ROWS="$farm_folder/coordinator/reelmill.db" \
    cargo test --release --locked --quiet --package reelmill --bin reelmill \
    bench:: -- --nocapture --test-threads=1 | sed -n 's/^\.*\(  .*\)/\1/p' || die "the benchmark failed"
}

# Resident memory of the coordinator, MiB: now, and the most that it ever had.
memory() {
  local pid jobs begun
  [ -f "$farm_folder/coordinator/reelmill.db" ] || { note "  memory: needs the part 'queue'"; return; }
  begun="$(date +%s%N)"
  farm_serve coordinator --workers 0
  row "start with these jobs" "$(awk -v a="$begun" -v b="$(date +%s%N)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }')" s ""
  pid="${farm_pid[coordinator]}"
  jobs="$(curl -s "$farm_url/api/v1/queue" | grep -o '[a-z]*":[0-9]*' | awk -F: '{ s += $2 } END { print s }')"
  # What people and programs look at.
  local turn
  for ((turn = 0; turn < 20; turn++)); do
    for path in /metrics "/api/v1/jobs?limit=200" /api/v1/stats /api/v1/status /api/v1/events /api/v1/workers; do
      curl -s -o /dev/null "$farm_url$path"
    done
  done
  farm list --limit 1000 --json | tail -n 1 >"$farm_folder/last"
  farm status "$(grep -o '"id":"[^"]*"' "$farm_folder/last" | head -n 1 | cut -d'"' -f4)" >/dev/null
  row "memory of the coordinator, $jobs jobs: now" "$(awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status")" MiB "≤ 150"
  row "memory of the coordinator, $jobs jobs: most ever" "$(awk '/^VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status")" MiB ""
  row "figures for Prometheus" "$(curl -s -o /dev/null -w '%{time_total}' "$farm_url/metrics" | awk '{ printf "%.1f", $1 * 1e3 }')" ms ""
  farm_stop_one coordinator
}

upload() { # to reelmill: announced, sent, digested and compared
  local place
  place="$(curl -s -D - -o /dev/null -X POST "$farm_url/api/v1/uploads" -H "Upload-Length: $bytes" |
    tr -d '\r' | awk 'tolower($1) == "location:" { print $2 }')"
  curl -sf -o /dev/null -X PATCH "$farm_url$place" -H "Upload-Offset: 0" \
    -H "Content-Type: application/offset+octet-stream" -T "$film"
  curl -sf -X POST "$farm_url$place/finish" -H "Content-Type: application/json" \
    -d "{\"sha512\": \"$digest\"}" >"$farm_folder/finished"
}

# Leaves as much free memory that was just used as is sent next. On a virtual machine what
# was not used lately comes from the host first, at a tenth of the speed. What nginx got is
# removed after each turn and what reelmill got is kept: without this, one alone would pay.
settle() {
  dd if=/dev/zero of="$farm_folder/settle" bs=1M count="$mebibytes" status=none
  rm -f "$farm_folder/settle"
}

# MiB a second: "$1" bytes in the middle one of the seconds on standard input.
speed() { median | awk -v b="$1" '{ printf "%.0f", b / 1048576 / $1 }'; }

# Ours beside nginx's (may be missing) and the digest alone, in MiB a second.
against() {
  row "$1" "$2" MiB/s "$([ -z "$3" ] || awk -v a="$2" -v b="$3" 'BEGIN { printf "%.0f %% of nginx (≥ 60 %%) or ", a / b * 100 }')$(
    awk -v a="$2" -v b="$4" 'BEGIN { printf "%.0f %% of the digest alone (≥ 85 %%)", a / b * 100 }')"
}

transfer() {
  local run job nginx="" alone up down nginx_up="" nginx_down="" output="$farm_folder/output" length
  film="$farm_folder/film.bin"
  head -c "$((mebibytes << 20))" /dev/urandom >"$film"
  bytes="$(wc -c <"$film")" digest="$(sha512sum "$film" | cut -d' ' -f1)"
  alone="$(for ((run = 0; run < runs; run++)); do seconds sha512sum "$film"; done | speed "$bytes")"
  row "SHA-512 alone (sha512sum), one core" "$alone" MiB/s ""
  farm_serve transfer
  note "  An output to fetch is made…"
  job="$(transfer_job)"
  farm fetch "$job" -o "$output" --quiet
  length="$(wc -c <"$output")"
  if command -v nginx >/dev/null; then nginx=yes; nginx_start; cp "$output" "$farm_folder/nginx/output"; else
    note "  nginx is not installed (apt-get install nginx): compared with the digest alone"
  fi
  for ((run = 0; run < runs; run++)); do
    settle
    seconds upload >>"$farm_folder/up"
    grep -q "$digest" "$farm_folder/finished" || die "another digest arrived"
    seconds curl -sf -o "$farm_folder/got" "$farm_url/api/v1/jobs/$job/output" >>"$farm_folder/down"
    cmp -s "$farm_folder/got" "$output" || die "something else was fetched"
    [ -n "$nginx" ] || continue
    settle
    seconds curl -sf -o /dev/null -T "$film" "http://127.0.0.1:$nginx_port/put-$run" >>"$farm_folder/nginx-up"
    seconds curl -sf -o "$farm_folder/got" "http://127.0.0.1:$nginx_port/output" >>"$farm_folder/nginx-down"
    rm -f "$farm_folder/nginx/put-$run"
  done
  up="$(speed "$bytes" <"$farm_folder/up")" down="$(speed "$length" <"$farm_folder/down")"
  if [ -n "$nginx" ]; then
    nginx_up="$(speed "$bytes" <"$farm_folder/nginx-up")"
    nginx_down="$(speed "$length" <"$farm_folder/nginx-down")"
    row "nginx: upload (not synchronised)" "$nginx_up" MiB/s ""
    row "nginx: download" "$nginx_down" MiB/s ""
    kill "$(cat "$farm_folder/nginx.pid")"
  fi
  against "upload, synchronised and digested" "$up" "$nginx_up" "$alone"
  against "download" "$down" "$nginx_down" "$alone"
  farm_stop_one coordinator
}

nginx_start() {
  nginx_port="$((20000 + RANDOM % 20000))"
  mkdir -p "$farm_folder/nginx"
  chmod 777 "$farm_folder" "$farm_folder/nginx"
  cat >"$farm_folder/nginx.conf" <<CONF
pid $farm_folder/nginx.pid;
error_log $farm_folder/nginx.log;
events { worker_connections 64; }
http {
  access_log off;
  sendfile on;
  client_max_body_size 0;
  client_body_temp_path $farm_folder/nginx;
  proxy_temp_path $farm_folder/nginx;
  fastcgi_temp_path $farm_folder/nginx;
  uwsgi_temp_path $farm_folder/nginx;
  scgi_temp_path $farm_folder/nginx;
  server {
    listen 127.0.0.1:$nginx_port;
    root $farm_folder/nginx;
    dav_methods PUT;
  }
}
CONF
  nginx -c "$farm_folder/nginx.conf" 2>/dev/null || die "nginx did not start: see $farm_folder/nginx.log"
}

# The id of a completed job with an output of some 200 MB: noise in FFV1.
transfer_job() {
  ffmpeg -nostdin -v error -y -f lavfi -i "nullsrc=s=1280x720:r=24,format=gray,geq=random(1)*255" \
    -t 1 -c:v ffv1 "$farm_folder/second.mkv"
  ffmpeg -nostdin -v error -y -stream_loop 9 -i "$farm_folder/second.mkv" -c copy "$farm_folder/noise.mkv"
  local id
  id="$(farm submit "$farm_folder/noise.mkv" --preset lossless --quiet)"
  farm status "$id" --follow --quiet >/dev/null
  echo "$id"
}

# Opens slow connection "$1": one of five ways to keep a server waiting.
dawdle_one() {
  local begin="" address="${farm_url#http://}" get="GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n"
  case $(($1 % 5)) in
    0) begin="${get}X-Slow: " ;;
    1) begin="${get/GET/POST}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{" ;;
    2) begin="$get\r\n" ;; # and its answer is not read
    3) begin="PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" ;;
  esac
  exec {dawdler[$1]}<>"/dev/tcp/${address%:*}/${address##*:}" || return 0
  printf '%b' "$begin" >&"${dawdler[$1]}"
}

# Keeps "$1" slow connections open: a byte a second on each; what the server closes is
# opened anew.
dawdle() {
  local number
  declare -A dawdler
  trap '' PIPE
  ulimit -n $(($1 + 100))
  for ((number = 0; number < $1; number++)); do dawdle_one "$number"; done
  : >"$farm_folder/dawdling"
  while :; do
    sleep 1
    for number in "${!dawdler[@]}"; do
      printf x >&"${dawdler[$number]}" && continue
      exec {dawdler[$number]}>&-
      dawdle_one "$number"
    done
  done
}

# Milliseconds that each of 300 healthy requests takes, a connection for each.
healthy() {
  local turn path
  for ((turn = 0; turn < 100; turn++)); do
    for path in /livez /api/v1/jobs /api/v1/status; do
      curl -s -o /dev/null -w '%{http_code} %{time_total}\n' "$farm_url$path"
    done
  done | awk '$1 != 200 { exit 1 } { print $2 * 1e3 }'
}

slow() {
  local with tries open
  farm_serve slow --workers 0
  for with in 0 "$slow"; do
    if [ "$with" -gt 0 ]; then
      dawdle "$with" 2>/dev/null &
      farm_pid[dawdler]=$!
      for ((tries = 0; tries < 600; tries++)); do [ ! -e "$farm_folder/dawdling" ] || break; sleep 0.1; done
    fi
    healthy >"$farm_folder/healthy" || die "a healthy request was refused"
    row "healthy request beside $with slow connections: median" "$(median <"$farm_folder/healthy" | awk '{ printf "%.1f", $1 }')" ms ""
    row "healthy request beside $with slow connections: longest" "$(sort -n "$farm_folder/healthy" | awk 'END { printf "%.1f", $1 }')" ms "≤ 500"
  done
  open="$(find "/proc/${farm_pid[coordinator]}/fd" -lname 'socket:*' | wc -l)"
  [ "$open" -ge $((slow / 2)) ] || die "only $open connections were open"
  row "connections open at the end" "$open" "" ""
  farm_stop
}

farm_build
farm_begin
echo "reelmill bench, service: $(nproc) cores, $(uname -sr)"
if wanted queue; then queue; fi
if wanted memory; then memory; fi
if wanted transfer; then transfer; fi
if wanted slow; then slow; fi
