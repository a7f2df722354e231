#!/usr/bin/env bash
# Measures scanning and asking about libraries, each figure beside the same done the
# plain way in the same run, so that the ratios hold though machines differ. Prints
# medians; never fails because something was slow.
#
# REELMILL_BENCH_FILES     files of the library (30000)
# REELMILL_BENCH_MILLION   1: also a million (empty) files: memory, questions; takes
#                          minutes and a million inodes
# REELMILL_BENCH_RUNS      runs of what is quick (7)
# REELMILL_BIN             use this binary instead of building one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
files="${REELMILL_BENCH_FILES:-30000}"
runs="${REELMILL_BENCH_RUNS:-7}"
note() { printf '%s\n' "$*" >&2; }

if [ -z "${REELMILL_BIN:-}" ]; then
  note "building…"
  cargo build --release --locked --quiet -p reelmill
  REELMILL_BIN="$PWD/target/release/reelmill"
fi
export REELMILL_BIN
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export REELMILL_STATE="$folder/state" REELMILL_CONFIG_DIR="$folder/config" REELMILL_SCRATCH="$folder/scratch"

# Clips of half a second, of the kinds that libraries hold.
note "making clips…"
mkdir -p "$folder/clips"
clip() {
  ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=128x72:rate=24:duration=0.5 \
    -f lavfi -i sine=duration=0.5 -pix_fmt yuv420p "${@:2}" "$folder/clips/$1"
}
clip 0.mkv -c:v libx264 -preset ultrafast -c:a aac -metadata:s:a:0 language=eng
clip 1.mp4 -c:v libx264 -preset ultrafast -c:a aac
clip 2.mkv -c:v libx265 -preset ultrafast -x265-params log-level=none -c:a ac3
clip 3.mov -c:v libx264 -preset ultrafast -c:a aac -movflags +faststart
clip 4.webm -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus
clip 5.mkv -c:v libx264 -preset ultrafast -c:a flac -metadata:s:a:0 language=ger
clip 6.avi -c:v mpeg4 -c:a mp3
clip 7.ts -c:v mpeg2video -c:a mp2

# Runs a command; prints "seconds MiB" (wall time, most memory of one process).
measure() {
  python3 - "$@" <<'PY'
import os, resource, subprocess, sys, time
begun = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.perf_counter() - begun
if done.returncode not in (0, 5):
    sys.stderr.write(done.stderr.decode(errors="replace"))
    sys.exit(f"this failed: {sys.argv[1:]}")
print(f"{seconds:.4f} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.1f}")
PY
}
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
medians() { for _ in $(seq "$runs"); do measure "$@"; done | awk '{ print $1 }' | median; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# A tree of so many files in folders of 50, from the clips given.
tree() {
  python3 - "$@" <<'PY'
import os, shutil, sys
root, count, clips = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
contents = [(os.path.splitext(clip)[1], open(clip, "rb").read()) for clip in clips]
for n in range(count):
    folder = f"{root}/Shelf {n // 2500:03}/Title {n // 50:05} (19{n // 50 % 100:02})"
    if n % 50 == 0:
        os.makedirs(folder, exist_ok=True)
    ending, content = contents[n % len(contents)]
    with open(f"{folder}/Title {n // 50:05} - part {n % 50:02}{ending}", "wb") as out:
        out.write(content)
PY
}

cores="$(nproc)"
note "making a library of $files files…"
tree "$folder/lib" "$files" "$folder"/clips/[0-5].*
find "$folder/lib" -printf '%p %s %T@\n' >/dev/null

# All of them, and the memory of our own process: FFmpeg is not started for these.
read -r first memory < <(measure "$REELMILL_BIN" scan "$folder/lib" --jobs "$cores")
again="$(medians "$REELMILL_BIN" scan "$folder/lib")"
find="$(medians find "$folder/lib" -printf '%p %s %T@\n')"
# So many of them, one ffprobe each, as many at once.
sample=200
probe="$(measure bash -c "find '$folder/lib' -type f -name '*.m*' | awk 'NR % 97 == 0' | head -$sample |
  tr '\n' '\0' | xargs -0 -n 1 -P $cores ffprobe -v error -of json -show_format -show_streams" | awk '{ print $1 }')"
printf '%-58s %10.2f s\n' "first scan of $files mkv, webm, mp4 and mov files" "$first"
printf '%-58s %10.2f ms\n' "  for each" "$(awk -v a="$first" -v n="$files" 'BEGIN { print a * 1000 / n }')"
printf '%-58s %10.2f ms\n' "one ffprobe for each, $cores at once" "$(awk -v a="$probe" -v n="$sample" 'BEGIN { print a * 1000 / n }')"
printf '%-58s %10s x\n' "  ffprobe takes" "$(awk -v p="$probe" -v s="$sample" -v f="$first" -v n="$files" 'BEGIN { printf "%.1f", (p / s) / (f / n) }')"
printf '%-58s %10.1f MiB\n' "memory of that scan" "$memory"
printf '%-58s %10.1f ms\n' "scan again, nothing changed" "$(awk -v a="$again" 'BEGIN { print a * 1000 }')"
printf '%-58s %10.1f ms\n' "find -printf '%p %s %T@'" "$(awk -v a="$find" 'BEGIN { print a * 1000 }')"
printf '%-58s %10s x\n' "  scan again takes" "$(ratio "$again" "$find")"

note "other containers…"
tree "$folder/other" "$sample" "$folder"/clips/[67].*
ours="$(measure "$REELMILL_BIN" scan "$folder/other" --jobs "$cores" | awk '{ print $1 }')"
theirs="$(measure bash -c "find '$folder/other' -type f -not -path '*/.reelmill/*' -print0 |
  xargs -0 -n 1 -P $cores ffprobe -v error -of json -show_format -show_streams" | awk '{ print $1 }')"
printf '%-58s %10.2f ms\n' "first scan of $sample avi and ts files, each" "$(awk -v a="$ours" -v n="$sample" 'BEGIN { print a * 1000 / n }')"
printf '%-58s %10s x\n' "  ffprobe takes" "$(ratio "$theirs" "$ours")"

questions() {
  local what
  for what in "--codec h264" "--codec flac" "--audio-language ger" "--resolution 128x72" "--hdr" "--search title_00017" \
    "--search 00017" "--needs-conversion" "--skipped" "--stats" "--by-action" "--codec av1"; do
    # shellcheck disable=SC2086 # several words are meant
    printf '%-58s %10.1f ms\n' "query $what (of $1)" "$(medians "$REELMILL_BIN" query $what | awk '{ print $1 * 1000 }')"
  done
}
questions "$files files"

[ "${REELMILL_BENCH_MILLION:-}" = 1 ] || exit 0
rm -rf "$folder/lib" "$folder/state"
note "making a million empty files…"
: >"$folder/empty.mkv"
tree "$folder/lib" 1000000 "$folder/empty.mkv"
read -r first memory < <(measure "$REELMILL_BIN" scan "$folder/lib" --jobs "$cores")
printf '%-58s %10.1f s\n' "first scan of 1000000 empty files" "$first"
printf '%-58s %10.1f MiB\n' "  memory" "$memory"
read -r again memory < <(measure "$REELMILL_BIN" scan "$folder/lib")
read -r find _ < <(measure find "$folder/lib" -printf '%p %s %T@\n')
printf '%-58s %10.1f s\n' "scan again, nothing changed" "$again"
printf '%-58s %10.1f MiB\n' "  memory" "$memory"
printf '%-58s %10s x\n' "  find takes one, scan again" "$(ratio "$again" "$find")"

# Facts for them, as a library of that size would have: the rows are written into
# the cache, for empty files have none.
note "a million rows…"
python3 - "$folder/state/library.db" <<'PY'
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
codecs = [("h264", 60), ("hevc", 25), ("mpeg2video", 8), ("mpeg4", 4), ("vp9", 2), ("av1", 1)]
sizes = [(1920, 1080), (1280, 720), (3840, 2160), (720, 576), (1920, 800), (1920, 804), (640, 480)]
audio = ["aac", "ac3", "eac3", "dts", "flac", "opus"]
languages = ["eng", "ger", "fre", "spa", "ita", "jpn", "por", None]
shapes = []
for codec, share in codecs:
    for width, height in sizes:
        for sound in audio:
            for language in languages:
                for hdr in ("none", "hdr10") if codec == "hevc" else ("none",):
                    tracks = [{"codec": sound, "channels": 6, "sample_rate": 48000, **({"language": language} if language else {})}]
                    facts = {"kind": "video", "container": "mkv", "video": {"codec": codec, "width": width, "height": height,
                             "rotation": 0, "bit_depth": 8, "chroma": "420", "hdr": hdr}, "audio": tracks}
                    row = (json.dumps(facts, separators=(",", ":")), "video", "mkv", codec, width, height, hdr, f" {sound} ",
                           f" {language} " if language else " ", " ")
                    shapes.append((share / (100 if hdr == "none" else 400), row))
ids = []
for share, row in shapes:
    at = db.execute("INSERT INTO shape (facts, kind, container, codec, width, height, hdr, audio_codecs, audio_languages, "
                    "subtitle_languages) VALUES (?,?,?,?,?,?,?,?,?,?)", row).lastrowid
    ids += [at] * max(1, round(share * 40))
verdicts = [db.execute("INSERT INTO verdict (verdict, converts) VALUES (?, ?)", row).lastrowid for row in
            [('{"action":"convert","rule":"bench","preset":"hevc","priority":50}', 1), ('{"action":"skip","rule":"bench","reason":"no"}', 0)]]
state = 1
def chance(n):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % n
rows = [at for (at,) in db.execute("SELECT id FROM file")]
db.executemany("UPDATE file SET shape = ?, failure = NULL, size = ?, duration_ms = ?, fps_milli = 25000, verdict = ? WHERE id = ?",
               ((ids[chance(len(ids))], 10**8 + chance(10**10), 60000 * chance(200), verdicts[chance(2)], at) for at in rows))
db.execute("DELETE FROM tally")
db.execute("INSERT INTO tally SELECT d.library, f.shape, f.verdict, count(*), sum(f.size), ifnull(sum(f.duration_ms), 0) "
           "FROM file f JOIN folder d ON d.id = f.folder WHERE f.gone_at IS NULL GROUP BY d.library, f.shape, f.verdict")
db.commit()
print(f"{len(rows)} rows, {len(shapes)} shapes", file=sys.stderr)
PY
questions "1000000 files"
