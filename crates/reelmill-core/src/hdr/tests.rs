//! What is kept of each kind of HDR by each encoder, and what is refused.

use super::*;
use crate::dolby::{DolbyVision, EnhancementLayer};
use crate::preset::Presets;

fn preset(name: &str, set: &[&str]) -> VideoPreset {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    Presets::built_in().unwrap().get(name, &set).unwrap().video.unwrap()
}

fn source(hdr: Hdr) -> VideoInfo {
    VideoInfo { hdr, ..VideoInfo::default() }
}

fn sony() -> MasteringDisplay {
    MasteringDisplay {
        red: (34_000, 16_000),
        green: (13_250, 34_500),
        blue: (7_500, 3_000),
        white: (15_635, 16_450),
        max_luminance: 10_000_000,
        min_luminance: 1,
    }
}

fn hdr10() -> VideoInfo {
    let light = Some(ContentLight { max: 1000, average: 400 });
    VideoInfo { mastering: Some(sony()), light, ..source(Hdr::Hdr10) }
}

fn decided(info: &VideoInfo, name: &str, set: &[&str]) -> Result<(HdrKept, Vec<String>), Failure> {
    let mut notes = Vec::new();
    let picture = ((1920, 1080), "yuv420p10le");
    let kept = decide(info, &preset(name, set), Container::Mkv, picture, &mut notes)?;
    Ok((kept, notes))
}

#[test]
fn the_form_for_encoders_is_theirs() {
    let want = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)";
    assert_eq!(sony().to_string(), want);
    assert_eq!(ContentLight { max: 1000, average: 400 }.to_string(), "1000,400");
}

#[test]
fn every_preset_keeps_static_metadata_unless_told_to_drop_it() {
    for name in ["h264", "hevc", "av1", "vp9", "lossless"] {
        let (kept, notes) = decided(&hdr10(), name, &[]).unwrap();
        assert_eq!((kept.mastering, kept.light.unwrap().max), (Some(sony()), 1000), "{name}");
        assert!(notes.is_empty(), "{notes:?}");
        let (kept, notes) = decided(&hdr10(), name, &["hdr=drop"]).unwrap();
        assert!(kept.is_nothing());
        assert!(notes[0].contains("mastering metadata is dropped"), "{notes:?}");
        let hlg = decided(&source(Hdr::Hlg), name, &[]).unwrap();
        assert_eq!(hlg, (HdrKept::default(), vec![]), "the colour description is all of HLG");
        assert_eq!(decided(&source(Hdr::None), name, &[]).unwrap().1, Vec::<String>::new());
    }
}

#[test]
fn hdr10plus_that_would_be_lost_refuses_the_job() {
    let plus = VideoInfo { hdr10plus: true, ..hdr10() };
    assert!(decided(&plus, "hevc", &[]).unwrap().0.hdr10plus);
    for name in ["h264", "av1", "vp9", "lossless"] {
        let refused = decided(&plus, name, &[]).unwrap_err();
        assert_eq!(refused.class, crate::error::FailureClass::Permanent);
        assert!(refused.message.contains("HDR10+ would be lost"), "{refused}");
        assert!(refused.advice.unwrap().contains("hdr10plus=drop"));
        let (kept, notes) = decided(&plus, name, &["hdr10plus=drop"]).unwrap();
        assert!(!kept.hdr10plus && kept.mastering.is_some());
        assert!(notes[0].contains("HDR10+"), "{notes:?}");
    }
    let picture = ((1920, 1080), "yuv420p10le");
    let webm = decide(&plus, &preset("hevc", &[]), Container::Webm, picture, &mut vec![]);
    assert!(webm.is_err());
}

#[test]
fn rounding_of_containers_is_told_from_another_display() {
    let av1 = MasteringDisplay { red: (33_999, 16_000), min_luminance: 2, ..sony() };
    assert!(sony().is_about(&av1));
    assert!(!sony().is_about(&MasteringDisplay { max_luminance: 40_000_000, ..sony() }));
    assert!(!sony().is_about(&MasteringDisplay { green: sony().red, ..sony() }));
}

fn dolby(profile: u8, layer: Option<EnhancementLayer>, pq: u16) -> VideoInfo {
    let dolby_vision = Some(DolbyVision {
        profile,
        layer,
        stream: 0,
        levels: vec![1, 5, 6],
        source_max_pq: Some(pq),
    });
    let colour = crate::media::Colour { transfer: Some("smpte2084".into()), ..Default::default() };
    VideoInfo { hdr: Hdr::DolbyVision, dolby_vision, colour, ..hdr10() }
}

const FEL: Option<EnhancementLayer> = Some(EnhancementLayer::Fel);
const MEL: Option<EnhancementLayer> = Some(EnhancementLayer::Mel);

#[test]
fn dolby_vision_is_kept_in_hevc_and_refuses_what_would_lose_it() {
    for name in ["hevc", "dv81-hevc"] {
        let (kept, notes) = decided(&dolby(7, MEL, 3079), name, &[]).unwrap();
        let kept = kept.dolby_vision.unwrap();
        assert_eq!((kept.convert, kept.compatibility, kept.level), (true, 1, 4));
        assert!(notes[0].contains("7 (MEL) becomes 8.1"), "{notes:?}");
    }
    for name in ["h264", "av1", "vp9", "lossless"] {
        let refused = decided(&dolby(8, None, 3079), name, &[]).unwrap_err();
        assert!(refused.message.contains("Dolby Vision would be lost"), "{refused}");
        assert!(refused.advice.unwrap().contains("dolby_vision=drop"));
        for set in ["dolby_vision=drop", "hdr=drop"] {
            let (kept, notes) = decided(&dolby(8, None, 3079), name, &[set]).unwrap();
            assert!(kept.dolby_vision.is_none() && notes[0].contains("dropped"), "{notes:?}");
        }
    }
    let plain = decided(&hdr10(), "dv81-hevc", &[]).unwrap_err();
    assert!(plain.message.contains("no Dolby Vision"), "{plain}");
    let stale = VideoInfo { dolby_vision: None, ..dolby(7, MEL, 0) };
    let (kept, notes) = decided(&stale, "hevc", &[]).unwrap();
    assert!(kept.dolby_vision.is_none() && notes[0].contains("claims Dolby Vision"), "{notes:?}");
}

#[test]
fn d9_profile_5_is_refused_whatever_is_asked_for() {
    for (name, set) in [
        ("hevc", "crf=20"),
        ("dv81-hevc", "crf=20"),
        ("h264", "dolby_vision=drop"),
        ("av1", "hdr=drop"),
    ] {
        let refused = decided(&dolby(5, None, 0), name, &[set]).unwrap_err();
        assert_eq!(refused.class, crate::error::FailureClass::Input);
        assert!(refused.message.contains("Profile 5 has no HDR10 base layer"), "{refused}");
    }
}

#[test]
fn d10_profile_8_4_is_kept_as_what_it_is() {
    let mut phone = dolby(8, None, 2081);
    phone.colour.transfer = Some("arib-std-b67".into());
    let (kept, notes) = decided(&phone, "dv81-hevc", &[]).unwrap();
    let kept = kept.dolby_vision.unwrap();
    assert_eq!((kept.convert, kept.compatibility), (false, 4));
    assert!(notes[0].contains("8.4 is kept"), "{notes:?}");
}

#[test]
fn d12_a_source_without_colours_is_refused() {
    let mut bare = dolby(8, None, 3079);
    bare.colour.transfer = None;
    let refused = decided(&bare, "hevc", &[]).unwrap_err();
    assert!(refused.message.contains("does not say what its colours are"), "{refused}");
}

#[test]
fn a_full_layer_is_told_and_stops_where_brightness_would_be_lost() {
    let (_, notes) = decided(&dolby(7, FEL, 3079), "dv81-hevc", &[]).unwrap();
    assert!(notes[0].contains("FEL"), "{notes:?}");
    let bright = dolby(7, FEL, 3696);
    let refused = decided(&bright, "dv81-hevc", &[]).unwrap_err();
    assert!(refused.message.contains("from 1000 to 4000 nits"), "{refused}");
    decided(&bright, "dv81-hevc", &["allow_fel_loss=true"]).unwrap();
}
