//! Between rows of the scan cache and values.

use super::{LibraryFile, LibraryRecord, Trouble};
use reelmill_core::facts::{Facts, VideoFacts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(super) fn library(row: &SqliteRow) -> Result<LibraryRecord, sqlx::Error> {
    Ok(LibraryRecord {
        id: row.try_get(0)?,
        uuid: row.try_get(1)?,
        root: row.try_get(2)?,
        snapshot: row.try_get(3)?,
        rules: row.try_get(4)?,
    })
}

/// The file in a row whose columns from `at` on are: folder, name, size, mtime,
/// digest, failure, retry, shape, duration, frame rate.
pub(super) fn file(row: &SqliteRow, at: usize) -> Result<LibraryFile, sqlx::Error> {
    let failure: Option<String> = row.try_get(at + 5)?;
    let facts = match failure {
        Some(reason) => Err(Trouble { reason, retry: row.try_get(at + 6)? }),
        None => {
            let mut facts: Facts = from_json(row.try_get(at + 7)?)?;
            facts.duration_ms = row.try_get::<Option<i64>, _>(at + 8)?.map(|ms| ms as u64);
            if let Some(video) = &mut facts.video {
                video.fps_milli = row.try_get(at + 9)?;
            }
            Ok(facts)
        }
    };
    Ok(LibraryFile {
        folder: row.try_get(at)?,
        name: row.try_get(at + 1)?,
        size: row.try_get::<i64, _>(at + 2)? as u64,
        mtime: row.try_get(at + 3)?,
        digest: row.try_get::<i64, _>(at + 4)? as u64,
        facts,
    })
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// All of `facts` that many files share.
pub(super) fn shape(facts: &Facts) -> Facts {
    let video = facts.video.as_ref().map(|video| VideoFacts { fps_milli: None, ..video.clone() });
    Facts { duration_ms: None, video, ..facts.clone() }
}

/// The word that an enum without data is written as.
pub(super) fn word<T: Serialize>(value: T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// Words between spaces, to be found by [`among`].
pub(super) fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from(" ");
    for word in words {
        text.push_str(&word.to_lowercase());
        text.push(' ');
    }
    text
}

/// What a word looks like among [`words`].
pub(super) fn among(word: &str) -> String {
    format!(" {} ", word.to_lowercase())
}
