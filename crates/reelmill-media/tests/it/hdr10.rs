//! HDR10 and HLG through every encoder and into every container that has a place
//! for them. What the output must have is checked by its verification, which
//! reads stream and container; here also by a tool that knows nothing of us.

use crate::convert::{Conversion, preset};
use crate::dolby_film::{Kind, film};
use crate::dolby_look::probed;
use reelmill_core::container::Container;
use serde_json::Value;
use std::path::Path;

/// What the container and the first frames of the output say.
fn said(path: &Path) -> Value {
    probed(
        path,
        "-select_streams v:0 -read_intervals %+#1 -show_frames -show_entries \
         stream=color_transfer,color_primaries:stream_side_data:frame_side_data",
    )
}

async fn made(name: &str, set: &[&str], container: Container, kind: Kind) -> Value {
    let all = [&["dolby_vision=drop"], set].concat();
    let made = Conversion::run(&film(kind).mkv, &preset(name, &all), container, 3.0).await.unwrap();
    let verdict = made.verify().await.unwrap();
    assert!(verdict.passed(), "{name} in {container}: {}", verdict.complaint());
    said(&made.out)
}

#[tokio::test]
async fn hdr10_goes_through_every_encoder_into_every_container() {
    let fast = ["speed=ultrafast"];
    let cases: [(&str, &[&str], Container); 7] = [
        ("hevc", &fast, Container::Mkv),
        ("hevc", &fast, Container::Mp4),
        ("hevc", &fast, Container::Mov),
        ("h264", &fast, Container::Mkv),
        ("av1", &["speed=12"], Container::Mkv),
        ("vp9", &["speed=5"], Container::Webm),
        ("lossless", &[], Container::Mkv),
    ];
    for (name, set, container) in cases {
        let said = made(name, set, container, Kind::Mel).await;
        let stream = &said["streams"][0];
        assert_eq!(stream["color_transfer"], "smpte2084", "{name} in {container}");
        let text = said.to_string();
        for words in ["Mastering display metadata", "\"max_content\":1000", "\"max_average\":400"] {
            assert!(text.contains(words), "{name} in {container}: no {words} in {text}");
        }
        assert!(!text.contains("DOVI"), "{text}");
    }
}

#[tokio::test]
async fn hlg_stays_hlg() {
    for (name, set) in [("hevc", "speed=ultrafast"), ("av1", "speed=12")] {
        let said = made(name, &[set], Container::Mkv, Kind::Phone).await;
        assert_eq!(said["streams"][0]["color_transfer"], "arib-std-b67", "{name}");
    }
}
