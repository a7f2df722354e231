//! Files that FFmpeg makes here: what is answered for, and what is not.

use super::*;

/// The tone and the moving pictures that all files are made of.
fn args(pictures: &str, options: &str, name: &str) -> String {
    let pictures = match pictures {
        "" => String::new(),
        wanted => format!("-f lavfi -i testsrc2={wanted}:d=1.2"),
    };
    format!("{pictures} -f lavfi -i sine=d=1.2 {options} {name}")
}

/// What of `made` (pictures, options, name) was answered for in process; all answers must be
/// the tool's.
async fn compared(made: &[(&str, &str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let tools = fixture::tools().await;
    let (mut unsure, mut wrong) = (Vec::new(), String::new());
    for (pictures, options, name) in made {
        fixture::ffmpeg(dir.path(), &args(pictures, options, name)).await;
        let path = dir.path().join(name);
        match read(&path).unwrap() {
            Headers::Unsure(reason) => unsure.push(format!("{name}: {reason}")),
            Headers::Facts(quick) => {
                for difference in differences(&quick, &tool_facts(&tools, &path).await.unwrap()) {
                    writeln!(wrong, "{name}: {difference}").unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    unsure
}

const PAL: &str = "s=320x240:r=25";
const ODD: &str = "s=322x242:r=24000/1001";

#[tokio::test]
async fn avi_as_programs_write_it_is_answered_for() {
    let unsure = compared(&[
        (PAL, "-c:v mpeg4 -vtag XVID -bf 2 -c:a libmp3lame", "xvid.avi"),
        (PAL, "-c:v mpeg4 -vtag DX50 -c:a libmp3lame -ac 1 -b:a 64k", "dx50.avi"),
        (PAL, "-c:v mpeg4 -vtag DIVX -c:a ac3 -ac 6", "divx.avi"),
        (ODD, "-c:v mpeg4 -c:a mp2 -ar 32000", "fmp4.avi"),
        (ODD, "-c:v libxvid -bf 2 -c:a libmp3lame -ar 22050", "libxvid.avi"),
        (ODD, "-c:v mpeg4 -vf crop=321:241 -an", "odd.avi"),
        (PAL, "-c:v mpeg4 -flags +ildct+ilme -vf setsar=16/15 -c:a ac3 -ac 2", "fields.avi"),
        (
            PAL,
            "-c:v mpeg4 -vf select=not(eq(mod(n\\,5)\\,3)) -vsync vfr -c:a libmp3lame",
            "vfr.avi",
        ),
        (PAL, "-c:v mpeg4 -r 15 -mpeg_quant 1 -gmc 1 -c:a pcm_u8", "gmc.avi"),
        (PAL, "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le", "mjpeg.avi"),
        (PAL, "-c:v mjpeg -pix_fmt yuvj422p -c:a pcm_s24le -ac 2", "mjpeg422.avi"),
        (PAL, "-c:v msmpeg4v2 -c:a pcm_alaw", "msmpeg4v2.avi"),
        (PAL, "-c:v msmpeg4 -c:a adpcm_ms", "msmpeg4.avi"),
        (PAL, "-c:v wmv1 -c:a adpcm_ima_wav", "wmv1.avi"),
        (PAL, "-c:v wmv2 -c:a pcm_mulaw", "wmv2.avi"),
        (PAL, "-c:v libx264 -preset ultrafast -bf 2 -c:a ac3", "h264.avi"),
        (ODD, "-c:v libx264 -preset ultrafast -pix_fmt yuv422p10le -c:a pcm_f32le", "deep.avi"),
        (PAL, "-c:v libx264 -preset ultrafast -pix_fmt gray -c:a pcm_s32le", "gray.avi"),
        (
            PAL,
            "-map 0 -map 1 -map 1 -c:v mpeg4 -c:a:0 ac3 -c:a:1 libmp3lame \
             -metadata:s:a:0 language=ger -metadata title=a -metadata:s:a:1 title=b",
            "two.avi",
        ),
        (PAL, "-an -c:v mpeg4", "silent.avi"),
        ("", "-c:a libmp3lame", "sound.avi"),
    ])
    .await;
    assert_eq!(unsure, [""; 0]);
}

#[tokio::test]
async fn avi_that_only_the_tool_can_tell_about_is_left_to_it() {
    let made = [
        ("", "-c:a pcm_s16le", "pcm.avi"),
        (PAL, "-c:v mjpeg -pix_fmt yuvj444p -an", "mjpeg444.avi"),
        (PAL, "-c:v ffv1 -c:a pcm_s16le", "ffv1.avi"),
        (PAL, "-c:v rawvideo -an", "raw.avi"),
        (PAL, "-c:v mpeg4 -c:a libmp3lame -metadata encoded_by=reelmill:x", "mark.avi"),
        (PAL, "-map 0 -map 0 -c:v mpeg4", "twice.avi"),
        (PAL, "-c:v mpeg4 -c:a dca -strict -2", "dts.avi"),
    ];
    let unsure = compared(&made).await;
    assert_eq!(unsure.len(), made.len(), "{unsure:?}");
}

#[tokio::test]
async fn damage_to_avi_is_answered_for_as_the_tool_does_or_not_at_all() {
    damaged(&[
        (PAL, "-c:v mpeg4 -vtag XVID -bf 2 -c:a libmp3lame", "a.avi"),
        (PAL, "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le", "b.avi"),
        (PAL, "-c:v libx264 -preset ultrafast -c:a ac3", "c.avi"),
        (PAL, "-c:v msmpeg4 -c:a adpcm_ms", "d.avi"),
    ])
    .await;
}

#[tokio::test]
async fn damage_to_transport_streams_is_answered_for_as_the_tool_does_or_not_at_all() {
    damaged(&[
        (PAL, "-c:v libx264 -preset ultrafast -bf 2 -c:a aac", "a.ts"),
        (PAL, "-c:v mpeg2video -bf 2 -c:a mp2", "b.ts"),
        (PAL, "-c:v libx264 -preset ultrafast -c:a ac3", "c.m2ts"),
    ])
    .await;
}

/// What is wrong is worse than what is slow: of a damaged file the tool's facts are given, or
/// none.
async fn damaged(made: &[(&str, &str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let tools = fixture::tools().await;
    let rounds = if std::env::var_os("REELMILL_TEST_LONG").is_some() { 400 } else { 6 };
    let mut chance = 1u64;
    let mut below = |most: usize| {
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) as usize % most
    };
    let (mut sure, mut wrong) = (0, String::new());
    for (pictures, options, name) in made {
        fixture::ffmpeg(dir.path(), &args(pictures, options, name)).await;
        let whole = std::fs::read(dir.path().join(name)).unwrap();
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..=below(3) {
                let most = if below(4) == 0 { bytes.len() } else { bytes.len().min(3000) };
                let (at, value) = (below(most), [0, 1, 0x7F, 0xFF, below(256) as u8][below(5)]);
                bytes[at] = value;
            }
            let path = dir.path().join(format!("damaged-{name}"));
            std::fs::write(&path, &bytes).unwrap();
            let Headers::Facts(quick) = read(&path).unwrap() else { continue };
            sure += 1;
            let differences = match tool_facts(&tools, &path).await {
                Ok(tool) => differences(&quick, &tool),
                Err(message) => vec![format!("the tool says: {message}")],
            };
            if !differences.is_empty() {
                let changes = whole.iter().zip(&bytes).enumerate().filter(|(_, (a, b))| a != b);
                let changes: Vec<_> = changes.map(|(at, (_, new))| format!("{at}={new}")).collect();
                writeln!(wrong, "{name} {round} ({changes:?}): {differences:?}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(sure > rounds, "{sure} damaged files were answered for");
}

#[tokio::test]
async fn transport_streams_as_programs_write_them_are_answered_for() {
    let x264 = "-c:v libx264 -preset ultrafast";
    let made: Vec<(&str, String, &str)> = vec![
        (PAL, format!("{x264} -bf 2 -c:a aac"), "a.ts"),
        (PAL, format!("{x264} -bf 2 -c:a ac3 -metadata:s:a:0 language=jpn"), "a.m2ts"),
        (ODD, format!("{x264} -bf 3 -c:a ac3 -ac 6"), "b.ts"),
        (ODD, format!("{x264} -c:a mp2 -ar 32000"), "c.mts"),
        ("s=320x240:r=50", format!("{x264} -c:a libmp3lame -ac 1"), "d.ts"),
        ("s=320x240:r=60000/1001", format!("{x264} -bf 2 -c:a eac3"), "e.ts"),
        ("s=320x240:r=30", format!("{x264} -c:a libmp3lame -ar 22050"), "f.ts"),
        (PAL, "-c:v mpeg2video -c:a mp2".into(), "g.ts"),
        (PAL, "-c:v mpeg2video -bf 2 -flags +ildct+ilme -vf setsar=16/15 -c:a ac3".into(), "h.ts"),
        (ODD, "-c:v mpeg2video -pix_fmt yuv422p -bf 2 -c:a mp2".into(), "i.ts"),
        ("s=320x240:r=24", "-c:v mpeg2video -c:a mp2".into(), "j.ts"),
        (
            PAL,
            "-c:v libx265 -preset ultrafast -x265-params log-level=none -c:a aac -ar 44100".into(),
            "k.ts",
        ),
        (
            PAL,
            format!(
                "-map 0 -map 1 -map 1 {x264} -c:a:0 ac3 -c:a:1 aac -metadata:s:a:0 language=ger \
                 -metadata:s:a:1 language=eng"
            ),
            "two.ts",
        ),
        (PAL, format!("-an {x264} -flags +ildct+ilme -top 1"), "silent.ts"),
        ("", "-c:a mp2".into(), "sound.ts"),
        ("", "-c:a aac -b:a 64k".into(), "aac.ts"),
        (PAL, format!("{x264} -pix_fmt yuv422p10le -muxrate 3M -c:a aac"), "filled.ts"),
    ];
    let made: Vec<_> = made.iter().map(|(a, b, c)| (*a, b.as_str(), *c)).collect();
    assert_eq!(compared(&made).await, [""; 0]);
}

#[tokio::test]
async fn transport_streams_that_only_the_tool_can_tell_about_are_left_to_it() {
    let x264 = "-c:v libx264 -preset ultrafast";
    let dropped = format!("{x264} -vf select=not(eq(mod(n\\,5)\\,3)) -vsync vfr");
    let programs = format!(
        "{x264} -c:a aac -map 0 -map 1 -map 0 -program program_num=1:st=0:st=1 -program \
         program_num=2:st=2"
    );
    let wrap = format!("{x264} -c:a aac -output_ts_offset 95441");
    let made = [
        (PAL, dropped.as_str(), "vfr.ts"),
        (PAL, programs.as_str(), "programs.ts"),
        (PAL, wrap.as_str(), "wrap.ts"),
        (PAL, "-c:v mpeg4 -c:a aac", "mpeg4.ts"),
        (PAL, "-c:v mpeg2video -c:a libopus", "opus.ts"),
        ("", "-c:a aac -ar 22050", "half.ts"),
        ("", "-c:a dca -strict -2", "dts.ts"),
    ];
    let unsure = compared(&made).await;
    assert_eq!(unsure.len(), made.len(), "{unsure:?}");
}
