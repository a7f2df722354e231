#!/usr/bin/env bash
# Measures what chunked encoding costs and gains on this machine, always two ways
# side by side in one run, so that the ratios hold though machines differ. Prints
# medians; never fails because something was slow.
#
# REELMILL_BENCH_RUNS      runs of each (3)
# REELMILL_BENCH_SECONDS   length of the film (60)
# REELMILL_BENCH_ONLY      some of: x264 svt-av1 x265 farm bdrate (all of them)
# REELMILL_BENCH_CLIPS     clips of bdrate: files, or all of bench/ (the film, if none)
# REELMILL_BENCH_ENCODERS  encoders of bdrate (x264 x265 svt-av1)
# REELMILL_TEST_MEDIA      folder with bench/sintel_trailer-720p.mp4, a real film;
#                          without it one is made
# REELMILL_BIN             use this binary instead of building one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/farm.sh

runs="${REELMILL_BENCH_RUNS:-3}"
seconds="${REELMILL_BENCH_SECONDS:-60}"
only=" ${REELMILL_BENCH_ONLY:-x264 svt-av1 x265 farm bdrate} "
TIMEFORMAT='%R %U %S'

wanted() { [[ $only == *" $1 "* ]]; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
# The median of field "$1" over the lines on standard input.
field() { awk -v n="$1" '{ print $n }' | median; }
note() { printf '%s\n' "$*" >&2; }

# A film in 720p, 24 frames a second, with cuts, grain and sound.
make_film() {
  local part trailer="${REELMILL_TEST_MEDIA:-}/bench/sintel_trailer-720p.mp4" mandelbrot="mandelbrot=s=1280x720:r=24"
  if [ -n "${REELMILL_TEST_MEDIA:-}" ] && [ -f "$trailer" ]; then
    ffmpeg -nostdin -v error -stream_loop -1 -i "$trailer" -t "$seconds" -map 0:v:0 -map 0:a:0 \
      -c copy -y "$1"
    return
  fi
  part="$(awk -v s="$seconds" 'BEGIN { printf "%.3f", s / 5 }')"
  ffmpeg -nostdin -v error -y \
    -f lavfi -i "$mandelbrot:end_pts=900:end_scale=0.01" \
    -f lavfi -i "gradients=s=1280x720:r=24:seed=3:speed=0.01" \
    -f lavfi -i "$mandelbrot:start_x=-0.7436:start_y=0.1318:start_scale=0.05:end_pts=900:end_scale=0.01" \
    -f lavfi -i "life=s=160x90:r=24:mold=12:ratio=0.1:seed=7:life_color=#ffd27f:death_color=#803030,scale=1280:720" \
    -f lavfi -i "testsrc2=s=1280x720:r=24" -f lavfi -i "sine=frequency=330:duration=$seconds" \
    -filter_complex "$(for n in 0 1 2 3 4; do printf '[%d]trim=duration=%s,format=yuv420p,setsar=1[s%d];' $n "$part" $n; done)
      [s0][s1][s2][s3][s4]concat=n=5,gblur=sigma=0.7,noise=c0s=4:c0f=t[v]" \
    -map '[v]' -map 5:a -c:v libx264 -preset veryfast -crf 14 -g 96 -c:a aac "$1"
}

# "wall cpu" in seconds of a command, with all processes it started.
timed() {
  local times
  times="$({ time "$@" >"$farm_folder/timed.log" 2>&1 || echo failed; } 2>&1)"
  if [[ $times == *failed* ]]; then cat "$farm_folder/timed.log" >&2; die "this failed: $*"; fi
  awk '{ print $1, $2 + $3 }' <<<"$times"
}

psnr() {
  ffmpeg -nostdin -hide_banner -i "$1" -i "$film" -lavfi \
    '[0:V:0]settb=1/1000,setpts=N[a];[1:V:0]settb=1/1000,setpts=N[b];[a][b]psnr' -f null - 2>&1 |
    sed -n 's/.*average:\([0-9.inf]*\).*/\1/p'
}

row() { printf '  %-26s %12s %12s %9s   %s\n' "$@"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b / a }'; }

# What a script can do at best: the film in as many equal parts as there are
# cores, each encoded by an FFmpeg of one thread, joined; nothing checked, and the
# frames at the joints are not those of the film.
by_hand() {
  local part length pids=() pid cores
  cores="$(nproc)"
  length="$(awk -v s="$seconds" -v n="$cores" 'BEGIN { printf "%.3f", s / n }')"
  : >"$farm_folder/hand.txt"
  for ((part = 0; part < cores; part++)); do
    ffmpeg -nostdin -v error -threads 1 -ss "$(awk -v l="$length" -v n="$part" 'BEGIN { print l * n }')" -t "$length" \
      -i "$film" -map 0:v:0 "$@" -y "$farm_folder/hand$part.mkv" &
    pids+=($!)
    echo "file hand$part.mkv" >>"$farm_folder/hand.txt"
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  ffmpeg -nostdin -v error -f concat -i "$farm_folder/hand.txt" -i "$film" -map 0:v -map 1:a -c copy -y "$farm_folder/hand.mkv"
}

# One encoder: plain FFmpeg with the options "$4…", reelmill with the preset "$2"
# and the settings "$3", turn and turn about, and the parts by hand with the options
# "$4…" and "$alone". The targets are in "$targets".
convert() {
  local name="$1" preset="$2" settings=() setting run ours="$farm_folder/ours.mkv" plain="$farm_folder/plain.mkv"
  for setting in $3; do settings+=(--set "$setting"); done
  shift 3
  : >"$farm_folder/ours" >"$farm_folder/plain" >"$farm_folder/hand"
  for ((run = 1; run <= runs; run++)); do
    note "  $name, run $run of $runs…"
    timed by_hand "$@" "${alone[@]}" >>"$farm_folder/hand"
    timed ffmpeg -nostdin -v error -i "$film" -map 0:v:0 -map 0:a -c:a copy "$@" -y "$plain" >>"$farm_folder/plain"
    timed "$reelmill" convert "$film" -o "$ours" --overwrite --quiet --preset "$preset" "${settings[@]}" >>"$farm_folder/ours"
  done
  local a b sizes qualities
  row "$name" FFmpeg reelmill ratio target
  a="$(field 1 <"$farm_folder/plain")" b="$(field 1 <"$farm_folder/ours")"
  row "  wall, s" "$a" "$b" "$(ratio "$a" "$b")" "${targets[0]}"
  row "  wall, parts by hand, s" "$a" "$(field 1 <"$farm_folder/hand")" "$(ratio "$a" "$(field 1 <"$farm_folder/hand")")" "(no checks)"
  a="$(field 2 <"$farm_folder/plain")" b="$(field 2 <"$farm_folder/ours")"
  row "  CPU, s" "$a" "$b" "$(ratio "$a" "$b")" "${targets[1]}"
  sizes=($(wc -c <"$plain") $(wc -c <"$ours"))
  row "  size, bytes" "${sizes[@]}" "$(awk -v a="${sizes[0]}" -v b="${sizes[1]}" 'BEGIN { printf "%+.1f %%", (b / a - 1) * 100 }')" "${targets[2]}"
  qualities=($(psnr "$plain") $(psnr "$ours"))
  row "  PSNR, dB" "${qualities[@]}" "$(awk -v a="${qualities[0]}" -v b="${qualities[1]}" 'BEGIN { printf "%+.2f dB", b - a }')" "${targets[3]}"
}

# Runs one job on the farm, in chunks of 10 s, as reelmill chooses for two
# encoders and a film of a few minutes; prints its history's figures in milliseconds:
# "whole, analysis, finish, submitted to analysis taken, planned to first chunk taken".
job() {
  local id
  id="$(farm submit "$film" --quiet --chunk-seconds 10 --set crf=23 --set speed=medium)"
  farm status "$id" --follow --quiet >/dev/null
  farm status "$id" --json --history | farm_history | awk '
    $2 == "submitted" { start = $1 }
    $4 == "analyse" && $2 == "claimed" { taken = $1 }
    $4 == "analyse" && $2 == "done" { planned = $1 }
    $4 == "encode_chunk" && $2 == "claimed" && !first { first = $1 }
    $4 == "finish" && $2 == "claimed" { finish = $1 }
    $2 == "completed" { end = $1 }
    END {
      if (!end) exit 1
      printf "%.1f %.1f %.1f %.1f %.1f\n", (end - start) / 1e3, (planned - taken) / 1e3,
        (end - finish) / 1e3, (taken - start) / 1e3, (first - planned) / 1e3
    }'
}

# Two one-thread workers against one, turn and turn about.
farm_bench() {
  local run one two
  farm_serve coordinator --workers 0
  : >"$farm_folder/one" >"$farm_folder/two"
  farm_work anna
  for ((run = 1; run <= runs; run++)); do
    note "  farm, run $run of $runs…"
    farm_wait_workers 1
    job >>"$farm_folder/one"
    farm_work bert
    farm_wait_workers 2
    job >>"$farm_folder/two"
    farm_stop_one bert
  done
  one="$(field 1 <"$farm_folder/one")" two="$(field 1 <"$farm_folder/two")"
  row "farm, x264 medium crf 23" "1 worker" "2 workers" ratio target
  row "  job, ms" "$one" "$two" "$(ratio "$two" "$one")" "≥ 1.85 (one thread each)"
  row "  index, plan, ms" "$(field 2 <"$farm_folder/one")" "$(field 2 <"$farm_folder/two")" "" ""
  row "  stitch, verify, ms" "$(field 3 <"$farm_folder/one")" "$(field 3 <"$farm_folder/two")" "" ""
  row "  both of the whole" "$(share <"$farm_folder/one")" "$(share <"$farm_folder/two")" "" "≤ 3 %"
  row "  submitted to taken, ms" "$(field 4 <"$farm_folder/one")" "$(field 4 <"$farm_folder/two")" "" "< 100"
  row "  planned to taken, ms" "$(field 5 <"$farm_folder/one")" "$(field 5 <"$farm_folder/two")" "" "< 100"
}

# Bits per second of the picture of "$1", and its PSNR (luma) against "$2".
point() {
  local bits quality
  bits="$(ffprobe -v error -select_streams V:0 -show_entries packet=size -of csv=p=0 "$1" | awk '{ s += $1 } END { print s * 8 }')"
  quality="$(ffmpeg -nostdin -hide_banner -i "$1" -i "$2" -lavfi \
    '[0:V:0]settb=1/1000,setpts=N[a];[1:V:0]settb=1/1000,setpts=N[b];[a][b]psnr' -f null - 2>&1 |
    sed -n 's/.*PSNR y:\([0-9.]*\).*/\1/p')"
  echo "$bits $quality"
}

# What a curve of known shape comes to: nothing against itself, and a tenth more with
# a tenth more bits.
check_bdrate() {
  local points="600 34.7 1100 38.1 2100 41.2 4000 44.0" more wanted found
  for more in "1.0 +0.00" "1.1 +10.00" "0.9 -10.00"; do
    wanted="${more#* }"
    found="$(awk -v more="${more% *}" 'BEGIN { for (i = 1; i < ARGC; i += 2) {
      print "plain", ARGV[i], ARGV[i + 1]; print "ours", ARGV[i] * more, ARGV[i + 1] } }' $points | awk -f scripts/bdrate.awk)"
    [ "$found" = "$wanted" ] || die "scripts/bdrate.awk says $found instead of $wanted"
  done
}

# The bits that chunks cost at equal quality: "$1" (x264…) on the film "$2", called "$3":
# four rate factors of FFmpeg over the whole film, and of reelmill in chunks.
curve() {
  local encoder="$1" clip="$2" preset speed rates rate gop chunks delta options
  case $encoder in
    x264) preset=h264 speed=fast rates="20 25 30 35" ;;
    x265) preset=hevc speed=veryfast rates="22 27 32 37" ;;
    svt-av1) preset=av1 speed=9 rates="25 35 45 55" ;;
    *) die "no such encoder: $encoder" ;;
  esac
  "$reelmill" plan "$clip" --json --preset "$preset" --format mkv --set "speed=$speed" >"$farm_folder/plan.json"
  gop="$(sed -n 's/.*"keyframe_interval": *\([0-9]*\).*/\1/p' "$farm_folder/plan.json" | head -n 1)"
  chunks="$(grep -o '"prerolls"' "$farm_folder/plan.json" | wc -l)"
  if [ "$chunks" -lt 2 ]; then
    row "$3" "$encoder" - - "(not cut)"
    return
  fi
  : >"$farm_folder/curves"
  for rate in $rates; do
    note "  $3, $encoder at $rate…"
    case $encoder in
      x264) options=(-c:v libx264 -preset fast -x264-params stitchable=1:open-gop=0) ;;
      x265) options=(-c:v libx265 -preset veryfast -x265-params open-gop=0:log-level=error) ;;
      svt-av1) options=(-c:v libsvtav1 -preset 9) ;;
    esac
    ffmpeg -nostdin -v error -i "$clip" -map 0:V:0 -fps_mode passthrough "${options[@]}" -crf "$rate" -g "$gop" \
      -y "$farm_folder/whole.mkv" 2>"$farm_folder/whole.log"
    "$reelmill" convert "$clip" -o "$farm_folder/chunked.mkv" --overwrite --quiet --preset "$preset" \
      --set "speed=$speed" --set "crf=$rate"
    echo "plain $(point "$farm_folder/whole.mkv" "$clip")" >>"$farm_folder/curves"
    echo "ours $(point "$farm_folder/chunked.mkv" "$clip")" >>"$farm_folder/curves"
  done
  [ -z "${REELMILL_BENCH_POINTS:-}" ] || sed "s/^/    /" "$farm_folder/curves"
  delta="$(awk -f scripts/bdrate.awk "$farm_folder/curves" 2>&1)" || true
  echo "$encoder $delta" >>"$farm_folder/deltas"
  row "$3" "$encoder" "$chunks" "$delta %" "≤ +1 %"
}

# The table of all clips and encoders, and the means.
bdrate_bench() {
  local clips=() clip short encoder
  check_bdrate
  if [ -n "${REELMILL_BENCH_CLIPS:-}" ]; then
    clips=($REELMILL_BENCH_CLIPS)
  elif [ -d "${REELMILL_TEST_MEDIA:-}/bench" ]; then
    clips=("$REELMILL_TEST_MEDIA"/bench/*)
  else
    clips=("$film")
  fi
  row "bits for equal quality" encoder chunks "BD-rate" target
  : >"$farm_folder/deltas"
  for clip in "${clips[@]}"; do
    short="$farm_folder/clip.${clip##*.}"
    ffmpeg -nostdin -v error -i "$clip" -t "$seconds" -map 0:V:0 -c copy -y "$short" || die "cannot read $clip"
    for encoder in ${REELMILL_BENCH_ENCODERS:-x264 x265 svt-av1}; do
      curve "$encoder" "$short" "$(basename "$clip" | cut -c 1-24)"
    done
  done
  awk '$2 + 0 == $2 { s[$1] += $2; n[$1]++ } END { for (e in s) printf "  mean of %-18s %12s %12d %+8.2f %%   ≤ +1 %%\n", e, "", n[e], s[e] / n[e] }' \
    "$farm_folder/deltas"
}

share() { awk '{ print ($2 + $3) / $1 * 100 }' | median | awk '{ printf "%.1f %%", $1 }'; }

farm_build
farm_begin
film="$farm_folder/film.mkv"
note "Making a film of $seconds s…"
make_film "$film"
frames="$(ffprobe -v error -select_streams V:0 -count_packets -show_entries stream=nb_read_packets,width,height -of csv=p=0 "$film")"
echo "reelmill bench: $(nproc) cores, medians of $runs runs, film of $seconds s (width, height, frames: $frames),"
echo "$(ffmpeg -version | sed -n '1s/ Copyright.*//p'); lower ratios are better, except for two workers against one"
if wanted x264; then
  targets=("≤ 0.90" "≤ 1.00" "≤ +1 %" "≥ -0.10 dB")
  alone=(-threads 1)
  convert "x264 medium crf 23" h264 "crf=23 speed=medium" -c:v libx264 -preset medium -crf 23 -g 240
fi
if wanted svt-av1; then
  targets=("≤ 1.00" "≤ 1.00" "≤ +1 %" "≥ -0.10 dB")
  alone=(-svtav1-params lp=1)
  convert "SVT-AV1 preset 8 crf 30" av1 "crf=30 speed=8" -c:v libsvtav1 -preset 8 -crf 30 -g 240
fi
if wanted x265; then
  targets=("≤ 1.05" "≤ 1.20" "≤ +1 %" "≥ -0.10 dB")
  alone=(-x265-params open-gop=0:log-level=error:pools=1:frame-threads=1)
  convert "x265 medium crf 26" hevc "crf=26 speed=medium" -c:v libx265 -preset medium -crf 26 -g 240 \
    -x265-params open-gop=0:log-level=error
fi
if wanted farm; then farm_bench; fi
if wanted bdrate; then bdrate_bench; fi
