#!/usr/bin/env bash
# Measures Dolby Vision 7 to 8.1 without encoding against a plain copy of the same
# film by mkvmerge, turn and turn about, on a film of feature length and one of a
# quarter of it: time, memory, and whether time grows with length alone. Prints
# medians; never fails because something was slow.
#
# REELMILL_BENCH_RUNS      runs of each (3)
# REELMILL_BENCH_FRAMES    pictures of the long film (172800)
# REELMILL_BENCH_FILM      a film of profile 7 to put it together from
# REELMILL_TEST_MEDIA      folder with dv/p7_fel_360p_240f_full.mkv, used else
# REELMILL_BIN             use this binary instead of building one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/farm.sh

runs="${REELMILL_BENCH_RUNS:-3}"
frames="${REELMILL_BENCH_FRAMES:-172800}"
piece="${REELMILL_BENCH_FILM:-${REELMILL_TEST_MEDIA:-}/dv/p7_fel_360p_240f_full.mkv}"
TIMEFORMAT='%R %U %S'

if [ ! -f "$piece" ]; then
  echo "Dolby Vision is not measured: REELMILL_TEST_MEDIA names no folder of media, and REELMILL_BENCH_FILM no film"
  exit 0
fi

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
field() { awk -v n="$1" '{ print $n }' | median; }
note() { printf '%s\n' "$*" >&2; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b / a }'; }
row() { printf '  %-34s %12s %12s %8s   %s\n' "$@"; }

# The film "$2" of the picture and subtitles of "$1" copies of the piece; not every
# kind of sound can be joined.
make_long() {
  local at args=(-A -M "$piece")
  for ((at = 1; at < $1; at++)); do args+=(-A -M "+$piece"); done
  # It says much about joints that nobody minds here, and then ends with 1.
  mkvmerge --quiet -o "$2" "${args[@]}" >"$farm_folder/joined.log" || [ $? = 1 ] || die "mkvmerge failed"
}

# "wall cpu" in seconds of a command. What was written before is removed: one that
# writes over it in place finds its memory ready, one that writes beside it does not.
timed() {
  local times
  rm -f "$farm_folder/plain.mkv" "$farm_folder/ours.mkv"
  times="$({ time "$@" >"$farm_folder/timed.log" 2>&1 || echo failed; } 2>&1)"
  if [[ $times == *failed* ]]; then cat "$farm_folder/timed.log" >&2; die "this failed: $*"; fi
  awk '{ print $1, $2 + $3 }' <<<"$times"
}

convert() { "$reelmill" convert "$1" -o "$farm_folder/ours.mkv" --overwrite --quiet --preset dv81-remux --allow-fel-loss; }

# Most memory that the process "$1" used, MiB: looked at until it has ended.
most_memory() {
  local now most=0
  while now="$(awk '/^VmHWM/ { print $2 }' "/proc/$1/status" 2>/dev/null)" && [ -n "$now" ]; do
    most="$now"
    sleep 0.05
  done
  echo $((most / 1024))
}

measure() {
  local film="$1" name="$2" run
  : >"$farm_folder/$name.plain" >"$farm_folder/$name.ours"
  for ((run = 1; run <= runs; run++)); do
    note "  $name, run $run of $runs…"
    timed mkvmerge --quiet -o "$farm_folder/plain.mkv" "$film" >>"$farm_folder/$name.plain"
    timed convert "$film" >>"$farm_folder/$name.ours"
  done
}

farm_build
farm_begin
one="$(mkvmerge -J "$piece" | grep -c '"type": "video"')"
[ "$one" = 1 ] || die "$piece has $one video tracks"
each="$(ffprobe -v error -select_streams v:0 -count_packets -show_entries stream=nb_read_packets -of csv=p=0 "$piece" | tr -dc 0-9)"
copies=$((frames / each))
note "Making films of $((copies / 4 * each)) and $((copies * each)) pictures…"
make_long "$((copies / 4))" "$farm_folder/quarter.mkv"
make_long "$copies" "$farm_folder/whole.mkv"
measure "$farm_folder/quarter.mkv" quarter
measure "$farm_folder/whole.mkv" whole
"$reelmill" convert "$farm_folder/whole.mkv" -o "$farm_folder/ours.mkv" --overwrite --quiet \
  --preset dv81-remux --allow-fel-loss >"$farm_folder/timed.log" 2>&1 &
memory="$(most_memory $!)"
wait $!

a="$(field 1 <"$farm_folder/whole.plain")" b="$(field 1 <"$farm_folder/whole.ours")"
q="$(field 1 <"$farm_folder/quarter.ours")"
row "Dolby Vision 7 to 8.1, $((copies * each)) pictures" mkvmerge reelmill ratio target
row "  wall, s ($(wc -c <"$farm_folder/whole.mkv") bytes)" "$a" "$b" "$(ratio "$a" "$b")" "≤ 1.30"
row "  CPU, s" "$(field 2 <"$farm_folder/whole.plain")" "$(field 2 <"$farm_folder/whole.ours")" "" "< 10"
row "  memory, MiB" "" "$memory" "" "< 100"
row "  wall, s: a quarter, the whole" "$q" "$b" "$(ratio "$q" "$b")" "about 4: linear"
