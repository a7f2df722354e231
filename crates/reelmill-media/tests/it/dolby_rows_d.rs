//! Odd sources: rows D1 to D6 of the acceptance table, and the traps, on films made
//! here.

use crate::convert::{make_plan, preset, tools};
use crate::dolby_film::{FIRST_PQ, FRAMES, Kind, film, made, run, units};
use crate::dolby_look::{brightest, count, hdr10_plus, pictures, record, rpus};
use reelmill_core::container::Container;
use reelmill_core::dolby::{DolbyKept, MetadataOnly};
use reelmill_core::error::Failure;
use reelmill_core::plan::{Cut, Plan};
use reelmill_media::hdr::access_unit::AccessUnit;
use reelmill_media::hdr::nal::{self, NalKind};
use reelmill_media::hdr::remux::DolbyRemux;
use reelmill_media::hdr::rpu::Rpu;
use reelmill_media::hdr::{inject, order};
use reelmill_media::probe::probe;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) fn in_order(frames: usize) -> Vec<u16> {
    (0..frames as u16).map(|number| FIRST_PQ + number).collect()
}

/// The plan without encoding.
pub(crate) async fn planned(source: &Path, set: &[&str]) -> Result<Plan, Failure> {
    let tools = tools().await;
    let media = probe(&tools, source, &CancellationToken::new()).await?;
    let preset = preset("dv81-remux", set);
    make_plan(&tools, source, &media, &preset, Container::Mkv, 1.0, None).await
}

/// Plans and converts without encoding, as a job does.
pub(crate) async fn converted(
    source: &Path,
    dir: &TempDir,
    set: &[&str],
) -> Result<(PathBuf, Plan), Failure> {
    let plan = planned(source, set).await?;
    let Cut::Metadata { how, kept } = plan.video.cut else { panic!("{:?}", plan.video.cut) };
    Ok((by(source, dir, how, kept).await?, plan))
}

pub(crate) async fn by(
    source: &Path,
    dir: &TempDir,
    how: MetadataOnly,
    kept: DolbyKept,
) -> Result<PathBuf, Failure> {
    let out = dir.path().join("out.mkv");
    let job = DolbyRemux { source, scratch: dir.path(), out: &out, how, kept };
    let verdict = job.run(&tools().await, &CancellationToken::new()).await?;
    assert!(verdict.passed(), "{}", verdict.complaint());
    Ok(out)
}

/// A raw stream in Matroska, with the times of a film.
pub(crate) fn wrapped(dir: &Path, name: &str, options: &str) {
    let args = format!("-q -o {name}.mkv --default-duration 0:24000/1001p {options} {name}.hevc");
    run("mkvmerge", dir, &args);
}

pub(crate) fn stream(
    units: &[AccessUnit],
    mut each: impl FnMut(usize, &[u8], &mut Vec<u8>),
) -> Vec<u8> {
    let mut stream = Vec::new();
    for (at, unit) in units.iter().enumerate() {
        for nal in unit.nals() {
            each(at, nal, &mut stream);
        }
    }
    stream
}

pub(crate) fn is(nal: &[u8], kind: NalKind) -> bool {
    NalKind::of(nal) == Some(kind)
}

/// A base layer, and its enhancement layer with the metadata as a second track.
pub(crate) fn two_tracks() -> PathBuf {
    let folder = made("two-tracks", |dir| {
        let film = film(Kind::Fel);
        let all = units(&film.hevc);
        let layer = stream(&all, |_, nal, out| match NalKind::of(nal) {
            Some(NalKind::EL) => nal::write(&nal[2..], out).unwrap(),
            Some(NalKind::RPU) => nal::write(nal, out).unwrap(),
            _ => {}
        });
        std::fs::write(dir.join("layer.hevc"), layer).unwrap();
        let args = format!(
            "-q -o two.mkv --default-duration 0:24000/1001p {} \
             --default-duration 0:24000/1001p layer.hevc",
            film.base.display()
        );
        run("mkvmerge", dir, &args);
    });
    folder.join("two.mkv")
}

/// A film three of whose pictures lack their metadata.
pub(crate) fn three_missing() -> PathBuf {
    let folder = made("three-missing", |dir| {
        let all = units(&film(Kind::Fel).hevc);
        let holed = stream(&all, |at, nal, out| {
            if !(is(nal, NalKind::RPU) && [5, 20, 41].contains(&at)) {
                nal::write(nal, out).unwrap();
            }
        });
        std::fs::write(dir.join("holed.hevc"), holed).unwrap();
        wrapped(dir, "holed", "");
    });
    folder.join("holed.mkv")
}

/// A film whose container claims Dolby Vision that is not there.
pub(crate) fn stale() -> PathBuf {
    let folder = made("stale", |dir| {
        let source = film(Kind::Fel).mkv;
        let args = format!(
            "-v error -y -i {} -map 0:v -c copy -bsf:v filter_units=remove_types=62-63 stale.mkv",
            source.display()
        );
        run("ffmpeg", dir, &args);
    });
    let path = folder.join("stale.mkv");
    assert_eq!(record(&path)[0], 7, "the container claims profile 7");
    path
}

#[tokio::test]
async fn c1_and_c2_without_an_encode_hdr10_plus_stays_or_goes_as_asked() {
    let source = film(Kind::Plus).mkv;
    let dir = TempDir::new().unwrap();
    let before = hdr10_plus(&source);
    assert_eq!(before.len(), FRAMES);
    let (kept, _) = converted(&source, &dir, &[]).await.unwrap();
    assert_eq!(hdr10_plus(&kept), before);
    let (dropped, plan) = converted(&source, &dir, &["hdr10plus=drop"]).await.unwrap();
    assert_eq!((hdr10_plus(&dropped).len(), brightest(&dropped)), (0, in_order(FRAMES)));
    assert!(plan.notes.iter().any(|note| note.contains("HDR10+ metadata is dropped")));
}

#[tokio::test]
async fn d1_a_minimal_layer_is_taken_out_without_a_warning_and_the_mapping_stays() {
    let source = film(Kind::Mel).mkv;
    let dir = TempDir::new().unwrap();
    let (out, plan) = converted(&source, &dir, &[]).await.unwrap();
    assert!(!plan.notes.iter().any(|note| note.contains("warning")), "{:?}", plan.notes);
    let pieces = |path: &Path| rpus(path).iter().map(Rpu::mapping_pieces).collect::<Vec<_>>();
    assert_eq!(pieces(&source), vec![Some([2, 1, 1]); FRAMES]);
    assert_eq!(pieces(&source), pieces(&out));
}

#[tokio::test]
async fn a_full_layer_without_more_brightness_is_a_warning_and_with_it_a_refusal() {
    let plan = planned(&film(Kind::Fel).mkv, &[]).await.unwrap();
    assert!(plan.notes.iter().any(|n| n.contains("warning") && n.contains("FEL")), "{plan:?}");
    let bright = film(Kind::BrightFel).mkv;
    let refused = planned(&bright, &[]).await.unwrap_err();
    assert!(refused.message.contains("from 1000 to 4000 nits"), "{refused}");
    assert!(refused.advice.unwrap().contains("--allow-fel-loss"));
    let dir = TempDir::new().unwrap();
    let (out, _) = converted(&bright, &dir, &["allow_fel_loss=true"]).await.unwrap();
    assert_eq!(brightest(&out), in_order(FRAMES));
}

#[tokio::test]
async fn a_plan_without_an_encode_names_no_encoder_and_estimates_a_copy() {
    let source = film(Kind::Fel).mkv;
    let plan = planned(&source, &[]).await.unwrap();
    assert_eq!(plan.video.encode, None);
    assert_eq!(plan.estimate.bytes, std::fs::metadata(&source).unwrap().len());
    assert!(plan.estimate.seconds < 1.0);
    let text = serde_json::to_string(&plan).unwrap();
    assert!(!text.contains("x265") && !text.contains("crf"), "{text}");
    let again: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(again.video, plan.video);
}

#[tokio::test]
async fn d2_two_tracks_become_one() {
    let source = two_tracks();
    let dir = TempDir::new().unwrap();
    let (out, plan) = converted(&source, &dir, &[]).await.unwrap();
    assert_eq!(plan.dropped.len(), 1, "{:?}", plan.dropped);
    assert_eq!((record(&out), brightest(&out)), ([8, 1, 1, 0, 1, 1], in_order(FRAMES)));
    let tracks = crate::dolby_look::identified(&out)["tracks"].as_array().unwrap().len();
    assert_eq!(tracks, 1);
}

#[tokio::test]
async fn d3_and_trap9_an_end_of_sequence_before_layer_and_metadata() {
    let folder = made("eos", |dir| {
        let all = units(&film(Kind::Mel).hevc);
        let last = all.len() - 1;
        let mut ended = false;
        let stream = stream(&all, |at, nal, out| {
            if at == last && !ended && is(nal, NalKind::EL) {
                ended = true;
                nal::write(&[72, 1], out).unwrap();
            }
            nal::write(nal, out).unwrap();
        });
        std::fs::write(dir.join("eos.hevc"), stream).unwrap();
    });
    let source = folder.join("eos.hevc");
    assert_eq!(units(&source).len(), FRAMES, "pictures are counted, not delimiters");
    let dir = TempDir::new().unwrap();
    let kept = DolbyKept { stream: 0, convert: true, compatibility: 1, level: 1 };
    let out = by(&source, &dir, MetadataOnly::default(), kept).await.unwrap();
    assert_eq!((brightest(&out).len(), count(&pictures(&out), NalKind::EL)), (FRAMES, 0));
}

/// For each access unit, the number of its picture in the order of being shown.
fn numbers(units: &[AccessUnit]) -> Vec<usize> {
    let places: Vec<_> = units.iter().map(|unit| unit.place.unwrap()).collect();
    order::shown(&places).unwrap()
}

/// A stream of so many pictures by x265 with these parameters, as `name`.
fn by_x265(dir: &Path, frames: usize, params: &str, name: &str) {
    let args = format!(
        "-nostdin -v error -y -f lavfi -i testsrc2=s=128x96:r=24 -frames:v {frames} -c:v libx265 \
         -preset ultrafast -x265-params log-level=error:keyint=12:min-keyint=12:scenecut=0:\
         bframes=3:b-adapt=0:repeat-headers=1:info=0:pools=1:frame-threads=1:{params} \
         -f hevc {name}"
    );
    run("ffmpeg", dir, &args);
}

/// For each picture in coding order, its number among those that FFmpeg's
/// decoder puts out.
fn decoded_order(path: &Path) -> Vec<usize> {
    let dir = std::env::temp_dir();
    let args = format!(
        "-v error -select_streams v -show_entries frame=pkt_pos -of csv=p=0 {}",
        path.display()
    );
    let text = run("ffprobe", &dir, &args);
    let shown: Vec<u64> =
        text.lines().filter_map(|line| line.trim_matches(',').parse().ok()).collect();
    let mut coded = shown.clone();
    coded.sort_unstable();
    coded.iter().map(|at| shown.iter().position(|other| other == at).unwrap()).collect()
}

#[test]
fn d4_and_trap3_pictures_before_their_idr_get_their_own_metadata() {
    let folder = made("radl", |dir| by_x265(dir, 36, "open-gop=0:radl=2", "radl.hevc"));
    let path = folder.join("radl.hevc");
    let bare = units(&path);
    let leading = |nal: &[u8]| matches!(NalKind::of(nal), Some(NalKind(6 | 7)));
    assert!(bare.iter().flat_map(AccessUnit::nals).filter(|nal| leading(nal)).count() > 0);
    assert_eq!(numbers(&bare), decoded_order(&path));
    let rpus = crate::dolby_film::rpus(Kind::Mel);
    let mut bytes = Vec::new();
    for (unit, number) in bare.iter().zip(numbers(&bare)) {
        let metadata = inject::Metadata { rpu: Some(&rpus[number]), hdr10_plus: None };
        inject::write_with(unit, metadata, &mut bytes).unwrap();
    }
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("radl.hevc"), bytes).unwrap();
    // The times that mkvmerge gives the pictures are the judge.
    wrapped(dir.path(), "radl", "");
    assert_eq!(brightest(&dir.path().join("radl.mkv")), in_order(36));
}

#[test]
fn d5_and_trap4_a_second_parameter_set_of_the_same_number() {
    let folder = made("two-sets", |dir| {
        by_x265(dir, 24, "open-gop=0:log2-max-poc-lsb=8", "one.hevc");
        by_x265(dir, 24, "open-gop=0:log2-max-poc-lsb=4", "two.hevc");
        let parts = ["one.hevc", "two.hevc"].map(|name| std::fs::read(dir.join(name)).unwrap());
        std::fs::write(dir.join("both.hevc"), parts.concat()).unwrap();
    });
    let path = folder.join("both.hevc");
    let units = units(&path);
    let sets: std::collections::BTreeSet<_> =
        units.iter().flat_map(|unit| unit.of_kind(NalKind::SPS)).collect();
    assert_eq!((units.len(), sets.len()), (48, 2));
    assert_eq!(numbers(&units), decoded_order(&path));
}

#[tokio::test]
async fn d6_and_trap5_missing_metadata_fails_and_names_the_pictures() {
    let dir = TempDir::new().unwrap();
    let failure = converted(&three_missing(), &dir, &[]).await.unwrap_err();
    assert!(failure.message.contains(&format!("3 of {FRAMES} pictures")), "{failure}");
    assert_eq!(failure.message.matches("the picture at").count(), 3, "{failure}");
}
