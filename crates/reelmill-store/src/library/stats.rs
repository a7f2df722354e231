//! Sums over the files of libraries.

use super::query::list;
use super::{FileFilter, LibraryStore};
use crate::StoreError;
use crate::sqlite::fault;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row};

/// By what statistics are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Codec of the picture; of the first sound where there is none.
    Codec,
    /// Size of the picture.
    Resolution,
    /// Kind of HDR.
    Hdr,
    /// Profile and enhancement layer of Dolby Vision.
    DolbyVision,
    /// Container.
    Container,
}

/// Files, bytes and time of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryStats {
    /// The sort; `unreadable` where files cannot be read.
    pub sort: String,
    /// How many.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds.
    pub duration_ms: u64,
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
    /// Files of each sort, the most bytes first. From sums that the last scan
    /// made, unless folder or path are asked for.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn stats(
        &self,
        filter: &FileFilter,
        by: Group,
    ) -> Result<Vec<LibraryStats>, StoreError> {
        let sort = match by {
            Group::Codec => {
                "ifnull(s.codec, trim(substr(ltrim(s.audio_codecs), 1, instr(ltrim(s.audio_codecs), ' '))))"
            }
            Group::Resolution => "ifnull(s.width || 'x' || s.height, 'no picture')",
            Group::Hdr => "ifnull(s.hdr, 'no picture')",
            Group::DolbyVision => {
                "ifnull('profile ' || s.dv_profile || ifnull(' ' || upper(s.dv_layer), ''), 'none')"
            }
            Group::Container => "s.container",
        };
        let mut query =
            QueryBuilder::new("SELECT CASE WHEN t.shape IS NULL THEN 'unreadable' ELSE ");
        query.push(sort).push(" END, sum(t.files), sum(t.bytes), sum(t.duration_ms) FROM ");
        if filter.folder.is_some() || filter.search.is_some() {
            let ids = self.all_ids(filter).await?;
            query.push(
                "(SELECT shape, verdict, 1 AS files, size AS bytes, \
                        ifnull(duration_ms, 0) AS duration_ms FROM file WHERE id IN ",
            );
            list(&mut query, &ids);
            query.push(") t LEFT JOIN shape s ON s.id = t.shape WHERE TRUE");
        } else {
            query.push("tally t LEFT JOIN shape s ON s.id = t.shape WHERE TRUE");
            if let Some(library) = filter.library {
                query.push(" AND t.library = ").push_bind(library);
            }
            if !filter.answers.is_empty() {
                query.push(" AND t.verdict IN (SELECT id FROM verdict WHERE converts IN ");
                list(&mut query, &filter.numbers());
                query.push(")");
            }
            if filter.failed {
                query.push(" AND t.shape IS NULL");
            }
            filter.shapes(&mut query);
        }
        query.push(" GROUP BY 1 ORDER BY 3 DESC, 1");
        let rows = query.build().fetch_all(&self.pool).await.map_err(fault)?;
        rows.iter().map(counted).collect::<Result<_, _>>().map_err(fault)
    }
}
