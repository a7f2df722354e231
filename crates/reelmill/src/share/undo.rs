//! Replacing a file, and taking a replacement back: the same operation, with the
//! roles of the two files exchanged.

use super::desk::{Desk, Stop};
use super::fs::Fs;
use super::library::Library;
use super::record::{Deal, Record};
use reelmill_core::error::Failure;
use reelmill_core::settle::End;
use reelmill_core::slots::{Leave, Mark};
use std::path::Path;

/// Takes back the replacement of `what`: a path, or a job's id or the first
/// letters of it. Yields the path of the original, back in its place.
///
/// # Errors
/// When there is none, its original is gone, or the file has been changed since.
pub(crate) fn undo(library: &Library, what: &Path) -> Result<std::path::PathBuf, Failure> {
    let (id, number, record, deal) = find(library, what)?;
    let source = library.absolute(&deal.source);
    let trash = library.trash(&id, number, &source);
    let facts = library.fs.facts(&trash);
    if !matches!(&facts, Ok(Some(facts)) if facts.fingerprint() == deal.original) {
        let message = format!("the original of {} is no longer in the trash", source.display());
        return Err(Failure::permanent(message).advise("look in the trash folder by hand"));
    }
    let placed = deal.target.clone().unwrap_or_else(|| deal.source.clone());
    let back = Deal {
        source: placed.clone(),
        target: deal.target.is_some().then(|| deal.source.clone()),
        part: library.relative(&trash),
        original: deal.output.clone(),
        output: deal.original.clone(),
        undo: true,
    };
    let way = library.way(back.target.is_none(), false);
    let mut desk =
        Desk::new(library, &id, &record.file, way).reopening(Mark::Commit { way }, Some(back));
    let stop = desk.go_on()?;
    match (stop, desk.member().outcome().map(|outcome| outcome.end)) {
        (Stop::Left(Leave::Settled(_)), Some(End::Replaced)) => Ok(source),
        (Stop::Left(Leave::Settled(_)), Some(End::Changed)) => {
            let shown = library.absolute(&placed);
            let message = format!("{} was changed since it was converted", shown.display());
            Err(Failure::permanent(message)
                .advise(format!("move it away, then take the original from {}", trash.display())))
        }
        (stop, end) => {
            let why = desk.trouble().map_or_else(|| format!("{stop:?}, {end:?}"), str::to_owned);
            Err(Failure::transient(format!("the original was not put back: {why}"))
                .advise("nothing is lost; 'reelmill locks --clean' finishes what can be finished"))
        }
    }
}

/// Job, number of the commit whose original is kept, its record and deal.
fn find(library: &Library, what: &Path) -> Result<(String, u8, Record, Deal), Failure> {
    let trash = library.home("trash");
    let names = library
        .fs
        .list(&trash)
        .map_err(|e| Failure::io(format!("read {}", trash.display()), &e))?;
    let wanted = std::path::absolute(what).ok().map(|path| {
        let folder = path.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
        library.relative(
            &folder.map_or(path.clone(), |f| f.join(path.file_name().unwrap_or_default())),
        )
    });
    let job = what.to_str().unwrap_or_default();
    let mut found = None;
    for name in names {
        let name = name.to_string_lossy();
        let Some((id, _)) = name.split_once('.') else { continue };
        let Ok(records) = library.records(id) else { continue };
        let Some(last) = records.last() else { continue };
        let (Mark::Done { kept: Some(kept) }, Some(deal)) = (last.slot.mark, &last.deal) else {
            continue;
        };
        let named = wanted
            .as_ref()
            .is_some_and(|wanted| *wanted == deal.source || Some(wanted) == deal.target.as_ref());
        if !deal.undo && (named || (job.len() >= 4 && id.starts_with(job))) {
            let newer = found.as_ref().is_none_or(|(_, _, at, _, _)| *at < last.at);
            if newer {
                found = Some((id.to_owned(), kept, last.at, last.clone(), deal.clone()));
            }
        }
    }
    found.map(|(id, kept, _, record, deal)| (id, kept, record, deal)).ok_or_else(|| {
        Failure::input(format!("nothing is known of a replacement of {}", what.display()))
            .advise("give the file's path, or the job that 'convert' named")
    })
}
