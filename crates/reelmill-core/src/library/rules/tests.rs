//! Tests of rules.

use super::*;
use crate::dolby::EnhancementLayer;
use crate::facts::{AudioFacts, Chroma, DolbyFacts, VideoFacts};
use crate::media::Hdr;
use proptest::prelude::*;

fn film(codec: &str, height: u32) -> Facts {
    Facts {
        kind: MediaKind::Video,
        container: "mkv".into(),
        duration_ms: Some(60_000),
        video: Some(VideoFacts {
            codec: codec.into(),
            width: height * 16 / 9,
            height,
            rotation: 0,
            fps_milli: Some(24_000),
            bit_depth: 8,
            chroma: Chroma::C420,
            hdr: Hdr::None,
            dolby_vision: None,
            hdr10plus: None,
        }),
        audio: vec![AudioFacts {
            codec: "aac".into(),
            channels: 2,
            sample_rate: 48_000,
            language: Some("ger".into()),
        }],
        subtitles: Vec::new(),
        made_by: None,
    }
}

/// A film with Dolby Vision of that profile, 7 with a full enhancement layer.
fn dolby(profile: u8) -> Facts {
    let mut facts = film("hevc", 2160);
    let video = facts.video.as_mut().unwrap();
    let layer = (profile == 7).then_some(EnhancementLayer::Fel);
    video.hdr = Hdr::DolbyVision;
    video.dolby_vision = Some(DolbyFacts { profile, layer, levels: vec![1, 5, 6] });
    video.hdr10plus = Some(false);
    facts
}

#[test]
fn rules_may_ask_for_dolby_vision() {
    for (when, film, fits) in [
        ("dolby_vision_profile = 7", dolby(7), true),
        ("dolby_vision_profile = [7, 8]", dolby(8), true),
        ("dolby_vision_profile = 7", dolby(8), false),
        ("dolby_vision_profile = [5, 7, 8]", film("hevc", 2160), false),
        ("dolby_vision_layer = 'fel'", dolby(7), true),
        ("dolby_vision_layer = 'mel'", dolby(7), false),
        ("dolby_vision_layer = ['mel', 'fel']", dolby(8), false),
        ("hdr10plus = false", dolby(7), true),
        ("hdr10plus = true", dolby(7), false),
    ] {
        let told = rules(&format!("[[rule]]\nname='x'\nwhen={{{when}}}\npreset='hevc'\n"));
        assert_eq!(told.judge(subject(&film)).converts(), fits, "{when}");
    }
}

#[test]
fn a_preset_for_dolby_vision_is_for_films_that_have_it() {
    let presets = crate::preset::Presets::built_in().unwrap();
    let takes = |name: &str, film: &Facts| {
        let preset = presets.get(name, &[]).unwrap();
        Rules::all_video(name, &preset, &[]).judge(subject(film)).converts()
    };
    let films = [film("hevc", 2160), dolby(5), dolby(7), dolby(8)];
    assert_eq!(films.each_ref().map(|film| takes("hevc", film)), [true; 4]);
    assert_eq!(films.each_ref().map(|film| takes("dv81-remux", film)), [false, false, true, false]);
    assert_eq!(films.each_ref().map(|film| takes("dv81-hevc", film)), [false, false, true, true]);
}

fn subject(facts: &Facts) -> Subject<'_> {
    Subject { path: b"Films/one.mkv", size: 60_000_000, facts: Ok(facts), output: false }
}

fn rules(text: &str) -> Rules {
    Rules::parse(text, "rules.toml").unwrap()
}

#[test]
fn the_built_in_rules_convert_old_codecs_and_leave_the_rest() {
    let rules = Rules::built_in().unwrap();
    let told = |facts: &Facts| rules.judge(subject(facts)).tell();
    let sound = Facts { kind: MediaKind::Audio, video: None, ..film("h264", 720) };
    let ours = Facts { made_by: Some("reelmill:hevc".into()), ..film("h264", 720) };
    let all = [film("h264", 1080), film("hevc", 1080), sound, ours, dolby(7), dolby(8)];
    insta::assert_snapshot!(all.map(|f| told(&f)).join("\n"), @r"
    to be converted with preset 'hevc' (rule 'to HEVC')
    skipped: its codec is a modern one already (rule 'modern already')
    skipped: it is not video (rule 'sound and pictures')
    skipped: reelmill made it (reelmill:hevc)
    skipped: its codec is a modern one already (rule 'modern already')
    skipped: its codec is a modern one already (rule 'modern already')
    ");
}

#[test]
fn every_condition_takes_what_it_names() {
    let facts = film("h264", 1080);
    for (when, fits) in [
        ("path = 'Films/**'", true),
        ("path = ['Shows/**', '*.mkv']", false),
        ("kind = 'video'", true),
        ("container = 'MKV'", true),
        ("codec = ['mpeg2video', 'h264']", true),
        ("codec = 'hevc'", false),
        ("hdr = 'none'", true),
        ("hdr = ['hdr10', 'dolby_vision']", false),
        ("width_min = 1920", true),
        ("width_max = 1919", false),
        ("height_min = 1081", false),
        ("height_max = 1080", true),
        ("bit_depth_min = 10", false),
        ("audio_codec = 'aac'", true),
        ("audio_language = 'GER'", true),
        ("audio_language = 'eng'", false),
        ("subtitle_language = 'ger'", false),
        ("longer_than = '1m'", true),
        ("longer_than = 61", false),
        ("shorter_than = '1m'", false),
        ("larger_than = '60MB'", true),
        ("smaller_than = '60MB'", false),
        ("bit_rate_above = '8M'", true),
        ("bit_rate_above = '8.1M'", false),
        ("bit_rate_below = '8M'", false),
    ] {
        let told = rules(&format!("[[rule]]\nname='x'\nwhen={{{when}}}\npreset='hevc'\n"));
        assert_eq!(told.judge(subject(&facts)).converts(), fits, "{when}");
        let turned = rules(&format!("[[rule]]\nname='x'\nunless={{{when}}}\npreset='hevc'\n"));
        assert_eq!(turned.judge(subject(&facts)).converts(), !fits, "unless {when}");
    }
}

#[test]
fn what_is_not_known_fits_no_bound() {
    let facts = Facts { duration_ms: None, video: None, ..film("h264", 720) };
    for when in [
        "longer_than=0",
        "shorter_than='9d'",
        "bit_rate_below='9T'",
        "width_min=0",
        "height_max=99999",
    ] {
        let rules = rules(&format!("[[rule]]\nname='x'\nwhen={{{when}}}\npreset='hevc'\n"));
        assert!(!rules.judge(subject(&facts)).converts(), "{when}");
    }
}

#[test]
fn what_was_passed_over_says_what_did_not_fit() {
    let facts = film("h264", 1080);
    let told = Rules::built_in().unwrap().passed_over(subject(&facts));
    insta::assert_debug_snapshot!(told, @r#"
    [
        (
            "sound and pictures",
            "'kind' does not fit: video",
        ),
        (
            "modern already",
            "'codec' does not fit: h264",
        ),
        (
            "small already",
            "'bit_rate_below' does not fit: 8000 kbit/s",
        ),
    ]
    "#);
}

#[test]
fn wrong_rules_say_what_is_wrong_and_where() {
    let tell = |text: &str| Rules::parse(text, "rules.toml").unwrap_err().message;
    for (text, words) in [
        ("[[rule]]\nname='x'\n", vec!["rules.toml", "'x'", "either 'preset' or 'skip'"]),
        ("[[rule]]\nname='x'\npreset='a'\nskip='b'\n", vec!["either"]),
        ("[[rule]]\nname='x'\npreset='a'\npriority=101\n", vec!["between 0 and 100"]),
        ("[[rule]]\nname='x'\nskip='a'\nset=['crf=1']\n", vec!["nothing to set"]),
        ("[[rule]]\nname='x'\nwhen={codek='h264'}\nskip='a'\n", vec!["codek"]),
        ("[[rule]]\nname='x'\nwhen={larger_than='big'}\nskip='a'\n", vec!["big"]),
        ("[[rule]]\nname='x'\nwhen={hdr='hdr11'}\nskip='a'\n", vec!["line 3"]),
        ("[[rule]\n", vec!["line 1"]),
    ] {
        let told = tell(text);
        for word in words {
            assert!(told.contains(word), "{text}: {told}");
        }
    }
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let codec = prop::sample::select(vec!["h264", "hevc", "mpeg2video", "av1"]);
    let made = prop::option::weighted(0.2, Just("reelmill:h264".to_owned()));
    (codec, 16u32..3000, made, prop::option::of(0u64..100_000)).prop_map(
        |(codec, height, made_by, duration_ms)| Facts {
            made_by,
            duration_ms,
            ..film(codec, height)
        },
    )
}

fn any_rule() -> impl Strategy<Value = String> {
    let when = prop::sample::select(vec![
        "codec='h264'",
        "height_min=720",
        "bit_rate_below='2M'",
        "path='**/x*'",
        "",
    ]);
    let end =
        prop::sample::select(vec!["preset='hevc'", "preset='av1'\nset=['crf=20']", "skip='no'"]);
    (when, end).prop_map(|(when, end)| format!("[[rule]]\nname='r'\nwhen={{{when}}}\n{end}\n"))
}

proptest! {
    #[test]
    fn the_first_rule_that_fits_decides_and_ours_is_never_converted(
        facts in any_facts(),
        texts in prop::collection::vec(any_rule(), 0..6),
        later in any_rule(),
        output in any::<bool>(),
    ) {
        let subject = Subject { output, ..subject(&facts) };
        let some = rules(&texts.concat());
        let verdict = some.judge(subject);
        prop_assert!(!verdict.converts() || (facts.made_by.is_none() && !output), "no loop");
        prop_assert_eq!(&verdict, &some.judge(subject), "always the same");
        let more = rules(&(texts.concat() + &later)).judge(subject);
        let silent = Verdict::Skip { rule: None, reason: "no rule speaks of it".into() };
        prop_assert!(verdict == silent || more == verdict, "a later rule changes nothing");
        let decided = some.passed_over(subject).len();
        if facts.made_by.is_none() && !output {
            prop_assert_eq!(verdict == silent, decided == texts.len(), "each file has an answer");
        }
    }
}
