//! Media made by FFmpeg for these tests.

use crate::convert::tools;
use reelmill_media::process::ToolCommand;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// A picture that moves and, unlike a test card, looks different as a whole
/// from one second to the next. `%` stands for the seconds.
const PICTURE: &str = "nullsrc=s=160x120:r=25:d=%,\
    geq=lum=mod(X*2+Y+T*37\\,220)+18:cb=128+40*sin(T):cr=mod(X+T*90\\,200)+20";

/// Runs ffmpeg in `dir` with arguments given as one line of words.
pub(crate) async fn ffmpeg(dir: &Path, args: &str) {
    ToolCommand::uncaged(&tools().await.ffmpeg)
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args.split_whitespace())
        .current_dir(dir)
        .run(&CancellationToken::new())
        .await
        .unwrap_or_else(|failure| panic!("{failure:#?}"));
}

/// `seconds` of 160×120 H.264 with B-frames and a keyframe every second, with
/// more output options, as `name`; the extension chooses the container.
pub(crate) async fn film(dir: &Path, name: &str, seconds: u32, options: &str) -> PathBuf {
    let picture = PICTURE.replace('%', &seconds.to_string());
    let args = format!(
        "-f lavfi -i {picture} -c:v libx264 -preset ultrafast -qp 18 -bf 2 -g 25 -threads 1 \
         -pix_fmt yuv420p {options} {name}"
    );
    ffmpeg(dir, &args).await;
    dir.join(name)
}

/// The same with a tone in AAC.
pub(crate) async fn film_with_sound(
    dir: &Path,
    name: &str,
    seconds: u32,
    options: &str,
) -> PathBuf {
    let picture = PICTURE.replace('%', &seconds.to_string());
    let args = format!(
        "-f lavfi -i {picture} -f lavfi -i sine=r=48000:d={seconds} -c:v libx264 \
         -preset ultrafast -qp 18 -bf 2 -g 25 -threads 1 -pix_fmt yuv420p -c:a aac {options} {name}"
    );
    ffmpeg(dir, &args).await;
    dir.join(name)
}

/// The film with two audio tracks, two subtitle tracks, chapters, a font and
/// cover art, in Matroska.
pub(crate) async fn rich_film(dir: &Path) -> PathBuf {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write(
        "s.srt",
        "1\n00:00:00,500 --> 00:00:02,000\nHello\n\n2\n00:00:04,000 --> 00:00:05,250\nBye\n",
    );
    write(
        "m.txt",
        ";FFMETADATA1\ntitle=The Film\nartist=Nobody\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2500\n\
         title=First\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=2500\nEND=6000\ntitle=Second\n",
    );
    write("font.ttf", "not a font, but nobody looks");
    ffmpeg(dir, "-f lavfi -i color=red:s=64x64 -frames:v 1 cover.png").await;
    let sound = "-f lavfi -i sine=r=48000:d=6 -f lavfi -i sine=r=44100:f=300:d=6";
    let picture = PICTURE.replace('%', "6");
    let args = format!(
        "-f lavfi -i {picture} {sound} -i s.srt -i m.txt -map 0 -map 1 -map 2 -map 3 -map 3 \
         -map_metadata 4 -map_chapters 4 -c:v libx264 -preset ultrafast -qp 18 -bf 2 -g 25 -threads 1 \
         -pix_fmt yuv420p -c:a:0 ac3 -c:a:1 flac -c:s:0 srt -c:s:1 ass -ac:a:0 2 \
         -metadata:s:v:0 title=Picture -metadata:s:v:0 language=jpn \
         -metadata:s:a:0 language=eng -metadata:s:a:0 title=Main -metadata:s:a:1 language=deu \
         -metadata:s:a:1 title=Commentary -metadata:s:s:0 language=fra -metadata:s:s:1 language=spa \
         -disposition:a:0 default -disposition:a:1 0 -disposition:s:0 forced -disposition:s:1 0 \
         -default_mode passthrough \
         -attach font.ttf -metadata:s:t:0 mimetype=application/x-truetype-font \
         -attach cover.png -metadata:s:t:1 mimetype=image/png rich.mkv"
    );
    ffmpeg(dir, &args).await;
    dir.join("rich.mkv")
}

/// The folder of real media that `REELMILL_TEST_MEDIA` names. Without it the
/// test says that it was not run.
pub(crate) fn media(what: &str) -> Option<PathBuf> {
    use std::io::Write as _;
    if let Some(folder) =
        std::env::var_os("REELMILL_TEST_MEDIA").filter(|folder| !folder.is_empty())
    {
        return Some(PathBuf::from(folder));
    }
    if let Some(file) = std::env::var_os("REELMILL_NOT_RUN") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "NOT RUN: {what} (REELMILL_TEST_MEDIA names no folder of media)").unwrap();
    }
    None
}
