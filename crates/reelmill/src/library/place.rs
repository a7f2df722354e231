//! Where a library is, and who it is: its mark lies in it, so that it is the
//! same library on every machine and under every mount.

use super::known::Known;
use super::sidecar::Sidecar;
use crate::clock;
use crate::share::library::{FOLDER, root_of};
use reelmill_core::error::{Failure, FailureClass};
use reelmill_store::{LibraryRecord, LibraryStore};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The library's mark, within that folder.
const MARK: &str = "library.json";

/// The scan, within that folder.
const SIDECAR: &str = "scan.txt";

/// Largest mark that is read, bytes.
const MARK_BYTES: u64 = 4096;

/// A library's mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Its name for all machines.
    library: String,
}

/// A library that is there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its root on this machine.
    pub(crate) root: PathBuf,
    /// The part of it that is meant; empty for all.
    pub(crate) within: Vec<u8>,
    /// What the cache knows of it.
    pub(crate) record: LibraryRecord,
    /// Where its sidecar lies: in the library, or where the cache is when that
    /// cannot be written to.
    pub(crate) sidecar: PathBuf,
    /// Why nothing can be written into the library, if so.
    pub(crate) unwritable: Option<String>,
}

/// What is known of a library's files.
pub(crate) struct Remembered {
    /// By this machine.
    pub(crate) known: Known,
    /// By another one, where that may be more.
    pub(crate) other: Option<Known>,
    /// The sidecar that says the same as the cache, if it does.
    pub(crate) snapshot: Option<String>,
}

/// Why a place is none.
#[derive(Debug)]
pub(crate) enum NoPlace {
    /// It is known, and it is not there: an alarm.
    Vanished(Failure),
    /// Something else.
    Failed(Failure),
}

impl From<Failure> for NoPlace {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<reelmill_store::StoreError> for NoPlace {
    fn from(error: reelmill_store::StoreError) -> Self {
        Self::Failed(error.failure())
    }
}

/// The alarm about a library at `root`: `what` happened.
pub(crate) fn alarm(root: &Path, what: &str) -> Failure {
    let message = format!("{}: {what}; nothing was changed", root.display());
    Failure::new(FailureClass::Environment, message).advise(
        "check that its disk or share is mounted; if the files are really gone, add --accept-missing",
    )
}

impl Place {
    /// The library that `dir` belongs to; marks it when it is new.
    ///
    /// # Errors
    /// `Vanished` when it is known and not there.
    pub(crate) async fn open(
        dir: &Path,
        store: &LibraryStore,
        caches: &Path,
    ) -> Result<Self, NoPlace> {
        let folder = match std::fs::canonicalize(dir)
            .and_then(|folder| readable(&folder).map(|()| folder))
        {
            Ok(folder) => folder,
            Err(error) => return Err(missing(dir, &error, store).await?),
        };
        let root = root_of(&folder).unwrap_or_else(|| folder.clone());
        let within =
            folder.strip_prefix(&root).unwrap_or(Path::new("")).as_os_str().as_bytes().to_vec();
        let seen = store.seen_at(root.as_os_str().as_bytes()).await?;
        let home = root.join(FOLDER);
        let (uuid, unwritable) = match (read_mark(&home)?, seen) {
            (Some(mark), _) => (mark, None),
            (None, seen) => {
                let uuid = seen.map_or_else(|| clock::fresh().to_string(), |record| record.uuid);
                let why = write_mark(&home, &uuid).err().map(|error| error.to_string());
                (uuid, why)
            }
        };
        let record = store.library(&uuid, root.as_os_str().as_bytes()).await?;
        let sidecar = match unwritable {
            None => home.join(SIDECAR),
            Some(_) => caches.join(format!("{uuid}.scan")),
        };
        Ok(Self { root, within, record, sidecar, unwritable })
    }

    /// The library that `path` lies in, if this machine has scanned it; the path
    /// itself need not be there. Writes nothing.
    ///
    /// # Errors
    /// When the cache or a mark cannot be read.
    pub(crate) async fn find(path: &Path, store: &LibraryStore) -> Result<Option<Self>, Failure> {
        let absolute = std::path::absolute(path)
            .map_err(|e| Failure::io(format!("find {}", path.display()), &e))?;
        // The name itself may be a link, or gone.
        let folder = absolute.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
        let real = match (std::fs::canonicalize(&absolute), folder, absolute.file_name()) {
            (Ok(real), _, _) if real.is_dir() => real,
            (_, Some(folder), Some(name)) => folder.join(name),
            _ => absolute,
        };
        for root in real.ancestors() {
            let home = root.join(FOLDER);
            let record = match read_mark(&home)? {
                Some(mark) => {
                    let all = store.libraries().await.map_err(|e| e.failure())?;
                    all.into_iter().find(|record| record.uuid == mark)
                }
                None => {
                    store.seen_at(root.as_os_str().as_bytes()).await.map_err(|e| e.failure())?
                }
            };
            if let Some(record) = record {
                let within = real.strip_prefix(root).unwrap_or(Path::new(""));
                let within = within.as_os_str().as_bytes().to_vec();
                let sidecar = home.join(SIDECAR);
                return Ok(Some(Self {
                    root: root.to_owned(),
                    within,
                    record,
                    sidecar,
                    unwritable: None,
                }));
            }
        }
        Ok(None)
    }

    /// What its sidecar knows, if it is this library's.
    pub(crate) fn sidecar(&self) -> Option<Sidecar> {
        Sidecar::open(&self.sidecar).filter(|sidecar| sidecar.head.library == self.record.uuid)
    }

    /// What is known of its files: from the sidecar when that says the same as
    /// the cache, else from the cache; and what another machine's sidecar knows.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub(crate) async fn known(&self, store: &LibraryStore) -> Result<Remembered, Failure> {
        let sidecar = self.sidecar();
        let snapshot = sidecar.as_ref().map(|sidecar| sidecar.head.snapshot.clone());
        let same = snapshot.is_some() && snapshot == self.record.snapshot;
        let read = sidecar.and_then(Sidecar::read);
        let snapshot = snapshot.filter(|_| read.is_some());
        match (same, read) {
            (true, Some(known)) => Ok(Remembered { known, other: None, snapshot }),
            (_, other) => {
                let known = from_cache(store, self.record.id).await?;
                // It says something else than the cache, unless it turns out not to.
                let snapshot =
                    snapshot.filter(|_| other.as_ref().is_some_and(|o| o.same_files(&known)));
                Ok(Remembered { known, other, snapshot })
            }
        }
    }

    /// The path on this machine of a path within the library.
    pub(crate) fn path(&self, within: &[u8]) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(within))
    }
}

/// Looking into a folder tells at once whether that is allowed.
fn readable(folder: &Path) -> std::io::Result<()> {
    std::fs::read_dir(folder).map(drop)
}

async fn missing(
    dir: &Path,
    error: &std::io::Error,
    store: &LibraryStore,
) -> Result<NoPlace, NoPlace> {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    for above in absolute.ancestors() {
        if store.seen_at(above.as_os_str().as_bytes()).await?.is_some() {
            let what = format!("it is a known library, and cannot be read ({error})");
            return Ok(NoPlace::Vanished(alarm(dir, &what)));
        }
    }
    let failure = match error.kind() {
        ErrorKind::NotADirectory => Failure::input(format!("{} is not a folder", dir.display()))
            .advise("name the folder that it lies in"),
        _ => Failure {
            class: FailureClass::Input,
            ..Failure::io(format!("read the folder {}", dir.display()), error)
        },
    };
    Ok(NoPlace::Failed(failure))
}

fn read_mark(home: &Path) -> Result<Option<String>, Failure> {
    let path = home.join(MARK);
    let file = match std::fs::File::open(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.map_err(|e| Failure::io(format!("read {}", path.display()), &e))?,
    };
    let mark: Result<Mark, _> = serde_json::from_reader(std::io::Read::take(file, MARK_BYTES));
    match mark {
        Ok(mark) if !mark.library.is_empty() && mark.library.len() <= 64 => Ok(Some(mark.library)),
        _ => Err(Failure::permanent(format!(
            "{} does not say which library this is",
            path.display()
        ))
        .advise("restore it from a backup, or remove it: the library is then taken for a new one")),
    }
}

/// Marks the library. When two machines do so at once, one mark stays.
fn write_mark(home: &Path, uuid: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(home)?;
    let mark = serde_json::to_string(&Mark { library: uuid.to_owned() })?;
    let mut part = tempfile::Builder::new().prefix(".mark-").tempfile_in(home)?;
    std::io::Write::write_all(&mut part, mark.as_bytes())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    part.as_file().set_permissions(mode)?;
    part.as_file().sync_all()?;
    part.persist(home.join(MARK)).map(drop).map_err(|error| error.error)
}

/// What the cache knows of a library's files.
async fn from_cache(store: &LibraryStore, library: i64) -> Result<Known, Failure> {
    use super::known::Entry;
    use reelmill_core::library::files::Seen;
    let mut known = Known::default();
    let (mut shapes, mut folder) = (std::collections::HashMap::new(), None);
    let told = store.each(library, |file| {
        if folder.as_ref() != Some(&file.folder) {
            known.folder(&file.folder);
            folder = Some(file.folder.clone());
        }
        let facts = match &file.facts {
            Err(trouble) => Err(trouble.clone()),
            Ok(facts) => {
                let mut shape = facts.clone();
                let duration = shape.duration_ms.take();
                let fps = shape.video.as_mut().and_then(|video| video.fps_milli.take());
                let number = *shapes.entry(shape).or_insert_with_key(|shape| {
                    known.shape(&serde_json::to_string(shape).unwrap_or_default())
                });
                Ok((number, duration, fps))
            }
        };
        let seen = Seen { name: &file.name, size: file.size, mtime: file.mtime };
        known.file(&file.folder, &Entry { seen, digest: file.digest, facts });
        Ok::<_, reelmill_store::StoreError>(())
    });
    told.await?;
    Ok(known)
}
