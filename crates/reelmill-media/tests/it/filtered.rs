//! Pictures that are changed on purpose: deinterlaced, tone-mapped. In chunks they
//! must be what they are in one piece.

use crate::convert::{Conversion, preset};
use crate::dolby_film::Kind;
use crate::fixture::film;
use reelmill_core::container::Container;
use reelmill_core::media::FieldOrder;
use reelmill_core::preset::Preset;
use reelmill_media::judge::{self, Frame};
use reelmill_media::probe::probe;
use std::path::Path;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

async fn run(source: &Path, preset: &Preset, chunk_seconds: f64) -> (Conversion, Vec<Frame>) {
    let made = Conversion::run(source, preset, Container::Mkv, chunk_seconds).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{}", verdict.complaint());
    let frames = judge::frames(&made.tools, &made.out, "null").await.unwrap();
    (made, frames)
}

#[tokio::test]
async fn chunks_are_deinterlaced_as_the_whole_film_is() {
    let dir = TempDir::new().unwrap();
    let fields = "-vf tinterlace=interleave_bottom,fieldorder=bff -flags +ildct+ilme";
    let source = film(dir.path(), "fields.mkv", 10, fields).await;
    let preset = preset("lossless", &["deinterlace=on"]);
    let (made, chunks) = run(&source, &preset, 1.5).await;
    assert!(made.parts.len() > 2);
    let filter = "bwdif=mode=send_frame:parity=auto:deint=interlaced";
    let wanted = judge::frames(&made.tools, &source, filter).await.unwrap();
    judge::compare(&wanted, &chunks, made.plan.origin_micros, 501).unwrap();
    let plain = judge::frames(&made.tools, &source, "null").await.unwrap();
    assert!(plain.iter().zip(&chunks).all(|(plain, made)| plain.digest != made.digest));
    let (made, whole) = run(&source, &preset, 100.0).await;
    assert_eq!(made.parts.len(), 1);
    judge::compare(&wanted, &whole, made.plan.origin_micros, 501).unwrap();
    let out = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
    assert_eq!(out.video().unwrap().1.field_order, FieldOrder::Progressive);
}

/// What is scaled has whole pixels: rounding may change the picture's shape a little, but
/// not that of its pixels, whether the source says that they are square or says nothing.
#[tokio::test]
async fn pixels_keep_their_shape_where_the_picture_is_scaled() {
    let dir = TempDir::new().unwrap();
    for (name, sar, wanted) in [
        ("silent.mov", "0", Some((1, 1))),
        ("square.mov", "1", Some((1, 1))),
        ("wide.mov", "4/3", Some((4, 3))),
    ] {
        let source = film(dir.path(), name, 4, &format!("-vf scale=568:320,setsar={sar}")).await;
        let (made, _) = run(&source, &preset("h264", &["height=90"]), 1.5).await;
        let out = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
        let (_, info) = out.video().unwrap();
        assert_eq!((info.width, info.height), (160, 90), "{name}");
        assert_eq!(info.sample_aspect.or(Some((1, 1))), wanted, "{name}");
    }
}

#[tokio::test]
async fn chunks_are_mapped_to_standard_range_as_the_whole_film_is() {
    for (kind, curve) in [(Kind::Mel, "hable"), (Kind::Phone, "mobius")] {
        let source = crate::dolby_film::film(kind).mkv;
        let set = format!("tonemap={curve}");
        let lossless = preset("lossless", &[&set]);
        let (made, chunks) = run(&source, &lossless, 1.0).await;
        assert!(made.parts.len() > 1);
        let (_, whole) = run(&source, &lossless, 100.0).await;
        judge::compare(&whole, &chunks, 0, 501).unwrap();
        let (made, _) = run(&source, &preset("hevc", &[&set, "speed=ultrafast"]), 1.0).await;
        let out = probe(&made.tools, &made.out, &CancellationToken::new()).await.unwrap();
        let (_, info) = out.video().unwrap();
        let colour = [&info.colour.space, &info.colour.transfer, &info.colour.primaries];
        assert_eq!(colour.map(|value| value.as_deref()), [Some("bt709"); 3]);
        assert_eq!(info.pixel_format, "yuv420p");
        assert!(info.mastering.is_none() && info.light.is_none() && info.dolby_vision.is_none());
    }
}

#[tokio::test]
async fn each_piece_gets_the_rate_factor_that_gives_the_score() {
    let dir = TempDir::new().unwrap();
    // Two seconds of a picture, two of the same with noise.
    let picture = "-vf noise=alls=60:allf=t:enable=gte(mod(t\\,4)\\,2)";
    let source = film(dir.path(), "uneven.mkv", 4, picture).await;
    for (seconds, pieces) in [(2.0, 2), (100.0, 1)] {
        let preset = preset("h264", &["target_score=0.97", "speed=ultrafast"]);
        let made = Conversion::run(&source, &preset, Container::Mkv, seconds).await.unwrap();
        assert_eq!(made.scores.len(), pieces);
        let verdict = made.verify().await.unwrap();
        assert!(verdict.passed(), "{}", verdict.complaint());
        for score in &made.scores {
            assert!((0.965..0.975).contains(&score.score), "{:?}", made.scores);
        }
        if pieces > 1 {
            let crfs: Vec<f64> = made.scores.iter().map(|score| score.crf).collect();
            assert!(crfs[0] > crfs[1] + 2.0, "quiet pieces take a higher one: {crfs:?}");
        }
    }
}
