//! A database that is made anew: by several processes at once it is one, and a process
//! that is killed at any of its system calls leaves all of it or nothing.
#![expect(clippy::unwrap_used, reason = "a test")]

use reelmill_store::{LibraryStore, SqliteStore, Store, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Names the folder to a process that is to make databases in it.
const FOLDER: &str = "REELMILL_TEST_FRESH_FOLDER";

/// Which of them it is.
const NAME: &str = "REELMILL_TEST_FRESH_NAME";

/// System calls that change what lies in a folder.
const CALLS: &str =
    "openat,pwrite64,write,fsync,ftruncate,fallocate,rename,renameat2,link,linkat,unlink,flock";

fn jobs(folder: &Path) -> PathBuf {
    folder.join("jobs.db")
}

fn library(folder: &Path) -> PathBuf {
    folder.join("library.db")
}

/// The job store, as soon as nobody has it.
async fn open(path: &Path) -> SqliteStore {
    loop {
        match SqliteStore::open(path).await {
            Err(StoreError::InUse { .. } | StoreError::Busy(_)) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

/// Run as a process of its own, by the tests below.
#[tokio::test]
async fn make_databases_when_told() {
    let (Ok(folder), Ok(name)) = (std::env::var(FOLDER), std::env::var(NAME)) else { return };
    let folder = Path::new(&folder);
    if name != "only jobs" {
        let store = LibraryStore::open(&library(folder)).await.unwrap();
        store.library(&name, name.as_bytes()).await.unwrap();
        store.close().await;
    }
    if name != "only library" {
        let store = open(&jobs(folder)).await;
        store.meta_put(&name, Some("was here")).await.unwrap();
        store.close().await.unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the process is this test itself")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn maker(folder: &Path, name: &str, strace: &[&str]) -> Command {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let args = ["--exact", "make_databases_when_told"];
    let mut made = match strace {
        [] => command(own),
        _ => command("strace"),
    };
    if !strace.is_empty() {
        made.args(["-f", "-qq"]).args(strace).arg(own);
    }
    made.args(args).env(FOLDER, folder).env(NAME, name);
    made.stdout(Stdio::null()).stderr(Stdio::null());
    made
}

#[tokio::test]
async fn processes_that_make_it_at_once_end_with_one() {
    for round in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..8).map(|number| format!("process {number}")).collect();
        let start = |name: &String| maker(folder.path(), name, &[]).spawn().unwrap();
        let running: Vec<Child> = names.iter().map(start).collect();
        for mut one in running {
            assert!(one.wait().unwrap().success(), "round {round}");
        }
        let store = LibraryStore::open(&library(folder.path())).await.unwrap();
        let mut known: Vec<_> = store.libraries().await.unwrap();
        known.sort_by(|one, other| one.uuid.cmp(&other.uuid));
        let known: Vec<_> = known.into_iter().map(|library| library.uuid).collect();
        assert_eq!(known, names, "round {round}: each wrote to the one library");
        let store = open(&jobs(folder.path())).await;
        for name in &names {
            assert!(store.meta_get(name).await.unwrap().is_some(), "round {round}: {name}");
        }
    }
}

/// What is there of a database, before anybody opens it: nothing, or all of it.
fn is_whole(path: &Path, migrations: i64) -> bool {
    if !path.exists() {
        return false;
    }
    // Its log does not count: it has to be whole without.
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri, flags).unwrap();
    let told = |query: &str| db.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(told("PRAGMA integrity_check"), "ok");
    let had = told("SELECT CAST(count(*) AS TEXT) FROM _sqlx_migrations WHERE success");
    assert_eq!(had, migrations.to_string(), "{}", path.display());
    true
}

fn migrations(kind: &str) -> i64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(kind);
    i64::try_from(std::fs::read_dir(folder).unwrap().count()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Both databases can be opened, written to and closed, and nothing else is left.
async fn goes_on(folder: &Path) {
    let store = LibraryStore::open(&library(folder)).await.unwrap();
    store.library("after", b"after").await.unwrap();
    store.close().await;
    let store = open(&jobs(folder)).await;
    store.meta_put("after", Some("")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let left = ["jobs.db", "jobs.db.lock", "library.db", "library.db.lock"];
    assert_eq!(names(folder), left);
}

/// How often each call is made, by the thread that makes it most.
fn counts(log: &str, folder: &Path) -> BTreeMap<String, usize> {
    let mut each: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut begun = false;
    let mut wanted = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((call, args)) = rest.trim_start().split_once('(') else { continue };
        let number = each.entry((thread, call)).or_insert(0);
        *number += 1;
        begun |= args.contains(folder.to_str().unwrap());
        if begun && call.chars().all(char::is_alphanumeric) {
            let most = wanted.entry(call.to_owned()).or_insert(0);
            *most = (*number).max(*most);
        }
    }
    wanted
}

#[tokio::test]
async fn a_kill_at_any_call_leaves_all_or_nothing() {
    let long = std::env::var_os("REELMILL_TEST_LONG").is_some_and(|value| value == "1");
    let trace = format!("trace={CALLS}");
    for (name, kind, path) in
        [("only jobs", "sqlite", jobs as fn(&Path) -> _), ("only library", "library", library)]
    {
        let folder = tempfile::tempdir().unwrap();
        let (state, log) = (folder.path().join("state"), folder.path().join("log"));
        let strace = ["-o", log.to_str().unwrap(), "-e", &trace];
        let traced = maker(&state, name, &strace).status();
        if !traced.is_ok_and(|status| status.success()) {
            not_run("databases made under fire", "strace cannot trace here");
            return;
        }
        let counts = counts(&std::fs::read_to_string(&log).unwrap(), &state);
        assert!(counts.get("pwrite64").is_some_and(|writes| *writes > 20), "{counts:?}");
        let (mut drafts, mut whole) = (0, 0);
        for (call, most) in counts {
            let few = if long { 1 } else { most.div_ceil(6) };
            for number in (1..=most).step_by(few) {
                let folder = tempfile::tempdir().unwrap();
                let inject = format!("inject={call}:signal=SIGKILL:when={number}");
                let strace = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
                maker(folder.path(), name, &strace).status().unwrap();
                let drafted = names(folder.path()).iter().any(|name| name.contains(".new"));
                drafts += usize::from(drafted);
                whole += usize::from(is_whole(&path(folder.path()), migrations(kind)));
                goes_on(folder.path()).await;
            }
        }
        assert!(drafts > 0 && whole > 0, "{name}: {drafts} drafts, {whole} whole");
    }
}

/// Lists a group of tests as not run.
fn not_run(group: &str, why: &str) {
    use std::io::Write;
    let Some(file) = std::env::var_os("REELMILL_NOT_RUN") else { return };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    writeln!(file, "NOT RUN: {group} ({why})").unwrap();
}

#[tokio::test]
async fn what_a_crash_left_of_a_draft_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    for database in ["jobs.db", "library.db"] {
        for more in [".new", ".new-wal", ".new-shm", ".new-journal"] {
            std::fs::write(folder.path().join(format!("{database}{more}")), "half").unwrap();
        }
    }
    goes_on(folder.path()).await;
    // A second name of what is in place, where renaming is not to be had.
    for database in ["jobs.db", "library.db"] {
        let path = folder.path().join(database);
        std::fs::hard_link(&path, folder.path().join(format!("{database}.new"))).unwrap();
    }
    goes_on(folder.path()).await;
    let store = open(&jobs(folder.path())).await;
    assert!(store.meta_get("after").await.unwrap().is_some(), "it is the same one");
}

#[tokio::test]
async fn the_log_of_a_database_that_is_gone_is_not_taken_for_that_of_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (jobs(folder.path()), folder.path().join("jobs.db-wal"));
    let store = SqliteStore::open(&path).await.unwrap();
    store.meta_put("old", Some("value")).await.unwrap();
    let old = std::fs::read(&log).unwrap();
    assert!(!old.is_empty());
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&log, old).unwrap();
    let store = open(&path).await;
    assert_eq!(store.meta_get("old").await.unwrap(), None);
    store.meta_put("new", Some("value")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    assert!(is_whole(&path, migrations("sqlite")));
}
