#!/usr/bin/env bash
# Shows reelmill at work on this machine: a film is cut into chunks, two worker
# processes encode them, one worker is killed in the middle of a chunk, and the
# output is checked by FFmpeg alone.
#
#   scripts/demo.sh             a film made on the spot, 72 s
#   scripts/demo.sh film.mkv    a film of your own
#
# REELMILL_BIN   use this binary instead of building one
# NO_COLOR       no colours; CLICOLOR_FORCE: colours though this is no terminal
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/farm.sh

input="${1:-}"
folder=demo-output
lease=3       # seconds after which a silent worker loses its chunk
speed=slow    # of x264: slow enough to watch

if [ -t 1 ]; then terminal=yes; else terminal=no; fi
declare -A colour # of each worker
if { [ $terminal = yes ] || [ -n "${CLICOLOR_FORCE:-}" ]; } && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
  colour=([anna]=$'\e[36m' [bert]=$'\e[33m')
else
  bold="" dim="" red="" green="" plain=""
fi

now() { date +%s%N; }
elapsed() { awk -v a="$begun" -v b="$(now)" 'BEGIN { printf "%6.1f s", (b - a) / 1e9 }'; }
clear_line() { if [ $terminal = yes ]; then printf '\r\e[K'; fi; }
event() { clear_line; printf '  %s  %s\n' "$(elapsed)" "$*"; }
fact() { printf '  %-13s%s\n' "$1" "$2"; }
heading() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }

# Six scenes of twelve seconds with cuts between them, and sound.
make_film() {
  local mandelbrot="mandelbrot=s=640x360:r=24:end_pts=700" tone="0.2*exp(-2*mod(t,1))*sin(2*PI*t"
  ffmpeg -nostdin -hide_banner -loglevel error -y \
    -f lavfi -i "testsrc2=s=640x360:r=24" \
    -f lavfi -i "life=s=160x90:r=24:mold=12:ratio=0.1:seed=7:life_color=#ffd27f:death_color=#803030:mold_color=#102038,scale=640:360:flags=bicubic" \
    -f lavfi -i "gradients=s=640x360:r=24:seed=3:speed=0.02,format=yuv420p,noise=c0s=5:c0f=t" \
    -f lavfi -i "$mandelbrot:end_scale=0.004" \
    -f lavfi -i "smptehdbars=s=640x360:r=24,rotate=t/2:c=#202020,gblur=sigma=1" \
    -f lavfi -i "$mandelbrot:start_x=-0.7436:start_y=0.1318:start_scale=0.02:end_scale=0.002" \
    -f lavfi -i "aevalsrc='$tone*(220+110*floor(mod(t,6))))|$tone*(165+55*floor(mod(t,4))))':s=48000:d=72" \
    -filter_complex "$(for n in 0 1 2 3 4 5; do printf '[%d]trim=duration=12,format=yuv420p,setsar=1[s%d];' $n $n; done)
      [s0][s1][s2][s3][s4][s5]concat=n=6[v]" \
    -map '[v]' -map 6:a -c:v libx264 -preset veryfast -crf 20 -g 96 -c:a aac -b:a 128k \
    -metadata title="reelmill demo" "$1"
}

# Seconds and "WIDTHxHEIGHT" of the film "$1".
film_facts() {
  ffprobe -v error -select_streams V:0 -show_entries stream=width,height:format=duration \
    -of default=nw=1 "$1" |
    awk -F= '{ f[$1] = $2 } END { printf "%.1f %sx%s", f["duration"], f["width"], f["height"] }'
}

# Decodes the film "$1": number and time (ms after the first) of each frame, and
# a hash of its picture. Stops at the first decoding error when "$2" is strict.
frames() {
  ffmpeg -nostdin -hide_banner -loglevel error ${2:+-xerror} -i "$1" -map 0:V:0 \
    -fps_mode passthrough -f framehash -hash murmur3 - | awk -F', *' '
      /^#tb 0:/ { split($0, words, " "); split(words[3], base, "/") }
      /^#/ { next }
      { ms = $3 * 1000 * base[1] / base[2]; if (!n++) first = ms; printf "%d %.3f %s\n", n, ms - first, $6 }'
}

# One letter for each chunk: a capital of the worker's name when it is done, a
# small one while it is encoded, "!" when it was taken back, "·" before.
show() {
  local line="" busy="" task state worker done total attempts lost sum=0 all=0
  while read -r task state worker done total attempts lost; do
    if [ "$state" = leased ] && [ "$worker" != - ]; then holder[$task]=$worker; fi
    local letter="${holder[$task]:-?}" tint
    tint="${colour[$letter]:-}" letter="${letter:0:1}"
    case $state in
      done) line+="$tint${letter^}$plain" ;;
      leased)
        line+="$tint$letter$plain"
        busy+="$(printf '   %s: chunk %2d, %3d %%' "$tint$worker$plain" "$task" $((total > 0 ? done * 100 / total : 0)))" ;;
      *) if [ "$lost" -gt 0 ]; then line+="$red!$plain"; else line+="$dim·$plain"; fi ;;
    esac
    sum=$((sum + done)) all=$((all + total))
  done <<<"$1"
  if [ -z "$busy" ] && [ "$sum" = "$all" ]; then busy="   stitching and verifying"; fi
  local bar
  bar="$(printf '  %s  [%s] %3d %%%s' "$(elapsed)" "$line" "$((all > 0 ? sum * 100 / all : 0))" "$busy")"
  if [ $terminal = yes ]; then
    printf '\r\e[K%s' "$bar"
  elif [ "$(now)" -gt $((${shown:-0} + 3000000000)) ]; then
    printf '%s\n' "$bar"
    shown="$(now)"
  fi
}

# Follows the job to its end. Once a third of the chunks is done, kills a worker
# in the middle of a chunk, and starts it again when the chunk was taken back.
follow() {
  local job chunks all finished killed="" victim="" task state worker done total attempts lost
  declare -gA holder=()
  while :; do
    job="$(farm status "$id" --json)"
    chunks="$(farm_chunks <<<"$job")"
    all="$(wc -l <<<"$chunks")"
    finished="$(awk '$2 == "done"' <<<"$chunks" | wc -l)"
    if [ -n "$chunks" ]; then show "$chunks"; fi
    while read -r task state worker done total attempts lost; do
      if [ -z "$killed" ] && [ "$state" = leased ] && [ $((finished * 3)) -ge $((all - 2)) ] &&
        [ $((done * 5)) -ge "$total" ] && [ $((done * 3)) -le $((total * 2)) ] && [ "$done" -gt 0 ]; then
        killed=$task victim=$worker
        kill -KILL "${farm_pid[$victim]}"
        wait "${farm_pid[$victim]}" 2>/dev/null || true
        unset "farm_pid[$victim]"
        event "$red$victim is killed (kill -9)$plain in the middle of chunk $task, $done of $total frames done"
      elif [ -n "$victim" ] && [ "$task" = "$killed" ] && [ "$lost" -gt 0 ]; then
        event "chunk $task is taken back: no sign of life from $victim for $lease s"
        farm_work "$victim"
        event "$victim is started again"
        victim=""
      fi
    done <<<"$chunks"
    case "$(awk "$json_value"'{ print value($0, "state") }' <<<"$job")" in
      completed) break ;;
      failed | cancelled) clear_line; farm status "$id" >&2; die "the job did not complete" ;;
    esac
    sleep 0.2
  done
  [ -n "$killed" ] || event "it was over before a worker could be killed in mid-chunk"
}

# What the job's history tells, with the workers' names.
tell_history() {
  farm status "$id" --json --history | farm_history | awk -v names="$names" '
    BEGIN { n = split(names, pairs, " "); for (i = 1; i < n; i += 2) name[pairs[i]] = pairs[i + 1] }
    function who(id) { return id in name ? name[id] : "the coordinator" }
    function fact(word, text) { printf "  %-13s%s\n", word, text }
    $2 == "submitted" { start = $1 }
    $4 == "analyse" && $2 == "done" { planned = $1 }
    $4 == "finish" && $2 == "claimed" { stitching = $1 }
    $2 == "completed" { end = $1 }
    $4 !~ /^encode_(chunk|video)$/ { next }
    $2 == "claimed" { attempts++; since[$3] = $1; if ($3 in lost_by) again[$3] = who($5) }
    $2 == "done" { made[who($5)]++; pieces++; if (results[$3]++) twice++ }
    $2 == "retrying" || $2 == "released" { lost_by[$3] = who($5); had[$3] = ($1 - since[$3]) / 1e6 }
    END {
      for (worker in made) list = list (list ? ", " : "") made[worker] " by " worker
      fact("chunks", pieces " encoded: " list)
      for (task in lost_by)
        fact("lost", sprintf("chunk %s, %.1f s after %s had taken it; encoded anew by %s", task, had[task], lost_by[task], again[task]))
      fact("effect", sprintf("%d attempts, %d results, %d results counted twice", attempts, pieces, twice))
      fact("time", sprintf("%.1f s to plan, %.1f s to encode, %.1f s to stitch and verify",
        (planned - start) / 1e6, (stitching - planned) / 1e6, (end - stitching) / 1e6))
    }'
}

# Compares two lists of frames: as many, at the same times?
compare() {
  awk '
    NR == FNR { time[$1] = $2; source++; next }
    { output++; off = $2 - time[$1]; if (off < 0) off = -off; if (off > worst) worst = off }
    END {
      good = source == output && source > 0 && worst <= 1.001
      printf "%s %d of %d frames, at most %.3f ms off their time\n", (good ? "ok" : "WRONG"), output, source, worst
    }' "$1" "$2"
}

# Checks the output against the source by FFmpeg alone.
check() {
  local verdict psnr sound=() film
  frames "$input" >"$farm_folder/source.frames"
  frames "$output" strict >"$farm_folder/output.frames" || die "the output does not decode"
  verdict="$(compare "$farm_folder/source.frames" "$farm_folder/output.frames")"
  fact frames "${verdict#* }, decoded without an error"
  for film in "$input" "$output"; do
    sound+=("$(ffmpeg -nostdin -v error -i "$film" -map 0:a? -c copy -f hash -hash murmur3 - 2>/dev/null || true)")
  done
  if [ -n "${sound[0]}" ] && [ "${sound[0]}" = "${sound[1]}" ]; then
    fact sound "the same bytes as in the source"
  fi
  psnr="$(ffmpeg -nostdin -hide_banner -i "$output" -i "$input" -lavfi \
    '[0:V:0]settb=1/1000,setpts=N[a];[1:V:0]settb=1/1000,setpts=N[b];[a][b]psnr' -f null - 2>&1 |
    sed -n 's/.*average:\([0-9.inf]*\) min:\([0-9.inf]*\).*/\1 \2/p' |
    awk '{ printf "%.1f dB on average, %.1f dB in the worst frame", $1, $2 }')"
  if [ -n "$psnr" ]; then fact picture "PSNR against the source: $psnr"; fi
  [ "${verdict%% *}" = ok ] || die "the output is not what it should be"
}

farm_build
farm_begin
mkdir -p "$folder"
printf '%s\n' "${bold}reelmill demo: one film, one coordinator, two workers, one accident$plain"

if [ -z "$input" ]; then
  input="$folder/film.mkv"
  echo "  making a film…"
  make_film "$input"
fi
[ -f "$input" ] || die "there is no file $input"
read -r seconds size <<<"$(film_facts "$input")"
name="$(basename "$input")"
output="$folder/${name%.*}.h264.mkv"
rm -f "$output"
# From 12 to 48 chunks, which fit in a line.
length="$(awk -v s="$seconds" 'BEGIN { n = s / 20; n = n < 12 ? 12 : n > 48 ? 48 : n; c = s / n; printf "%.0f", c < 2 ? 2 : c }')"

farm_serve coordinator --workers 0 --lease-seconds $lease
farm_work anna
farm_work bert
farm_wait_workers 2
names="$(farm_workers | tr '\n' ' ')"

heading "The farm"
fact film "$input: $seconds s, $size"
fact coordinator "$farm_url; a worker that is silent for $lease s loses its chunk"
fact workers "anna and bert, one encoder each; they get their bytes of the film over HTTP"

heading "The job: H.264 by x264, speed $speed, chunks of about $length s"
begun="$(now)"
id="$(farm submit "$input" --chunk-seconds "$length" --set speed=$speed --quiet)"
event "submitted: job $id"
follow
event "${green}completed$plain"
farm fetch "$id" -o "$output" --quiet
event "fetched"

heading "What happened"
tell_history

heading "The output, checked by FFmpeg alone"
fact file "$output ($(wc -c <"$output" | awk '{ printf "%.1f MB", $1 / 1e6 }'))"
check
printf '\n%sAll is well.%s Play it, or run this again with INPUT=your-film.mkv.\n' "$green" "$plain"
