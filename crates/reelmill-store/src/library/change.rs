//! Writing down what a scan found.

use super::rows::{shape, to_json, word, words};
use super::{LibraryFile, LibraryStore, joined};
use crate::StoreError;
use crate::sqlite::fault;
use reelmill_core::facts::Facts;
use reelmill_core::time::Timestamp;
use sqlx::SqliteConnection;
use std::collections::HashMap;

/// A change that a scan found.
#[derive(Debug, Clone, PartialEq)]
pub enum FileChange {
    /// It is new or different.
    Put(Box<LibraryFile>),
    /// A known file lies elsewhere now, or is back: from and to, each folder and
    /// name, and its modification time.
    Moved {
        /// Where it was.
        from: (Vec<u8>, Vec<u8>),
        /// Where it is.
        to: (Vec<u8>, Vec<u8>),
        /// Nanoseconds since 1970.
        mtime: i64,
    },
    /// The file of this folder and name is missing.
    Gone(Vec<u8>, Vec<u8>),
}

/// Rows that were looked up while writing.
struct Writing<'c> {
    db: &'c mut SqliteConnection,
    library: i64,
    at: i64,
    folders: HashMap<Vec<u8>, i64>,
    shapes: HashMap<String, i64>,
}

impl LibraryStore {
    /// Writes a batch of changes at `now`, all or none. From then on no sidecar
    /// says the same as the rows, until [`LibraryStore::settle`].
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn apply(
        &self,
        library: i64,
        changes: &[FileChange],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        let ahead = sqlx::query("UPDATE library SET snapshot = NULL WHERE id = ?").bind(library);
        ahead.execute(&mut *write).await.map_err(fault)?;
        let (folders, shapes) = (HashMap::new(), HashMap::new());
        let mut writing = Writing { db: &mut write, library, at: now.0, folders, shapes };
        for change in changes {
            let done = match change {
                FileChange::Put(file) => writing.put(file).await,
                FileChange::Moved { from, to, mtime } => writing.moved(from, to, *mtime).await,
                FileChange::Gone(folder, name) => writing.gone(folder, name).await,
            };
            done.map_err(fault)?;
        }
        write.commit().await.map_err(fault)
    }
}

impl Writing<'_> {
    async fn folder(&mut self, path: &[u8]) -> Result<i64, sqlx::Error> {
        if let Some(id) = self.folders.get(path) {
            return Ok(*id);
        }
        let get = "SELECT id FROM folder WHERE library = ? AND path = ?";
        let found = sqlx::query_scalar(get).bind(self.library).bind(path);
        let id = match found.fetch_optional(&mut *self.db).await? {
            Some(id) => id,
            None => {
                let put = "INSERT INTO folder (library, path) VALUES (?, ?) RETURNING id";
                sqlx::query_scalar(put)
                    .bind(self.library)
                    .bind(path)
                    .fetch_one(&mut *self.db)
                    .await?
            }
        };
        self.folders.insert(path.to_vec(), id);
        Ok(id)
    }

    async fn shape(&mut self, facts: &Facts) -> Result<i64, sqlx::Error> {
        let shape = shape(facts);
        let text = to_json(&shape)?;
        if let Some(id) = self.shapes.get(&text) {
            return Ok(*id);
        }
        let found = sqlx::query_scalar("SELECT id FROM shape WHERE facts = ?").bind(&text);
        let id = match found.fetch_optional(&mut *self.db).await? {
            Some(id) => id,
            None => self.new_shape(&shape, &text).await?,
        };
        self.shapes.insert(text, id);
        Ok(id)
    }

    async fn new_shape(&mut self, shape: &Facts, text: &str) -> Result<i64, sqlx::Error> {
        let put = "INSERT INTO shape (facts, kind, container, codec, width, height, hdr, \
                   audio_codecs, audio_languages, subtitle_languages, \
                   dv_profile, dv_layer, dv_levels, hdr10plus) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id";
        let video = shape.video.as_ref();
        let dolby = video.and_then(|video| video.dolby_vision.as_ref());
        let levels = dolby.map_or(&[][..], |dolby| &dolby.levels);
        let levels: Vec<String> = levels.iter().map(u8::to_string).collect();
        let languages = shape.audio.iter().filter_map(|track| track.language.as_deref());
        let subtitles = shape.subtitles.iter().filter_map(|track| track.language.as_deref());
        sqlx::query_scalar(put)
            .bind(text)
            .bind(word(shape.kind))
            .bind(shape.container.to_lowercase())
            .bind(video.map(|video| video.codec.to_lowercase()))
            .bind(video.map(|video| video.width))
            .bind(video.map(|video| video.height))
            .bind(video.and_then(|video| word(video.hdr)))
            .bind(words(shape.audio.iter().map(|track| track.codec.as_str())))
            .bind(words(languages))
            .bind(words(subtitles))
            .bind(dolby.map(|dolby| dolby.profile))
            .bind(dolby.and_then(|dolby| word(dolby.layer?)))
            .bind(words(levels.iter().map(String::as_str)))
            .bind(video.is_some_and(|video| video.hdr10plus == Some(true)))
            .fetch_one(&mut *self.db)
            .await
    }

    async fn row(&mut self, folder: i64, name: &[u8]) -> Result<Option<i64>, sqlx::Error> {
        let get = "SELECT id FROM file WHERE folder = ? AND name = ?";
        sqlx::query_scalar(get).bind(folder).bind(name).fetch_optional(&mut *self.db).await
    }

    /// Whether the file of a row is there as it was.
    async fn same(&mut self, id: i64, file: &LibraryFile) -> Result<bool, sqlx::Error> {
        let get = "SELECT count(*) FROM file WHERE id = ? AND size = ? AND mtime = ? \
                   AND gone_at IS NULL";
        let get = sqlx::query_scalar(get).bind(id).bind(file.size as i64).bind(file.mtime);
        get.fetch_one(&mut *self.db).await.map(|count: i64| count > 0)
    }

    async fn put(&mut self, file: &LibraryFile) -> Result<(), sqlx::Error> {
        let folder = self.folder(&file.folder).await?;
        let facts = file.facts.as_ref().ok();
        let shape = match facts {
            Some(facts) => Some(self.shape(facts).await?),
            None => None,
        };
        let known = self.row(folder, &file.name).await?;
        let same = match known {
            Some(id) => self.same(id, file).await?,
            None => false,
        };
        let put = "INSERT INTO file (folder, name, size, mtime, digest, first_seen, shape, \
                   duration_ms, fps_milli, failure, retry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                   ON CONFLICT (folder, name) DO UPDATE SET size = excluded.size, \
                   mtime = excluded.mtime, digest = excluded.digest, gone_at = NULL, \
                   shape = excluded.shape, duration_ms = excluded.duration_ms, \
                   fps_milli = excluded.fps_milli, failure = excluded.failure, \
                   retry = excluded.retry, verdict = NULL RETURNING id";
        let trouble = file.facts.as_ref().err();
        let fps = facts.and_then(|facts| facts.video.as_ref()).and_then(|video| video.fps_milli);
        let id: i64 = sqlx::query_scalar(put)
            .bind(folder)
            .bind(&file.name)
            .bind(file.size as i64)
            .bind(file.mtime)
            .bind(file.digest as i64)
            .bind(self.at)
            .bind(shape)
            .bind(facts.and_then(|facts| facts.duration_ms).map(|ms| ms as i64))
            .bind(fps)
            .bind(trouble.map(|trouble| trouble.reason.as_str()))
            .bind(trouble.is_some_and(|trouble| trouble.retry))
            .fetch_one(&mut *self.db)
            .await?;
        match known {
            // It was only looked at again.
            Some(_) if same => Ok(()),
            Some(id) => self.event(id, "changed", "").await,
            None => self.index(id, &joined(&file.folder, &file.name)).await,
        }
    }

    async fn moved(
        &mut self,
        from: &(Vec<u8>, Vec<u8>),
        to: &(Vec<u8>, Vec<u8>),
        mtime: i64,
    ) -> Result<(), sqlx::Error> {
        let (old, new) = (self.folder(&from.0).await?, self.folder(&to.0).await?);
        let Some(id) = self.row(old, &from.1).await? else { return Ok(()) };
        if let Some(taken) = self.row(new, &to.1).await?.filter(|taken| *taken != id) {
            // A gone row may hold the name.
            for clear in [
                "DELETE FROM search WHERE rowid = ?",
                "DELETE FROM event WHERE file = ?",
                "DELETE FROM file WHERE id = ?",
            ] {
                sqlx::query(clear).bind(taken).execute(&mut *self.db).await?;
            }
        }
        // The path may decide what becomes of it.
        let set = "UPDATE file SET folder = ?, name = ?, mtime = ?, gone_at = NULL, verdict = NULL WHERE id = ?";
        let set = sqlx::query(set).bind(new).bind(&to.1).bind(mtime).bind(id);
        set.execute(&mut *self.db).await?;
        if from == to {
            return self.event(id, "back", "").await;
        }
        sqlx::query("DELETE FROM search WHERE rowid = ?").bind(id).execute(&mut *self.db).await?;
        self.index(id, &joined(&to.0, &to.1)).await?;
        let note = format!("from {}", String::from_utf8_lossy(&joined(&from.0, &from.1)));
        self.event(id, "moved", &note).await
    }

    async fn gone(&mut self, folder: &[u8], name: &[u8]) -> Result<(), sqlx::Error> {
        let folder = self.folder(folder).await?;
        let Some(id) = self.row(folder, name).await? else { return Ok(()) };
        let set = sqlx::query("UPDATE file SET gone_at = ? WHERE id = ?").bind(self.at).bind(id);
        set.execute(&mut *self.db).await?;
        self.event(id, "gone", "").await
    }

    async fn index(&mut self, id: i64, path: &[u8]) -> Result<(), sqlx::Error> {
        let text = String::from_utf8_lossy(path).to_lowercase();
        let put = sqlx::query("INSERT INTO search (rowid, path) VALUES (?, ?)").bind(id).bind(text);
        put.execute(&mut *self.db).await.map(|_| ())
    }

    async fn event(&mut self, file: i64, what: &str, note: &str) -> Result<(), sqlx::Error> {
        let put = "INSERT INTO event (file, at, what, note) VALUES (?, ?, ?, ?)";
        let put = sqlx::query(put).bind(file).bind(self.at).bind(what).bind(note);
        put.execute(&mut *self.db).await.map(|_| ())
    }
}
