//! `reelmill query`: what is known of libraries.

use super::args::Common;
use super::library_args::{QueryArgs, StatsBy};
use super::{out, query_render as render, savings, scan};
use crate::exit::{Ending, Exit};
use crate::library::book::{Asked, Book, subject};
use crate::library::ledger;
use crate::library::place::Place;
use reelmill_core::error::Failure;
use reelmill_core::library::missing::parent;
use reelmill_core::library::rules::Answer;
use reelmill_store::{FileFilter, FoundFile, Group, LibraryStore};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Files on a page when nothing else is said.
const PAGE: u32 = 100;

/// Files read from the cache at a time.
const READ: u32 = 2000;

/// Events shown of a file.
const EVENTS: u32 = 50;

/// Runs the command.
pub(crate) async fn run(args: QueryArgs, common: &Common) -> Result<Exit, Ending> {
    let store = scan::open_store().await?;
    if let Some(file) = &args.why {
        return why(file, &args, common, &store).await;
    }
    let names: HashMap<i64, String> = libraries(&store).await?;
    let mut scopes = Vec::new();
    for dir in &args.dirs {
        let place = find(dir, &store).await?;
        judge_anew(&place, &args, &store).await?;
        scopes.push(Some(place));
    }
    if scopes.is_empty() {
        catch_up(&store).await?;
        if names.is_empty() {
            let message = "no library was scanned yet on this machine";
            return Err(Ending::usage(
                Failure::permanent(message).advise("use 'reelmill scan DIR'"),
            ));
        }
        scopes.push(None);
    }
    for scope in &scopes {
        let filter = filter(&args, scope.as_ref());
        let library = filter.library;
        if let Some(by) = args.stats {
            if let Some(group) = group(by) {
                let stats = store.stats(&filter, group).await.map_err(|e| e.failure())?;
                render::stats(&stats, common);
            } else {
                savings::tell(&store, &filter, Some(by), common).await?;
            }
        } else if args.by_action {
            let actions = store.by_action(library).await.map_err(|e| e.failure())?;
            render::actions(&actions, common);
        } else if args.history {
            let limit = args.limit.unwrap_or(PAGE);
            let events = store.history(library, None, limit).await.map_err(|e| e.failure())?;
            events.iter().for_each(|event| render::event(event, common));
            if !common.json {
                savings::tell(&store, &filter, None, common).await?;
            }
        } else if let Some(format) = args.export {
            export(&args, format, filter, (&store, &names)).await?;
        } else {
            list(&args, filter, common, (&store, &names)).await?;
        }
    }
    Ok(Exit::Done)
}

async fn libraries(store: &LibraryStore) -> Result<HashMap<i64, String>, Failure> {
    let all = store.libraries().await.map_err(|e| e.failure())?;
    Ok(all.into_iter().map(|record| (record.id, record.uuid)).collect())
}

/// The library that `dir` lies in, which was scanned before.
async fn find(dir: &Path, store: &LibraryStore) -> Result<Place, Ending> {
    let found = Place::find(dir, store).await?;
    found.ok_or_else(|| {
        let message =
            format!("{} is in no library that was scanned on this machine", dir.display());
        Ending::input(Failure::input(message).advise("use 'reelmill scan' first"))
    })
}

/// What came of conversions since the last look, in all libraries that are there.
async fn catch_up(store: &LibraryStore) -> Result<(), Ending> {
    for record in store.libraries().await.map_err(|e| e.failure())? {
        let root = PathBuf::from(OsString::from_vec(record.root.clone()));
        // A mount that is away is asked about later.
        let Ok(Some(place)) = Place::find(&root, store).await else { continue };
        if place.record.id == record.id && ledger::take_in(&place, store).await? > 0 {
            let book = Book::open(&place, &Asked::Usual).map_err(Ending::usage)?;
            judge(&place, &book, store).await?;
        }
    }
    Ok(())
}

async fn judge(place: &Place, book: &Book, store: &LibraryStore) -> Result<(), Failure> {
    let judged = store.judge(place.record.id, &book.digest, |file, past| book.judge(file, past));
    judged.await.map_err(|e| e.failure())?;
    let snapshot = place.record.snapshot.as_deref();
    store.settle(place.record.id, snapshot).await.map_err(|e| e.failure())
}

/// Judges a library's files anew when its rules are others than at the last scan, or something
/// came of conversions.
async fn judge_anew(place: &Place, args: &QueryArgs, store: &LibraryStore) -> Result<Book, Ending> {
    let book = Book::open(place, &scan::asked(&args.rules)).map_err(Ending::usage)?;
    let tried = ledger::take_in(place, store).await? > 0;
    if tried || place.record.rules.as_ref() != Some(&book.digest) {
        judge(place, &book, store).await?;
    }
    Ok(book)
}

/// What files are sorted by, if it is files that are counted.
fn group(by: StatsBy) -> Option<Group> {
    Some(match by {
        StatsBy::Codec => Group::Codec,
        StatsBy::Resolution => Group::Resolution,
        StatsBy::Hdr => Group::Hdr,
        StatsBy::DolbyVision => Group::DolbyVision,
        StatsBy::Container => Group::Container,
        _ => return None,
    })
}

/// Which answers are asked for; any when there are none.
fn answers(args: &QueryArgs) -> Vec<Answer> {
    let asked = [
        (args.needs_conversion, Answer::Convert),
        (args.skipped, Answer::Skip),
        (args.kept, Answer::Kept),
        (args.failed, Answer::Failed),
    ];
    asked.into_iter().filter(|(asked, _)| *asked).map(|(_, answer)| answer).collect()
}

fn filter(args: &QueryArgs, place: Option<&Place>) -> FileFilter {
    let within = place.map(|place| place.within.clone());
    FileFilter {
        library: place.map(|place| place.record.id),
        folder: within.filter(|within| !within.is_empty()),
        kinds: args.kind.map_or_else(Vec::new, super::library_args::Kinds::list),
        hdr: args.hdr.clone().map_or_else(Vec::new, |wanted| wanted.0),
        dolby_profiles: args.dv_profile.clone(),
        dolby_layers: args.dv_layer.iter().map(|layer| layer.layer()).collect(),
        dolby_levels: args.dv_level.clone(),
        hdr10plus: args.hdr10plus.then_some(true),
        codec: args.codec.clone(),
        container: args.container.clone(),
        resolution: args.resolution,
        audio_language: args.audio_language.clone(),
        subtitle_language: args.subtitle_language.clone(),
        search: args.search.clone(),
        failed: args.unreadable,
        answers: answers(args),
        after: args.after,
    }
}

async fn list(
    args: &QueryArgs,
    filter: FileFilter,
    common: &Common,
    (store, names): (&LibraryStore, &HashMap<i64, String>),
) -> Result<(), Ending> {
    let limit = args.limit.unwrap_or(PAGE);
    let found = store.find(&filter, limit).await.map_err(|e| e.failure())?;
    for file in &found {
        if common.json {
            out::json(&render::Line::of(file, names));
        } else {
            out::line(&render::line(file));
        }
    }
    let last = found.last().map(|file| file.id).filter(|_| found.len() == limit as usize);
    if let (Some(last), false, false) = (last, common.json, common.quiet) {
        out::note(&format!("{limit} files shown; the next page: --after {last} (all: --export)"));
    }
    Ok(())
}

async fn export(
    args: &QueryArgs,
    format: super::library_args::Export,
    mut filter: FileFilter,
    (store, names): (&LibraryStore, &HashMap<i64, String>),
) -> Result<(), Ending> {
    let shown =
        args.output.as_ref().map_or("standard output".into(), |path| path.display().to_string());
    let fail = |e: std::io::Error| Failure::io(format!("write {shown}"), &e);
    // Written beside its place and renamed, so that nobody reads half a list.
    let folder = args
        .output
        .as_deref()
        .map(|path| path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let mut part = folder.map(tempfile::NamedTempFile::new_in).transpose().map_err(fail)?;
    let to: Box<dyn Write + Send> = match &mut part {
        Some(part) => Box::new(part.as_file().try_clone().map_err(fail)?),
        None => Box::new(std::io::stdout()),
    };
    let mut writer = render::Writer::new(BufWriter::new(to), format);
    let mut left = args.limit.unwrap_or(u32::MAX);
    writer.begin().map_err(fail)?;
    loop {
        let page = store.find(&filter, READ.min(left)).await.map_err(|e| e.failure())?;
        let Some(last) = page.last() else { break };
        filter.after = last.id;
        left -= page.len() as u32;
        for file in &page {
            writer.file(file, names).map_err(fail)?;
        }
        if left == 0 {
            break;
        }
    }
    writer.end().map_err(fail)?;
    if let (Some(part), Some(path)) = (part, &args.output) {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        part.as_file().set_permissions(mode).map_err(fail)?;
        part.persist(path).map_err(|e| fail(e.error))?;
    }
    Ok(())
}

/// Why a file is, or is not, converted.
async fn why(
    file: &Path,
    args: &QueryArgs,
    common: &Common,
    store: &LibraryStore,
) -> Result<Exit, Ending> {
    let unknown = || {
        let message = format!("{} is not known", file.display());
        let advice = "'reelmill scan' looks for new files; hidden files and other endings \
                      than those of media are passed by";
        Ending::input(Failure::input(message).advise(advice))
    };
    let place = Place::find(file, store).await?.ok_or_else(unknown)?;
    let book = judge_anew(&place, args, store).await?;
    let folder = parent(&place.within);
    let name = place.within.strip_prefix(folder).unwrap_or(&place.within);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let found = store.file_at(place.record.id, folder, name).await.map_err(|e| e.failure())?;
    let found: FoundFile = found.ok_or_else(unknown)?;
    let path = found.file.path();
    let passed = book.rules.passed_over(subject(&found, &path, false));
    let events = store.history(None, Some(found.id), EVENTS).await.map_err(|e| e.failure())?;
    render::why(&found, (&book.origin, &passed), &events, common);
    Ok(Exit::Done)
}
