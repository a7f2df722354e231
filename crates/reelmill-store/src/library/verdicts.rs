//! What becomes of files: verdicts, and what happened by them.

use super::rows::{from_json, to_json};
use super::{FileFilter, FoundFile, LibraryStore};
use crate::StoreError;
use crate::sqlite::fault;
use reelmill_core::library::outcome::Past;
use reelmill_core::library::rules::Verdict;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};
use std::collections::HashMap;

/// Files that are judged at a time.
const PAGE: u32 = 2000;

/// What judging came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Files whose verdict is another than before.
    pub changed: u64,
}

/// Files, bytes and time under one verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictStats {
    /// The verdict; `None` for files that were not judged yet.
    pub verdict: Option<Verdict>,
    /// How many.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds.
    pub duration_ms: u64,
}

impl LibraryStore {
    /// Judges the files of a library by rules that `rules` names: those that were
    /// not judged yet, or all when the rules are others than before.
    ///
    /// # Errors
    /// When the cache cannot be read or written.
    pub async fn judge(
        &self,
        library: i64,
        rules: &str,
        judge: impl Fn(&FoundFile, &Past) -> Verdict,
    ) -> Result<Judged, StoreError> {
        let before: Option<String> = sqlx::query_scalar("SELECT rules FROM library WHERE id = ?")
            .bind(library)
            .fetch_one(&self.pool)
            .await
            .map_err(fault)?;
        let all = before.as_deref() != Some(rules);
        let (mut judged, nothing) = (Judged::default(), Past::default());
        let mut ids = HashMap::new();
        let mut filter = FileFilter { library: Some(library), ..FileFilter::default() };
        loop {
            let page = if all {
                self.find(&filter, PAGE).await?
            } else {
                self.unjudged(library, filter.after).await?
            };
            let Some(last) = page.last() else { break };
            filter.after = last.id;
            let pasts = self.pasts(&page).await?;
            let mut write = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
            for file in &page {
                let past = pasts.get(&(file.file.digest, file.file.size)).unwrap_or(&nothing);
                let verdict = judge(file, past);
                if file.verdict.as_ref() == Some(&verdict) {
                    continue;
                }
                let id = match ids.get(&verdict) {
                    Some(id) => *id,
                    None => {
                        let text = to_json(&verdict).map_err(fault)?;
                        let put = "INSERT INTO verdict (verdict, converts) VALUES (?, ?) \
                                   ON CONFLICT (verdict) DO UPDATE SET converts = excluded.converts RETURNING id";
                        let put = sqlx::query_scalar(put).bind(text).bind(verdict.answer() as i64);
                        let id: i64 = put.fetch_one(&mut *write).await.map_err(fault)?;
                        ids.insert(verdict, id);
                        id
                    }
                };
                let set =
                    sqlx::query("UPDATE file SET verdict = ? WHERE id = ?").bind(id).bind(file.id);
                set.execute(&mut *write).await.map_err(fault)?;
                judged.changed += 1;
            }
            write.commit().await.map_err(fault)?;
        }
        let set =
            sqlx::query("UPDATE library SET rules = ? WHERE id = ?").bind(rules).bind(library);
        set.execute(&self.pool).await.map_err(fault)?;
        Ok(judged)
    }

    /// A page of the files that were not judged yet.
    async fn unjudged(&self, library: i64, after: i64) -> Result<Vec<FoundFile>, StoreError> {
        let get = "SELECT f.id FROM file f JOIN folder d ON d.id = f.folder \
                   WHERE f.verdict IS NULL AND f.gone_at IS NULL AND f.id > ? AND d.library = ? \
                   ORDER BY f.id LIMIT ?";
        let ids: Vec<i64> = sqlx::query_scalar(get)
            .bind(after)
            .bind(library)
            .bind(PAGE)
            .fetch_all(&self.pool)
            .await
            .map_err(fault)?;
        self.files(&ids).await
    }

    /// Contents among those of `page` that are outputs of conversions.
    pub(super) async fn outputs(&self, page: &[FoundFile]) -> Result<Vec<(u64, u64)>, StoreError> {
        let digests: Vec<i64> = page.iter().map(|file| file.file.digest as i64).collect();
        let digests = serde_json::to_string(&digests).unwrap_or_default();
        let get =
            "SELECT digest, size FROM output WHERE digest IN (SELECT value FROM json_each(?))";
        let rows = sqlx::query(get).bind(digests).fetch_all(&self.pool).await.map_err(fault)?;
        let decode = |row: &SqliteRow| {
            Ok((row.try_get::<i64, _>(0)? as u64, row.try_get::<i64, _>(1)? as u64))
        };
        rows.iter().map(decode).collect::<Result<_, _>>().map_err(fault)
    }

    /// Files under each verdict, the most first. From sums that the last scan
    /// made.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn by_action(&self, library: Option<i64>) -> Result<Vec<VerdictStats>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT v.verdict, sum(t.files), sum(t.bytes), sum(t.duration_ms) \
             FROM tally t LEFT JOIN verdict v ON v.id = t.verdict WHERE TRUE",
        );
        if let Some(library) = library {
            query.push(" AND t.library = ").push_bind(library);
        }
        query.push(" GROUP BY t.verdict ORDER BY 2 DESC, 1");
        let rows = query.build().fetch_all(&self.pool).await.map_err(fault)?;
        let decode = |row: &SqliteRow| {
            let number = |at: usize| row.try_get::<i64, _>(at).map(|n| n as u64);
            Ok(VerdictStats {
                verdict: row.try_get::<Option<&str>, _>(0)?.map(from_json).transpose()?,
                files: number(1)?,
                bytes: number(2)?,
                duration_ms: number(3)?,
            })
        };
        rows.iter().map(decode).collect::<Result<_, _>>().map_err(fault)
    }

    /// A conversion made a file of this content: it is known for one from now on,
    /// wherever it lies.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn output(&self, digest: u64, size: u64) -> Result<(), StoreError> {
        let put = "INSERT OR IGNORE INTO output (digest, size) VALUES (?, ?)";
        let put = sqlx::query(put).bind(digest as i64).bind(size as i64);
        put.execute(&self.pool).await.map_err(fault)?;
        let again = "UPDATE file SET verdict = NULL WHERE digest = ? AND size = ?";
        let again = sqlx::query(again).bind(digest as i64).bind(size as i64);
        again.execute(&self.pool).await.map(|_| ()).map_err(fault)
    }
}
