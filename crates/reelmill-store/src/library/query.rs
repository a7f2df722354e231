//! Questions to the scan cache. What is asked of facts is answered by the few
//! shapes that fit; their files are then found by index, so that a page costs
//! about the same however large the library is.

use super::rows::{among, from_json, word};
use super::{KeptBy, LibraryFile, LibraryStore, rows};
use crate::StoreError;
use crate::sqlite::fault;
use reelmill_core::dolby::EnhancementLayer;
use reelmill_core::facts::MediaKind;
use reelmill_core::library::rules::{Answer, Verdict};
use reelmill_core::media::Hdr;
use reelmill_core::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

/// Shapes whose files are looked for one shape after the other; SQLite joins at
/// most 500 such parts.
const MOST_PARTS: usize = 200;

/// Which files; an empty filter takes all that are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileFilter {
    /// Of this library only.
    pub library: Option<i64>,
    /// In this folder of it, or below.
    pub folder: Option<Vec<u8>>,
    /// Of any of these kinds.
    pub kinds: Vec<MediaKind>,
    /// With any of these kinds of HDR.
    pub hdr: Vec<Hdr>,
    /// With Dolby Vision of any of these profiles.
    pub dolby_profiles: Vec<u8>,
    /// With any of these kinds of enhancement layer.
    pub dolby_layers: Vec<EnhancementLayer>,
    /// With all of these levels of Dolby Vision's metadata.
    pub dolby_levels: Vec<u8>,
    /// With HDR10+, or without.
    pub hdr10plus: Option<bool>,
    /// Whose picture, or one of whose audio tracks, has this codec.
    pub codec: Option<String>,
    /// In this container.
    pub container: Option<String>,
    /// Whose picture has this size: width and height.
    pub resolution: Option<(u32, u32)>,
    /// One of whose audio tracks has this language.
    pub audio_language: Option<String>,
    /// One of whose subtitle tracks has this language.
    pub subtitle_language: Option<String>,
    /// In whose path this text stands, whatever its case.
    pub search: Option<String>,
    /// Which cannot be read.
    pub failed: bool,
    /// Of which the rules, and what was tried, say any of this.
    pub answers: Vec<Answer>,
    /// Beyond this row: for the next page.
    pub after: i64,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundFile {
    /// Its row; the next page begins after it.
    pub id: i64,
    /// The row of its library.
    pub library: i64,
    /// The file.
    pub file: LibraryFile,
    /// What becomes of it, once judged.
    pub verdict: Option<Verdict>,
    /// When a scan saw it first.
    pub first_seen: Timestamp,
    /// The try after which it stays as it is, where that is why.
    pub kept: Option<KeptBy>,
}

/// What of a filter SQLite decides file by file.
struct Residue<'f> {
    filter: &'f FileFilter,
    shapes: Option<&'f [i64]>,
    verdicts: Option<&'f [i64]>,
}

impl FileFilter {
    fn asks_facts(&self) -> bool {
        let plain = Self {
            library: self.library,
            folder: self.folder.clone(),
            search: self.search.clone(),
            failed: self.failed,
            answers: self.answers.clone(),
            after: self.after,
            ..Self::default()
        };
        *self != plain
    }

    /// The answers, as the column `converts` has them.
    pub(super) fn numbers(&self) -> Vec<i64> {
        self.answers.iter().map(|answer| *answer as i64).collect()
    }

    /// The conditions on the shape of a file.
    pub(super) fn shapes(&self, query: &mut QueryBuilder<Sqlite>) {
        if !self.kinds.is_empty() {
            let kinds: Vec<_> = self.kinds.iter().filter_map(word).collect();
            list(query.push(" AND kind IN "), &kinds);
        }
        if !self.hdr.is_empty() {
            let kinds: Vec<_> = self.hdr.iter().filter_map(word).collect();
            list(query.push(" AND hdr IN "), &kinds);
        }
        if !self.dolby_profiles.is_empty() {
            list(query.push(" AND dv_profile IN "), &self.dolby_profiles);
        }
        if !self.dolby_layers.is_empty() {
            let layers: Vec<_> = self.dolby_layers.iter().filter_map(word).collect();
            list(query.push(" AND dv_layer IN "), &layers);
        }
        for level in &self.dolby_levels {
            let level = among(&level.to_string());
            query.push(" AND instr(dv_levels, ").push_bind(level).push(") > 0");
        }
        if let Some(wanted) = self.hdr10plus {
            query.push(" AND hdr10plus = ").push_bind(wanted);
        }
        if let Some(codec) = &self.codec {
            query.push(" AND (codec = ").push_bind(codec.to_lowercase());
            query.push(" OR instr(audio_codecs, ").push_bind(among(codec)).push(") > 0)");
        }
        if let Some(container) = &self.container {
            query.push(" AND container = ").push_bind(container.to_lowercase());
        }
        if let Some((width, height)) = self.resolution {
            query.push(" AND width = ").push_bind(width).push(" AND height = ").push_bind(height);
        }
        if let Some(language) = &self.audio_language {
            query.push(" AND instr(audio_languages, ").push_bind(among(language)).push(") > 0");
        }
        if let Some(language) = &self.subtitle_language {
            query.push(" AND instr(subtitle_languages, ").push_bind(among(language)).push(") > 0");
        }
    }
}

/// `values` as a list that is bound whole.
pub(super) fn list<T: serde::Serialize>(query: &mut QueryBuilder<Sqlite>, values: &[T]) {
    let text = serde_json::to_string(values).unwrap_or_else(|_| "[]".into());
    query.push("(SELECT value FROM json_each(").push_bind(text).push("))");
}

impl Residue<'_> {
    /// All that is asked of a row of `file f`, beyond the shapes when those are
    /// seen to already.
    fn push(&self, query: &mut QueryBuilder<Sqlite>, with_shapes: bool) {
        query.push(" f.gone_at IS NULL AND f.id > ").push_bind(self.filter.after);
        if let (Some(shapes), true) = (self.shapes, with_shapes) {
            list(query.push(" AND +f.shape IN "), shapes);
        }
        if let Some(verdicts) = self.verdicts {
            list(query.push(" AND +f.verdict IN "), verdicts);
        }
        if self.filter.failed {
            query.push(" AND f.failure IS NOT NULL");
        }
        if self.filter.library.is_none() && self.filter.folder.is_none() {
            return;
        }
        query.push(" AND EXISTS (SELECT 1 FROM folder d WHERE d.id = f.folder");
        if let Some(library) = self.filter.library {
            query.push(" AND d.library = ").push_bind(library);
        }
        if let Some(folder) = self.filter.folder.clone().filter(|folder| !folder.is_empty()) {
            // '0' follows '/': all paths that begin with the folder and a slash.
            let (from, below) = ([&folder[..], b"/"].concat(), [&folder[..], b"0"].concat());
            query.push(" AND (d.path = ").push_bind(folder).push(" OR (d.path >= ").push_bind(from);
            query.push(" AND d.path < ").push_bind(below).push("))");
        }
        query.push(")");
    }

    /// The statement that yields at most `limit` rows of files, in their order.
    fn ids(&self, limit: u32) -> QueryBuilder<Sqlite> {
        let mut query = QueryBuilder::new("");
        let (key, parts) = match (self.shapes, self.verdicts) {
            (Some(shapes), _) => ("shape", shapes),
            (None, Some(verdicts)) => ("verdict", verdicts),
            (None, None) => ("", &[][..]),
        };
        if let Some(text) = &self.filter.search {
            query.push(
                "SELECT f.id FROM search x CROSS JOIN file f ON f.id = x.rowid WHERE x.path LIKE ",
            );
            let text = text.to_lowercase();
            query.push_bind(format!("%{text}%"));
            // '%' and '_' stand for anything in LIKE.
            query.push(" AND instr(x.path, ").push_bind(text).push(") > 0 AND x.rowid > ");
            query.push_bind(self.filter.after).push(" AND");
            self.push(&mut query, true);
            query.push(" ORDER BY x.rowid LIMIT ").push_bind(limit);
        } else if key.is_empty() || parts.len() > MOST_PARTS {
            query.push("SELECT f.id FROM file f WHERE");
            self.push(&mut query, true);
            query.push(" ORDER BY f.id LIMIT ").push_bind(limit);
        } else {
            query.push("SELECT id FROM (");
            for (at, part) in parts.iter().enumerate() {
                query.push(if at == 0 { "" } else { " UNION ALL " });
                query.push("SELECT * FROM (SELECT f.id FROM file f WHERE f.").push(key).push(" = ");
                query.push_bind(*part).push(" AND");
                self.push(&mut query, false);
                query.push(" ORDER BY f.id LIMIT ").push_bind(limit).push(")");
            }
            query.push(") ORDER BY id LIMIT ").push_bind(limit);
        }
        query
    }
}

/// What is told of a file; the columns that [`found`] reads.
const FOUND: &str = "SELECT f.id, d.library, f.first_seen, v.verdict, d.path, f.name, f.size, f.mtime, \
    f.digest, f.failure, f.retry, s.facts, f.duration_ms, f.fps_milli \
    FROM file f JOIN folder d ON d.id = f.folder LEFT JOIN shape s ON s.id = f.shape \
    LEFT JOIN verdict v ON v.id = f.verdict";

fn found(row: &SqliteRow) -> Result<FoundFile, sqlx::Error> {
    Ok(FoundFile {
        id: row.try_get(0)?,
        library: row.try_get(1)?,
        first_seen: Timestamp(row.try_get(2)?),
        kept: None,
        verdict: row.try_get::<Option<&str>, _>(3)?.map(from_json).transpose()?,
        file: rows::file(row, 4)?,
    })
}

impl LibraryStore {
    /// A page of at most `limit` files, in the order in which they were found
    /// first.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn find(
        &self,
        filter: &FileFilter,
        limit: u32,
    ) -> Result<Vec<FoundFile>, StoreError> {
        let shapes = self.shapes(filter).await?;
        let verdicts = self.verdicts(filter).await?;
        if shapes.as_ref().is_some_and(Vec::is_empty)
            || verdicts.as_ref().is_some_and(Vec::is_empty)
        {
            return Ok(Vec::new());
        }
        let residue = Residue { filter, shapes: shapes.as_deref(), verdicts: verdicts.as_deref() };
        let mut ids = residue.ids(limit);
        let ids: Vec<i64> = ids.build_query_scalar().fetch_all(&self.pool).await.map_err(fault)?;
        self.files(&ids).await
    }

    /// The files of these rows, in the order of rows.
    pub(super) async fn files(&self, ids: &[i64]) -> Result<Vec<FoundFile>, StoreError> {
        let mut query = QueryBuilder::new(FOUND);
        list(query.push(" WHERE f.id IN "), ids);
        query.push(" ORDER BY f.id");
        let rows = query.build().fetch_all(&self.pool).await.map_err(fault)?;
        let files: Result<Vec<_>, _> = rows.iter().map(found).collect();
        let mut files = files.map_err(fault)?;
        self.tell_kept(&mut files).await?;
        Ok(files)
    }

    /// The file at a path of a library, also when it is gone.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn file_at(
        &self,
        library: i64,
        folder: &[u8],
        name: &[u8],
    ) -> Result<Option<FoundFile>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(FOUND);
        query.push(" WHERE d.library = ").push_bind(library);
        query.push(" AND d.path = ").push_bind(folder.to_vec());
        query.push(" AND f.name = ").push_bind(name.to_vec());
        let row = query.build().fetch_optional(&self.pool).await.map_err(fault)?;
        let mut file = row.as_ref().map(found).transpose().map_err(fault)?;
        self.tell_kept(file.as_mut_slice()).await?;
        Ok(file)
    }

    /// The shapes that a filter takes; `None` when it asks for none.
    async fn shapes(&self, filter: &FileFilter) -> Result<Option<Vec<i64>>, StoreError> {
        if !filter.asks_facts() {
            return Ok(None);
        }
        let mut query = QueryBuilder::new("SELECT id FROM shape WHERE TRUE");
        filter.shapes(&mut query);
        query.build_query_scalar().fetch_all(&self.pool).await.map(Some).map_err(fault)
    }

    async fn verdicts(&self, filter: &FileFilter) -> Result<Option<Vec<i64>>, StoreError> {
        if filter.answers.is_empty() {
            return Ok(None);
        }
        let mut query = QueryBuilder::new("SELECT id FROM verdict WHERE converts IN ");
        list(&mut query, &filter.numbers());
        query.build_query_scalar().fetch_all(&self.pool).await.map(Some).map_err(fault)
    }

    /// The rows of all files that a filter takes.
    pub(super) async fn all_ids(&self, filter: &FileFilter) -> Result<Vec<i64>, StoreError> {
        let (shapes, verdicts) = (self.shapes(filter).await?, self.verdicts(filter).await?);
        let residue = Residue { filter, shapes: shapes.as_deref(), verdicts: verdicts.as_deref() };
        residue.ids(u32::MAX).build_query_scalar().fetch_all(&self.pool).await.map_err(fault)
    }
}
