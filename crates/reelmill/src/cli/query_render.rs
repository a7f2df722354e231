//! Files of libraries, for people and programs.

use super::args::Common;
use super::library_args::Export;
use super::{out, scan::clean};
use reelmill_core::facts::{AudioFacts, DolbyFacts, Facts, SubtitleFacts, VideoFacts};
use reelmill_core::library::rules::Verdict;
use reelmill_core::media::Hdr;
use reelmill_store::{FileEvent, FoundFile, KeptBy, LibraryStats, VerdictStats};
use serde::Serialize;
use std::collections::HashMap;
use std::io::Write;

/// A file, as programs get it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    id: i64,
    library: String,
    path: String,
    /// The path's bytes, hexadecimal, where they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    bytes: u64,
    modified: String,
    first_seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    /// The try after which it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<serde_json::Value>,
    /// The try that failed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<serde_json::Value>,
}

/// The try after which a file is kept, for programs; and the one that failed for good.
fn tried(file: &FoundFile) -> (Option<serde_json::Value>, Option<serde_json::Value>) {
    let Some(by) = &file.kept else { return (None, None) };
    let (at, machine) = (moment(by.at.0), &by.machine);
    if matches!(file.verdict, Some(Verdict::Failed { .. })) {
        return (None, Some(serde_json::json!({"at": at, "machine": machine, "reason": by.note})));
    }
    let kept = serde_json::json!({
        "at": at, "machine": machine, "bytes_before": by.before, "bytes_after": by.after,
    });
    (Some(kept), None)
}

/// What becomes of a file, with the sizes that a try came to, or why it failed.
fn becomes(file: &FoundFile) -> String {
    let told = file.verdict.as_ref().map_or("not judged yet".to_owned(), Verdict::tell);
    match &file.kept {
        Some(KeptBy { before, after: Some(after), .. }) => {
            format!("{told}: {before} bytes, the output {after}")
        }
        Some(KeptBy { at, machine, note: Some(note), .. }) => {
            format!("{told}: {} ({}, on {machine})", clean(note), moment(at.0))
        }
        _ => told,
    }
}

impl Line {
    /// `names` are the libraries' names.
    pub(super) fn of(file: &FoundFile, names: &HashMap<i64, String>) -> Self {
        let path = file.file.path();
        let (kept, failed) = tried(file);
        Self {
            id: file.id,
            library: names.get(&file.library).cloned().unwrap_or_default(),
            path: String::from_utf8_lossy(&path).into_owned(),
            path_hex: std::str::from_utf8(&path).is_err().then(|| hex::encode(&path)),
            bytes: file.file.size,
            modified: moment(file.file.mtime / 1000),
            first_seen: moment(file.first_seen.0),
            facts: file.file.facts.as_ref().ok().cloned(),
            failure: file.file.facts.as_ref().err().map(|trouble| trouble.reason.clone()),
            verdict: file.verdict.clone(),
            kept,
            failed,
        }
    }
}

/// Microseconds since 1970, as RFC 3339 writes a moment.
fn moment(micros: i64) -> String {
    let at = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
    format!("{:.0}", at)
}

/// The kinds of HDR of a picture: `Dolby Vision 7 FEL (L1 L5 L6), HDR10+`.
fn hdr(video: &VideoFacts) -> Vec<String> {
    let mut kinds = Vec::new();
    match (video.hdr, &video.dolby_vision) {
        (Hdr::None, None) => {}
        (Hdr::Hdr10, None) => kinds.push("HDR10".to_owned()),
        (Hdr::Hlg, None) => kinds.push("HLG".to_owned()),
        (Hdr::DolbyVision, None) => kinds.push("Dolby Vision".to_owned()),
        (_, Some(dolby)) => {
            kinds.push(format!("Dolby Vision {} ({})", dolby.label(), levels(dolby)));
        }
    }
    kinds.extend((video.hdr10plus == Some(true)).then(|| "HDR10+".to_owned()));
    kinds
}

/// Levels of metadata: `L1 L5 L6`.
fn levels(dolby: &DolbyFacts) -> String {
    dolby.levels.iter().map(|level| format!("L{level}")).collect::<Vec<_>>().join(" ")
}

fn audio(tracks: &[AudioFacts]) -> String {
    let one = |track: &AudioFacts| {
        let language = track.language.as_deref().map_or(String::new(), |l| format!(":{l}"));
        format!("{}:{}{language}", track.codec, track.channels)
    };
    tracks.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn subtitles(tracks: &[SubtitleFacts]) -> String {
    let one = |track: &SubtitleFacts| {
        let language = track.language.as_deref().map_or(String::new(), |l| format!(":{l}"));
        format!("{}{language}", track.codec)
    };
    tracks.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A file for people: path, facts, what becomes of it.
pub(super) fn line(file: &FoundFile) -> String {
    let path = clean(&String::from_utf8_lossy(&file.file.path()));
    let verdict = becomes(file);
    let what = match &file.file.facts {
        Err(_) => return format!("{path}: {verdict}"),
        Ok(facts) => facts,
    };
    let mut parts = vec![what.container.clone()];
    if let Some(video) = &what.video {
        parts.push(format!("{} {}x{}", video.codec, video.width, video.height));
        parts.extend(video.fps().map(|fps| format!("{fps:.3} fps")));
        parts.extend(hdr(video));
    }
    parts.extend((!what.audio.is_empty()).then(|| audio(&what.audio)));
    parts.extend(what.duration_ms.map(|ms| out::seconds(ms as f64 / 1000.0)));
    parts.push(out::bytes(file.file.size));
    format!("{path}: {}; {verdict}", parts.join(", "))
}

/// Statistics, one line a sort.
pub(super) fn stats(stats: &[LibraryStats], common: &Common) {
    for sort in stats {
        if common.json {
            out::json(&serde_json::json!({
                "sort": sort.sort, "files": sort.files, "bytes": sort.bytes,
                "seconds": sort.duration_ms as f64 / 1000.0,
            }));
        } else {
            out::line(&sums(&sort.sort, sort.files, sort.bytes, sort.duration_ms));
        }
    }
    let sum = |get: fn(&LibraryStats) -> u64| stats.iter().map(get).sum();
    if !common.json {
        out::line(&sums("all", sum(|s| s.files), sum(|s| s.bytes), sum(|s| s.duration_ms)));
    }
}

fn sums(what: &str, files: u64, bytes: u64, millis: u64) -> String {
    let hours = millis as f64 / 3_600_000.0;
    format!("{what:<24} {files:>9} files  {:>10}  {hours:>9.1} h", out::bytes(bytes))
}

/// What the rules say, one line a verdict.
pub(super) fn actions(actions: &[VerdictStats], common: &Common) {
    for action in actions {
        if common.json {
            out::json(&serde_json::json!({
                "verdict": action.verdict, "files": action.files, "bytes": action.bytes,
                "seconds": action.duration_ms as f64 / 1000.0,
            }));
            continue;
        }
        let told = action.verdict.as_ref().map_or("not judged yet".to_owned(), Verdict::tell);
        let numbers = sums("", action.files, action.bytes, action.duration_ms);
        out::line(&format!("{}  {told}", numbers.trim_start()));
    }
}

/// Something that happened.
pub(super) fn event(event: &FileEvent, common: &Common) {
    let path = String::from_utf8_lossy(&event.path).into_owned();
    if common.json {
        out::json(&serde_json::json!({
            "at": moment(event.at.0), "path": path, "what": event.what, "note": event.note,
        }));
        return;
    }
    out::line(&format!(
        "{}  {}: {} {}",
        moment(event.at.0),
        clean(&path),
        event.what,
        clean(&event.note)
    ));
}

/// Why a file is, or is not, converted.
pub(super) fn why(
    file: &FoundFile,
    (origin, passed): (&str, &[(String, String)]),
    events: &[FileEvent],
    common: &Common,
) {
    let path = String::from_utf8_lossy(&file.file.path()).into_owned();
    if common.json {
        let (kept, failed) = tried(file);
        let passed: Vec<_> = passed
            .iter()
            .map(|(rule, why)| serde_json::json!({"rule": rule, "why": why}))
            .collect();
        let events: Vec<_> = events
            .iter()
            .map(|e| serde_json::json!({"at": moment(e.at.0), "what": e.what, "note": e.note}))
            .collect();
        out::json(&serde_json::json!({
            "path": path, "verdict": file.verdict, "rules": origin, "passed_over": passed, "history": events,
            "kept": kept, "failed": failed,
        }));
        return;
    }
    out::line(&line(file));
    out::line(&format!("rules: {origin}"));
    for (rule, why) in passed {
        out::line(&format!("  rule '{rule}' was passed over: {why}"));
    }
    if let Some(
        Verdict::Convert { rule, .. }
        | Verdict::Kept { rule, .. }
        | Verdict::Failed { rule, .. }
        | Verdict::Skip { rule: Some(rule), .. },
    ) = &file.verdict
    {
        out::line(&format!("  rule '{rule}' decided"));
    }
    out::line(&format!("first seen {}", moment(file.first_seen.0)));
    for event in events {
        out::line(&format!("{}  {} {}", moment(event.at.0), event.what, clean(&event.note)));
    }
}

/// Writes a list of files.
pub(super) struct Writer<W> {
    to: W,
    format: Export,
    any: bool,
}

/// The columns of comma-separated values.
const COLUMNS: &str = "path,bytes,modified,kind,container,seconds,codec,width,height,fps,bit_depth,hdr,audio,\
    subtitles,made_by,failure,action,preset,rule,reason,hdr10plus,dv_profile,dv_layer,dv_levels";

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W, format: Export) -> Self {
        Self { to, format, any: false }
    }

    pub(super) fn begin(&mut self) -> std::io::Result<()> {
        match self.format {
            Export::Json => self.to.write_all(b"["),
            Export::Csv => write!(self.to, "{COLUMNS}\r\n"),
            Export::Paths => Ok(()),
        }
    }

    pub(super) fn file(
        &mut self,
        file: &FoundFile,
        names: &HashMap<i64, String>,
    ) -> std::io::Result<()> {
        let first = !std::mem::replace(&mut self.any, true);
        match self.format {
            Export::Json => {
                self.to.write_all(if first { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut self.to, &Line::of(file, names))?;
                Ok(())
            }
            Export::Csv => {
                let fields: Vec<_> = fields(file).iter().map(|field| quoted(field)).collect();
                write!(self.to, "{}\r\n", fields.join(","))
            }
            Export::Paths => {
                self.to.write_all(&file.file.path())?;
                self.to.write_all(b"\n")
            }
        }
    }

    pub(super) fn end(&mut self) -> std::io::Result<()> {
        if self.format == Export::Json {
            self.to.write_all(b"\n]\n")?;
        }
        self.to.flush()
    }
}

/// A field as RFC 4180 has it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field.to_owned()
}

fn fields(file: &FoundFile) -> Vec<String> {
    let facts = file.file.facts.as_ref().ok();
    let video = facts.and_then(|facts| facts.video.as_ref());
    let dolby = video.and_then(|video| video.dolby_vision.as_ref());
    let text = |value: Option<String>| value.unwrap_or_default();
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (action, preset, rule, reason) = match &file.verdict {
        None => Default::default(),
        Some(Verdict::Convert { rule, preset, .. }) => {
            ("convert", preset.clone(), rule.clone(), String::new())
        }
        Some(Verdict::Kept { rule, preset, why, .. }) => {
            ("kept", preset.clone(), rule.clone(), why.told().to_owned())
        }
        Some(Verdict::Failed { rule, preset, .. }) => {
            let why = file.kept.as_ref().and_then(|by| by.note.clone());
            ("failed", preset.clone(), rule.clone(), why.unwrap_or_default())
        }
        Some(Verdict::Skip { rule, reason }) => {
            ("skip", String::new(), rule.clone().unwrap_or_default(), reason.clone())
        }
    };
    vec![
        String::from_utf8_lossy(&file.file.path()).into_owned(),
        file.file.size.to_string(),
        moment(file.file.mtime / 1000),
        text(facts.and_then(|f| serde_json::to_value(f.kind).ok()).map(word)),
        text(facts.map(|f| f.container.clone())),
        text(facts.and_then(|f| f.duration_ms).map(|ms| format!("{:.3}", ms as f64 / 1000.0))),
        text(video.map(|v| v.codec.clone())),
        text(video.map(|v| v.width.to_string())),
        text(video.map(|v| v.height.to_string())),
        text(video.and_then(reelmill_core::facts::VideoFacts::fps).map(|fps| format!("{fps:.3}"))),
        text(video.map(|v| v.bit_depth.to_string())),
        text(video.and_then(|v| serde_json::to_value(v.hdr).ok()).map(word)),
        text(facts.map(|f| audio(&f.audio))),
        text(facts.map(|f| subtitles(&f.subtitles))),
        text(facts.and_then(|f| f.made_by.clone())),
        text(file.file.facts.as_ref().err().map(|trouble| trouble.reason.clone())),
        action.to_owned(),
        preset,
        rule,
        reason,
        text(video.and_then(|v| v.hdr10plus).map(|has| if has { "yes" } else { "no" }.to_owned())),
        text(dolby.map(|dolby| dolby.profile.to_string())),
        text(dolby.and_then(|dolby| dolby.layer).map(|layer| layer.label().to_owned())),
        text(dolby.map(levels)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_core::dolby::EnhancementLayer;
    use reelmill_core::facts::{Chroma, MediaKind};
    use reelmill_core::time::Timestamp;
    use reelmill_store::LibraryFile;

    fn film() -> FoundFile {
        let video = VideoFacts {
            codec: "h264".into(),
            width: 1920,
            height: 1080,
            rotation: 0,
            fps_milli: Some(23_976),
            bit_depth: 8,
            chroma: Chroma::C420,
            hdr: Hdr::DolbyVision,
            dolby_vision: Some(DolbyFacts {
                profile: 7,
                layer: Some(EnhancementLayer::Fel),
                levels: vec![1, 5, 6],
            }),
            hdr10plus: Some(true),
        };
        let track = |language: Option<&str>| AudioFacts {
            codec: "aac".into(),
            channels: 2,
            sample_rate: 48_000,
            language: language.map(str::to_owned),
        };
        let facts = Facts {
            kind: MediaKind::Video,
            container: "mkv".into(),
            duration_ms: Some(61_500),
            video: Some(video),
            audio: vec![track(Some("ger")), track(None)],
            subtitles: vec![SubtitleFacts { codec: "subrip".into(), language: Some("eng".into()) }],
            made_by: None,
        };
        FoundFile {
            id: 7,
            library: 1,
            file: LibraryFile {
                folder: b"A, \"B\"".to_vec(),
                name: b"film\xff.mkv".to_vec(),
                size: 1_500_000,
                mtime: 1_700_000_000_123_456_789,
                digest: 1,
                facts: Ok(facts),
            },
            verdict: Some(Verdict::Skip { rule: None, reason: "no rule speaks of it".into() }),
            first_seen: Timestamp(1_700_000_001_000_000),
            kept: None,
        }
    }

    fn written(format: Export) -> String {
        let mut to = Vec::new();
        let mut writer = Writer::new(&mut to, format);
        writer.begin().unwrap();
        writer.file(&film(), &HashMap::from([(1, "lib".to_owned())])).unwrap();
        writer.end().unwrap();
        String::from_utf8_lossy(&to).into_owned()
    }

    #[test]
    fn files_are_written_as_documented() {
        insta::assert_snapshot!(line(&film()));
        insta::assert_snapshot!("json", written(Export::Json));
        insta::assert_snapshot!("csv", written(Export::Csv).replace("\r\n", "\n"));
        assert_eq!(written(Export::Paths), "A, \"B\"/film\u{fffd}.mkv\n");
        let lines: Vec<serde_json::Value> = serde_json::from_str(&written(Export::Json)).unwrap();
        assert_eq!(lines.len(), 1);
    }
}
