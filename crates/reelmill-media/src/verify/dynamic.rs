//! Whether the output's stream and container hold the HDR that the plan promised.

use super::Measured;
use crate::dynamic::{self, Origin, Range, Seen};
use crate::hdr::sei;
use crate::tools::Tools;
use reelmill_core::check::{self, Check};
use reelmill_core::error::Failure;
use reelmill_core::hdr::{HdrKept, MasteringDisplay};
use reelmill_core::media::VideoInfo;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// No check for what was not promised.
pub(super) async fn checks(
    tools: &Tools,
    measured: &Measured<'_>,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Vec<Check>, Failure> {
    let hdr = &measured.promised.assembly.encode.hdr;
    let Some((_, video)) = measured.media.video() else { return Ok(Vec::new()) };
    let mut checks = fixed(hdr, video);
    if hdr.per_frame() {
        checks.extend(per_frame(tools, measured, out, cancel).await?);
    }
    if hdr.dolby_vision.is_some() {
        checks.push(record(hdr, measured.record(tools, out, cancel).await?));
    }
    Ok(checks)
}

/// Metadata of the whole stream.
fn fixed(hdr: &HdrKept, found: &VideoInfo) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(want) = &hdr.mastering {
        let passed = found.mastering.as_ref().is_some_and(|have| want.is_about(have));
        let say = |display: &MasteringDisplay| display.to_string();
        let have = found.mastering.as_ref().map_or("nothing".into(), say);
        let detail = if passed { have } else { format!("{have} instead of {want}") };
        checks.push(Check::new("mastering display", passed, detail));
    }
    if let Some(want) = hdr.light {
        checks.push(check::equal("content light", &Some(want), &found.light));
    }
    checks
}

/// Metadata of each frame, tied to it by its time in the container.
async fn per_frame(
    tools: &Tools,
    measured: &Measured<'_>,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Vec<Check>, Failure> {
    let assembly = measured.promised.assembly;
    let video = &assembly.plan.video;
    let origin = Origin {
        path: assembly.source,
        stream: video.stream,
        base: video.time_base,
        encode: assembly.encode,
    };
    let (scratch, all) = (assembly.scratch, Range::default());
    let want = dynamic::gather(tools, origin, &measured.seen_at(), all, scratch, cancel).await?;
    let listed = measured.output.streams.get(&0);
    let listed = listed.and_then(|stream| Some((stream.shown()?, stream.time_base?)));
    let Some((times, base)) = listed else {
        return Ok(vec![Check::new("HDR metadata", false, "the output has no timed video")]);
    };
    let seen: Seen = dynamic::read(tools, out, 0, base, all, scratch, cancel).await?;
    let units: Vec<Vec<Vec<u8>>> =
        times.iter().map(|time| seen.frames.get(time).cloned().unwrap_or_default()).collect();
    let mut checks = Vec::new();
    if assembly.encode.hdr.dolby_vision.is_some() {
        let is_rpu = |nal: &&Vec<u8>| nal.first().map(|byte| byte >> 1 & 63) == Some(62);
        let have = units.iter().map(|nals| nals.iter().filter(is_rpu).cloned().collect());
        let want = want.iter().map(|frame| frame.rpu.clone().into_iter().collect());
        checks.push(same("Dolby Vision", &want.collect::<Vec<_>>(), &have.collect::<Vec<_>>()));
    }
    if assembly.encode.hdr.hdr10plus {
        let plus =
            |nals: &Vec<Vec<u8>>| nals.iter().filter_map(|nal| sei::hdr10_plus(nal)).collect();
        let have = units.iter().map(plus);
        let want = want.iter().map(|frame| frame.hdr10plus.clone().into_iter().collect());
        checks.push(same("HDR10+", &want.collect::<Vec<_>>(), &have.collect::<Vec<_>>()));
    }
    Ok(checks)
}

/// Units of each frame, in order of being shown.
fn same(name: &str, want: &[Vec<Vec<u8>>], have: &[Vec<Vec<u8>>]) -> Check {
    if want.len() != have.len() {
        let detail = format!("{} frames instead of {}", have.len(), want.len());
        return Check::new(name, false, detail);
    }
    let total: usize = have.iter().map(Vec::len).sum();
    match want.iter().zip(have).position(|(want, have)| want != have) {
        Some(at) => Check::new(name, false, format!("frame {at} has other metadata than planned")),
        None => Check::new(name, true, format!("{total} units on {} frames", have.len())),
    }
}

/// What a container's record says: profile, level, compatibility, and whether
/// metadata, enhancement layer and base layer are present.
type Record = (u8, u8, u8, [bool; 3]);

fn record(hdr: &HdrKept, found: Option<Record>) -> Check {
    let want =
        hdr.dolby_vision.map(|kept| (8, kept.level, kept.compatibility, [true, false, true]));
    check::equal("Dolby Vision record", &want, &found)
}

impl Measured<'_> {
    /// Times at which the output's frames were decoded, source ticks.
    fn seen_at(&self) -> Vec<i64> {
        self.promised.planned.clone()
    }

    async fn record(
        &self,
        tools: &Tools,
        out: &Path,
        cancel: &CancellationToken,
    ) -> Result<Option<Record>, Failure> {
        crate::probe::dolby_record(tools, out, cancel).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_core::dolby::DolbyKept;
    use reelmill_core::hdr::ContentLight;

    #[test]
    fn what_is_missing_or_other_is_found() {
        let light = Some(ContentLight { max: 1000, average: 400 });
        let mastering = Some(MasteringDisplay { max_luminance: 10_000_000, ..Default::default() });
        let hdr = HdrKept { mastering, light, ..HdrKept::default() };
        let passed =
            |found: &VideoInfo| fixed(&hdr, found).iter().filter(|check| check.passed).count();
        assert_eq!(passed(&VideoInfo { mastering, light, ..Default::default() }), 2);
        assert_eq!(passed(&VideoInfo { light, ..Default::default() }), 1);
        assert_eq!(passed(&VideoInfo::default()), 0);
        let frames = |names: &[&str]| -> Vec<Vec<Vec<u8>>> {
            names.iter().map(|name| vec![name.as_bytes().to_vec()]).collect()
        };
        let check = |have: &[&str]| same("x", &frames(&["a", "b"]), &frames(have)).passed;
        assert!(check(&["a", "b"]) && !check(&["b", "a"]) && !check(&["a"]));
    }

    #[test]
    fn d12_a_record_that_claims_sdr_is_refused() {
        let kept = DolbyKept { stream: 0, convert: true, compatibility: 1, level: 1 };
        let hdr = HdrKept { dolby_vision: Some(kept), ..HdrKept::default() };
        let layers = [true, false, true];
        assert!(record(&hdr, Some((8, 1, 1, layers))).passed);
        assert!(!record(&hdr, Some((8, 1, 2, layers))).passed);
        assert!(!record(&hdr, Some((7, 1, 1, [true; 3]))).passed);
        assert!(!record(&hdr, None).passed);
    }
}
