//! Between rows of the scan cache and values.

use super::{KnownFile, LibraryFile};
use reelmill_core::facts::{AudioFacts, Facts, SubtitleFacts, VideoFacts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite};

/// The columns that [`file`] reads, in its order.
pub(super) const COLUMNS: &str = "id, path, size, mtime, digest, failure, kind, container, \
    duration_ms, codec, width, height, rotation, fps_milli, bit_depth, chroma, hdr, audio, \
    subtitles, made_by";

pub(super) fn known(row: &SqliteRow) -> Result<KnownFile, sqlx::Error> {
    Ok(KnownFile {
        id: row.try_get(0)?,
        path: row.try_get(1)?,
        size: row.try_get::<i64, _>(2)? as u64,
        mtime: row.try_get(3)?,
        digest: row.try_get(4)?,
        gone: row.try_get(5)?,
    })
}

fn word<T: Serialize>(value: T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

fn unword<T: DeserializeOwned>(word: String) -> Result<T, sqlx::Error> {
    serde_json::from_value(word.into()).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Tracks as text: `aac:2:48000:eng|ac3:6:48000:`.
fn audio(tracks: &[AudioFacts]) -> String {
    let one = |t: &AudioFacts| {
        let language = t.language.as_deref().unwrap_or_default();
        format!("{}:{}:{}:{language}", t.codec, t.channels, t.sample_rate)
    };
    tracks.iter().map(one).collect::<Vec<_>>().join("|")
}

fn subtitles(tracks: &[SubtitleFacts]) -> String {
    let one =
        |t: &SubtitleFacts| format!("{}:{}", t.codec, t.language.as_deref().unwrap_or_default());
    tracks.iter().map(one).collect::<Vec<_>>().join("|")
}

fn language(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn audio_of(text: &str) -> Vec<AudioFacts> {
    let one = |track: &str| {
        let mut parts = track.splitn(4, ':');
        Some(AudioFacts {
            codec: parts.next()?.to_owned(),
            channels: parts.next()?.parse().ok()?,
            sample_rate: parts.next()?.parse().ok()?,
            language: language(parts.next()?),
        })
    };
    text.split('|').filter_map(one).collect()
}

fn subtitles_of(text: &str) -> Vec<SubtitleFacts> {
    let tracks = text.split('|').filter_map(|track| track.split_once(':'));
    tracks
        .map(|(codec, l)| SubtitleFacts { codec: codec.to_owned(), language: language(l) })
        .collect()
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The statement that writes a file, gone or not before.
pub(super) fn put(library: i64, file: &LibraryFile) -> Statement<'_> {
    const PUT: &str = "INSERT OR REPLACE INTO file (library, path, size, mtime, digest, failure, \
        kind, container, duration_ms, codec, width, height, rotation, fps_milli, bit_depth, chroma, \
        hdr, audio, audio_languages, subtitles, made_by) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let facts = file.facts.as_ref().ok();
    let video = facts.and_then(|facts| facts.video.as_ref());
    let languages = facts.map(|facts| {
        let spoken: Vec<_> = facts.audio.iter().filter_map(|t| t.language.as_deref()).collect();
        format!(" {} ", spoken.join(" "))
    });
    sqlx::query(PUT)
        .bind(library)
        .bind(&file.path)
        .bind(file.size as i64)
        .bind(file.mtime)
        .bind(&file.digest)
        .bind(file.facts.as_ref().err())
        .bind(facts.and_then(|facts| word(facts.kind)))
        .bind(facts.map(|facts| &facts.container))
        .bind(facts.and_then(|facts| facts.duration_ms).map(|ms| ms as i64))
        .bind(video.map(|v| &v.codec))
        .bind(video.map(|v| v.width))
        .bind(video.map(|v| v.height))
        .bind(video.map(|v| v.rotation))
        .bind(video.and_then(|v| v.fps_milli))
        .bind(video.map(|v| v.bit_depth))
        .bind(video.and_then(|v| word(v.chroma)))
        .bind(video.and_then(|v| word(v.hdr)))
        .bind(facts.map(|facts| audio(&facts.audio)))
        .bind(languages)
        .bind(facts.map(|facts| subtitles(&facts.subtitles)))
        .bind(facts.and_then(|facts| facts.made_by.as_ref()))
}

/// The file of a row with [`COLUMNS`].
pub(super) fn file(row: &SqliteRow) -> Result<LibraryFile, sqlx::Error> {
    let failure: Option<String> = row.try_get(5)?;
    Ok(LibraryFile {
        path: row.try_get(1)?,
        size: row.try_get::<i64, _>(2)? as u64,
        mtime: row.try_get(3)?,
        digest: row.try_get(4)?,
        facts: match failure {
            Some(failure) => Err(failure),
            None => Ok(facts(row)?),
        },
    })
}

fn facts(row: &SqliteRow) -> Result<Facts, sqlx::Error> {
    let video = match row.try_get::<Option<String>, _>(9)? {
        None => None,
        Some(codec) => Some(VideoFacts {
            codec,
            width: row.try_get(10)?,
            height: row.try_get(11)?,
            rotation: row.try_get(12)?,
            fps_milli: row.try_get(13)?,
            bit_depth: row.try_get(14)?,
            chroma: unword(row.try_get(15)?)?,
            hdr: unword(row.try_get(16)?)?,
        }),
    };
    Ok(Facts {
        kind: unword(row.try_get(6)?)?,
        container: row.try_get(7)?,
        duration_ms: row.try_get::<Option<i64>, _>(8)?.map(|ms| ms as u64),
        video,
        audio: audio_of(&row.try_get::<String, _>(17)?),
        subtitles: subtitles_of(&row.try_get::<String, _>(18)?),
        made_by: row.try_get(19)?,
    })
}
