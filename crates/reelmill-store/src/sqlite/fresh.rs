//! A database that is not there yet: made beside its place, and put there whole.
//!
//! Each migration is a transaction, and each of those waits for the disk. Nothing of
//! a draft counts before all of it is there, so it waits once, at its end.

use super::fault;
use super::guard::io;
use crate::StoreError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What SQLite adds to the name of a database for files of its own.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Whether [`make`] has anything to do at `path`: nothing is there, or a draft is.
pub(crate) fn is_wanted(path: &Path) -> bool {
    !is_there(path) || is_there(&draft_of(path))
}

/// Makes the database at `path`, marked as of `application` (0: not marked), unless a
/// file of that name is there; `false` when it did not. Removes what an earlier
/// attempt left. The caller sees to it that nobody else does this meanwhile.
///
/// # Errors
/// When the disk is full, or cannot be written to.
pub(crate) async fn make(
    path: &Path,
    migrations: &Migrator,
    application: u32,
) -> Result<bool, StoreError> {
    let draft = draft_of(path);
    remove(&draft)?;
    // With a log or journal but no database, SQLite knows what to do: with a database
    // that they do not belong to, it would not.
    if is_there(path) || BESIDE.iter().any(|more| is_there(&with(path, more))) {
        return Ok(false);
    }
    let made = match write(&draft, migrations, application).await {
        Ok(()) => publish(&draft, path),
        Err(error) => Err(error),
    };
    if !matches!(made, Ok(true)) {
        remove(&draft)?;
    }
    made
}

/// Runs the migrations that the database has not had.
pub(crate) async fn migrate(
    migrations: &Migrator,
    db: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    migrations.run(db).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => fault(error),
        other => StoreError::Corrupt(format!("{}: {other}", path.display())),
    })
}

/// Marks a database as that of a program.
pub(super) async fn mark(db: &mut SqliteConnection, application: u32) -> Result<(), StoreError> {
    let mark = format!("PRAGMA application_id = {application}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(db).await.map_err(fault)?;
    Ok(())
}

/// Writes a draft; a crash of the machine may leave anything of it.
async fn write(draft: &Path, migrations: &Migrator, application: u32) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(draft)
        .create_if_missing(true)
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off);
    let mut db = options.connect().await.map_err(fault)?;
    if application != 0 {
        mark(&mut db, application).await?;
    }
    migrate(migrations, &mut db, draft).await?;
    db.close().await.map_err(fault)?;
    if is_there(&with(draft, "-wal")) {
        let message = format!("{} could not be closed", draft.display());
        return Err(StoreError::Io(message));
    }
    Ok(())
}

/// Puts a whole draft in its place, durably; `false` when something is there by now,
/// or the file system cannot do it without replacing what may be.
fn publish(draft: &Path, path: &Path) -> Result<bool, StoreError> {
    let flushed = File::open(draft).and_then(|draft| draft.sync_all());
    flushed.map_err(|error| io("flush", draft, &error))?;
    if !give_name(draft, path) {
        return Ok(false);
    }
    if cfg!(unix) {
        let folder = super::guard::folder_of(path);
        let flushed = File::open(folder).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| io("flush the folder", folder, &error))?;
    }
    Ok(true)
}

/// Names the draft `path`, if nothing is called that; `false` when it was not done.
fn give_name(draft: &Path, path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE).is_ok() {
            return true;
        }
    }
    // Here a crash leaves both names, of which the next start removes one.
    std::fs::hard_link(draft, path).is_ok() && std::fs::remove_file(draft).is_ok()
}

fn draft_of(path: &Path) -> PathBuf {
    with(path, ".new")
}

fn with(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Whether anything is called that, be it a link to nothing.
fn is_there(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Removes a draft with SQLite's files beside it, if there is one.
fn remove(draft: &Path) -> Result<(), StoreError> {
    for more in BESIDE.iter().chain(&[""]) {
        let path = with(draft, more);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io("remove", &path, &error)),
        }
    }
    Ok(())
}
