//! Questions to the scan cache.

use super::{LibraryFile, LibraryStore, rows};
use crate::StoreError;
use crate::sqlite::fault;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

/// Which files; an empty filter takes all that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// Of this library only.
    pub library: Option<i64>,
    /// With HDR of any kind.
    pub hdr: bool,
    /// Whose picture, or one of whose audio tracks, has this codec.
    pub codec: Option<String>,
    /// Whose picture has this size: width and height.
    pub resolution: Option<(u32, u32)>,
    /// One of whose audio tracks has this language.
    pub audio_language: Option<String>,
    /// In whose path this text stands, whatever its case.
    pub search: Option<String>,
    /// Which cannot be read.
    pub failed: bool,
    /// Beyond this row: for the next page.
    pub after: i64,
}

/// Files, bytes and hours of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryStats {
    /// Codec of the picture, or of the sound where there is none.
    pub sort: String,
    /// How many.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds.
    pub duration_ms: u64,
}

impl FileFilter {
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push(" WHERE gone_at IS NULL AND id > ").push_bind(self.after);
        if let Some(library) = self.library {
            query.push(" AND library = ").push_bind(library);
        }
        if self.hdr {
            query.push(" AND hdr IS NOT NULL AND hdr <> 'none'");
        }
        if let Some(codec) = &self.codec {
            let codec = codec.to_lowercase();
            query.push(" AND (codec = ").push_bind(codec.clone());
            query.push(" OR instr('|' || audio, '|' || ").push_bind(codec).push(" || ':') > 0)");
        }
        if let Some((width, height)) = self.resolution {
            query.push(" AND width = ").push_bind(width).push(" AND height = ").push_bind(height);
        }
        if let Some(language) = &self.audio_language {
            let word = format!(" {} ", language.to_lowercase());
            query.push(" AND instr(audio_languages, ").push_bind(word).push(") > 0");
        }
        if let Some(text) = &self.search {
            query.push(" AND instr(lower(CAST(path AS TEXT)), ").push_bind(text.to_lowercase());
            query.push(") > 0");
        }
        if self.failed {
            query.push(" AND failure IS NOT NULL");
        }
    }
}

fn counted(row: &SqliteRow) -> Result<LibraryStats, sqlx::Error> {
    let number = |at: usize| row.try_get::<i64, _>(at).map(|n| n as u64);
    Ok(LibraryStats {
        sort: row.try_get(0)?,
        files: number(1)?,
        bytes: number(2)?,
        duration_ms: number(3)?,
    })
}

impl LibraryStore {
    /// A page of at most `limit` files with their rows, in the order of rows.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn find(
        &self,
        filter: &FileFilter,
        limit: u32,
    ) -> Result<Vec<(i64, LibraryFile)>, StoreError> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(rows::COLUMNS).push(" FROM file");
        filter.conditions(&mut query);
        query.push(" ORDER BY id LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(&self.pool).await.map_err(fault)?;
        let decode = |row: &SqliteRow| Ok((row.try_get(0)?, rows::file(row)?));
        rows.iter().map(decode).collect::<Result<_, _>>().map_err(fault)
    }

    /// Files by the codec of their picture (or sound), the most bytes first.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn stats(&self, filter: &FileFilter) -> Result<Vec<LibraryStats>, StoreError> {
        let sort = "CASE WHEN failure IS NOT NULL THEN 'unreadable' WHEN codec IS NOT NULL THEN codec \
                    ELSE substr(audio, 1, instr(audio || ':', ':') - 1) END";
        let mut query = QueryBuilder::new("SELECT ");
        query.push(sort);
        query.push(", count(*), sum(size), ifnull(sum(duration_ms), 0) FROM file");
        filter.conditions(&mut query);
        query.push(" GROUP BY 1 ORDER BY 3 DESC, 1");
        let rows = query.build().fetch_all(&self.pool).await.map_err(fault)?;
        rows.iter().map(counted).collect::<Result<_, _>>().map_err(fault)
    }
}
