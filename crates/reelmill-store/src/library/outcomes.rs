//! What came of conversions, as the ledgers of the libraries tell it.

use super::rows::{from_json, to_json, word};
use super::{FoundFile, LibraryStore};
use crate::StoreError;
use crate::sqlite::fault;
use futures::TryStreamExt;
use reelmill_core::library::missing::parent;
use reelmill_core::library::outcome::{Came, Outcome, Past, how};
use reelmill_core::names;
use reelmill_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::collections::HashMap;

/// The last try at a file that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBy {
    /// When it was tried.
    pub at: Timestamp,
    /// On which machine.
    pub machine: String,
    /// Bytes of the source.
    pub before: u64,
    /// Bytes of the output that was not kept.
    pub after: Option<u64>,
    /// Why, for people, where it failed.
    pub note: Option<String>,
}

/// Outcomes of one minute, preset and machine that ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeSum {
    /// The beginning of the minute.
    pub at: Timestamp,
    /// The preset; empty where that is not known.
    pub preset: String,
    /// The machine.
    pub machine: String,
    /// How they ended.
    pub came: Came,
    /// How many.
    pub count: u64,
    /// Bytes of the sources.
    pub before: u64,
    /// Bytes of the outputs.
    pub after: u64,
}

/// New lines of a ledger.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    /// The ledger's name.
    pub name: &'a str,
    /// It is another one than what was read under this name.
    pub anew: bool,
    /// So much of it is read now.
    pub bytes: u64,
    /// What the lines say.
    pub outcomes: &'a [Outcome],
}

/// Microseconds in a minute.
const MINUTE: i64 = 60_000_000;

impl LibraryStore {
    /// How much of each ledger of a library was read, bytes.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn ledgers(&self, library: i64) -> Result<HashMap<String, u64>, StoreError> {
        let get = sqlx::query("SELECT name, bytes FROM ledger WHERE library = ?").bind(library);
        let rows = get.fetch_all(&self.pool).await.map_err(fault)?;
        let decode = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)? as u64));
        rows.iter().map(decode).collect::<Result<_, _>>().map_err(fault)
    }

    /// Takes in what a ledger of a library says beyond what was read, all or nothing. Files of
    /// these contents are judged anew. `own` machine's watches have written their part of the
    /// history themselves.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub async fn take_in(&self, library: i64, own: &str, new: Lines<'_>) -> Result<(), StoreError> {
        let mut write = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        if new.anew {
            let clear = sqlx::query("DELETE FROM outcome WHERE library = ? AND ledger = ?");
            clear.bind(library).bind(new.name).execute(&mut *write).await.map_err(fault)?;
        }
        for outcome in new.outcomes {
            put(&mut write, (library, new.name), outcome).await.map_err(fault)?;
            let noted = new.anew || (outcome.watch && outcome.machine == own);
            if !noted {
                note(&mut write, library, outcome).await.map_err(fault)?;
            }
        }
        let read = "INSERT INTO ledger (library, name, bytes) VALUES (?, ?, ?) \
                    ON CONFLICT (library, name) DO UPDATE SET bytes = excluded.bytes";
        let read = sqlx::query(read).bind(library).bind(new.name).bind(new.bytes as i64);
        read.execute(&mut *write).await.map_err(fault)?;
        write.commit().await.map_err(fault)
    }

    /// Tells of all outcomes of a library, or of all libraries; or of those in a folder; in sums
    /// of a minute each.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn outcomes(
        &self,
        library: Option<i64>,
        folder: Option<&[u8]>,
        mut tell: impl FnMut(OutcomeSum),
    ) -> Result<(), StoreError> {
        let within = folder.map(|folder| [folder, b"/"].concat());
        let get = "SELECT at / ?1 AS minute, preset, machine, came, count(*), sum(before), \
                          sum(ifnull(after, 0)) FROM outcome WHERE (?2 IS NULL OR library = ?2) \
                   AND (?3 IS NULL OR substr(path, 1, length(?3)) = ?3) \
                   GROUP BY minute, preset, machine, came ORDER BY minute";
        let get = sqlx::query(get).bind(MINUTE).bind(library).bind(within);
        let mut rows = get.fetch(&self.pool);
        while let Some(row) = rows.try_next().await.map_err(fault)? {
            tell(sum(&row).map_err(fault)?);
        }
        Ok(())
    }

    /// What is known of the contents of `page`, by digest and size.
    pub(super) async fn pasts(
        &self,
        page: &[FoundFile],
    ) -> Result<HashMap<(u64, u64), Past>, StoreError> {
        let mut pasts: HashMap<(u64, u64), Past> = HashMap::new();
        for content in self.outputs(page).await? {
            pasts.entry(content).or_default().output = true;
        }
        for Tried { content, came, settings, for_good, .. } in self.tried(page).await? {
            pasts.entry(content).or_default().then(came, &settings, for_good);
        }
        Ok(pasts)
    }

    /// Tells of files that are kept, or failed, which try that is due to.
    pub(super) async fn tell_kept(&self, page: &mut [FoundFile]) -> Result<(), StoreError> {
        use reelmill_core::library::rules::{Answer, Left, Verdict};
        let answer = |file: &FoundFile| file.verdict.as_ref().map(Verdict::answer);
        if !page.iter().any(|it| matches!(answer(it), Some(Answer::Kept | Answer::Failed))) {
            return Ok(());
        }
        let tried = self.tried(page).await?;
        for file in page {
            let (sought, preset, set) = match &file.verdict {
                Some(Verdict::Kept { why: Left::Undone, .. }) => (Came::Undone, "", &[][..]),
                Some(Verdict::Kept { preset, set, .. }) => (Came::Kept, preset.as_str(), &set[..]),
                Some(Verdict::Failed { preset, set, .. }) => {
                    (Came::Failed, preset.as_str(), &set[..])
                }
                _ => continue,
            };
            let (content, settings) = ((file.file.digest, file.file.size), how(preset, set, None));
            let fits = |tried: &&Tried| {
                let by = sought == Came::Undone || tried.settings == settings;
                by && tried.came == sought && tried.content == content
            };
            file.kept = tried.iter().rfind(fits).map(|tried| tried.kept.clone());
        }
        Ok(())
    }

    /// Tries at the contents of `page`, the oldest first.
    async fn tried(&self, page: &[FoundFile]) -> Result<Vec<Tried>, StoreError> {
        let digests: Vec<i64> = page.iter().map(|file| file.file.digest as i64).collect();
        let get = "SELECT digest, before, came, how, at, machine, after, for_good, note FROM outcome \
                   WHERE came IN ('kept', 'undone', 'converted', 'failed') \
                   AND digest IN (SELECT value FROM json_each(?)) ORDER BY at, id";
        let get = sqlx::query(get).bind(to_json(&digests).map_err(fault)?);
        let rows = get.fetch_all(&self.pool).await.map_err(fault)?;
        rows.iter().map(tried).collect::<Result<_, _>>().map_err(fault)
    }
}

/// A try at a content.
struct Tried {
    /// Digest and size.
    content: (u64, u64),
    came: Came,
    settings: String,
    for_good: bool,
    kept: KeptBy,
}

fn tried(row: &SqliteRow) -> Result<Tried, sqlx::Error> {
    let before = row.try_get::<i64, _>(1)? as u64;
    let kept = KeptBy {
        at: Timestamp(row.try_get(4)?),
        machine: row.try_get(5)?,
        before,
        after: row.try_get::<Option<i64>, _>(6)?.map(|after| after as u64),
        note: row.try_get(8)?,
    };
    Ok(Tried {
        content: (row.try_get::<i64, _>(0)? as u64, before),
        came: came(row, 2)?,
        settings: row.try_get(3)?,
        for_good: row.try_get(7)?,
        kept,
    })
}

fn came(row: &SqliteRow, at: usize) -> Result<Came, sqlx::Error> {
    from_json(&format!("\"{}\"", row.try_get::<&str, _>(at)?))
}

fn sum(row: &SqliteRow) -> Result<OutcomeSum, sqlx::Error> {
    let number = |at: usize| row.try_get::<i64, _>(at).map(|n| n as u64);
    Ok(OutcomeSum {
        at: Timestamp(row.try_get::<i64, _>(0)? * MINUTE),
        preset: row.try_get(1)?,
        machine: row.try_get(2)?,
        came: came(row, 3)?,
        count: number(4)?,
        before: number(5)?,
        after: number(6)?,
    })
}

async fn put(
    db: &mut SqliteConnection,
    (library, ledger): (i64, &str),
    outcome: &Outcome,
) -> Result<(), sqlx::Error> {
    // Who takes back need not know by which preset it was made.
    let put = "INSERT INTO outcome (library, ledger, at, machine, path, digest, before, after, came, \
                                    preset, how, for_good, note) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, CASE WHEN ?10 <> '' THEN ?10 ELSE \
                   ifnull((SELECT preset FROM outcome WHERE library = ?1 AND path = ?5 \
                           AND came = 'converted' ORDER BY at DESC LIMIT 1), '') END, ?11, ?12, ?13)";
    let path = names::decode(&outcome.file).unwrap_or_else(|| outcome.file.as_bytes().to_vec());
    let digest = u64::from_str_radix(&outcome.digest, 16).unwrap_or_default() as i64;
    sqlx::query(put)
        .bind(library)
        .bind(ledger)
        .bind(outcome.at.0)
        .bind(&outcome.machine)
        .bind(path)
        .bind(digest)
        .bind(outcome.before as i64)
        .bind(outcome.after.map(|after| after as i64))
        .bind(word(outcome.came))
        .bind(&outcome.preset)
        .bind(&outcome.how)
        .bind(outcome.for_good)
        .bind(&outcome.note)
        .execute(&mut *db)
        .await?;
    let again = "UPDATE file SET verdict = NULL WHERE digest = ? AND size = ?";
    let again = sqlx::query(again).bind(digest).bind(outcome.before as i64);
    again.execute(&mut *db).await.map(|_| ())
}

/// Writes it into the history of its file, where that is known.
async fn note(
    db: &mut SqliteConnection,
    library: i64,
    outcome: &Outcome,
) -> Result<(), sqlx::Error> {
    let path = names::decode(&outcome.file).unwrap_or_else(|| outcome.file.as_bytes().to_vec());
    let folder = parent(&path);
    let name = path.strip_prefix(folder).unwrap_or(&path);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let sizes = outcome.after.map(|after| format!(": {} bytes became {after}", outcome.before));
    let why = outcome.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
    let by = if outcome.how.is_empty() { String::new() } else { format!(" by '{}'", outcome.how) };
    let note = format!("on {}{by}{}{why}", outcome.machine, sizes.unwrap_or_default());
    let put = "INSERT INTO event (file, at, what, note) \
               SELECT f.id, ?, ?, ? FROM file f JOIN folder d ON d.id = f.folder \
               WHERE d.library = ? AND d.path = ? AND f.name = ?";
    let put = sqlx::query(put).bind(outcome.at.0).bind(word(outcome.came)).bind(note);
    put.bind(library).bind(folder).bind(name).execute(db).await.map(|_| ())
}

#[cfg(test)]
mod tests;
