//! Taking a replacement back: the same operation, with the roles of the two
//! files exchanged. The original stays in the trash until it is in its place.

use super::desk::{Desk, Stop};
use super::fs::Facts;
use super::library::Library;
use super::record::{Deal, Record};
use super::recover::part_of;
use super::{part, trash};
use crate::clock;
use reelmill_core::error::Failure;
use reelmill_core::settle::End;
use reelmill_core::slots::{Leave, Mark};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A replacement that can be taken back.
struct Found {
    id: String,
    trash: PathBuf,
    record: Record,
    deal: Deal,
}

/// Takes back the replacement of `what`: a path, or a job's id or the first
/// letters of it. Yields the path of the original, back in its place, and bytes of the output.
///
/// # Errors
/// When there is none, its original is gone, or the file has been changed since.
pub(crate) fn undo(library: &Library, what: &Path) -> Result<(PathBuf, u64), Failure> {
    let Found { id, trash, record, deal } = find(library, what)?;
    let source = library.absolute(&deal.source);
    let kept = known(library, &trash)?;
    if !kept.is_some_and(|kept| deal.original.alike(&kept)) {
        let message = format!("the original of {} is no longer in the trash", source.display());
        return Err(Failure::permanent(message).advise("look in the trash folder by hand"));
    }
    let placed = deal.target.clone().unwrap_or_else(|| deal.source.clone());
    let shown = library.absolute(&placed);
    let changed = || {
        Failure::permanent(format!("{} was changed since it was converted", shown.display()))
            .advise(format!("move it away, then take the original from {}", trash.display()))
    };
    let there = known(library, &shown)?.filter(|there| deal.output.alike(there));
    let there = there.ok_or_else(changed)?;
    let part = second_name(library, &id, &trash, &source)?;
    let output = known(library, &part)?
        .ok_or_else(|| Failure::transient(format!("{} vanished", part.display())))?;
    let back = Deal {
        source: placed,
        target: deal.target.is_some().then(|| deal.source.clone()),
        part: library.relative(&part),
        original: there.fingerprint(),
        output: output.fingerprint(),
        undoes: Some(library.relative(&trash)),
    };
    let way = library.way(back.target.is_none(), false);
    let mut desk = Desk::new(&id, &record.file, way).reopening(Mark::Commit { way }, Some(back));
    let stop = desk.go_on(library)?;
    match (&stop, desk.member().outcome().map(|outcome| outcome.end)) {
        (Stop::Left(Leave::Settled(_)), Some(End::Replaced)) => Ok((source, there.size)),
        (Stop::Left(Leave::Settled(_)), Some(End::Changed)) => Err(changed()),
        (_, end) => {
            let why = desk.trouble().map_or_else(|| format!("{stop:?}, {end:?}"), str::to_owned);
            Err(Failure::transient(format!("the original was not put back: {why}"))
                .advise("nothing is lost; 'reelmill locks --clean' finishes what can be finished"))
        }
    }
}

fn known(library: &Library, path: &Path) -> Result<Option<Facts>, Failure> {
    let facts =
        library.fs.facts(path).map_err(|e| Failure::io(format!("read {}", path.display()), &e))?;
    Ok(facts.filter(Facts::plain))
}

/// Gives the original a second name, hidden beside its place; a copy where files
/// have one name only. What lies in the trash stays there.
fn second_name(
    library: &Library,
    id: &str,
    trash: &Path,
    source: &Path,
) -> Result<PathBuf, Failure> {
    let name = source.file_name().unwrap_or_default().as_bytes();
    let name = part_of(name, id, format_args!("undo{}", clock::fresh().simple()));
    let part = source.with_file_name(OsString::from_vec(name));
    if library.can.links {
        library
            .fs
            .publish(trash, &part)
            .map_err(|e| Failure::io(format!("write {}", part.display()), &e))?;
    } else {
        part::prepare(trash, &part, Some(trash))?;
    }
    Ok(part)
}

/// The newest replacement of `what` whose original is kept.
fn find(library: &Library, what: &Path) -> Result<Found, Failure> {
    let wanted = std::path::absolute(what).ok().map(|path| {
        let folder = path.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
        let name = path.file_name().unwrap_or_default();
        library.relative(&folder.map_or(path.clone(), |folder| folder.join(name)))
    });
    let job = what.to_str().unwrap_or_default();
    let mut found: Option<Found> = None;
    for kept in trash::list(library)? {
        let Ok(records) = library.records(&kept.id) else { continue };
        let Some(last) = records.into_iter().next_back() else { continue };
        let Some(deal) = last.deal.clone() else { continue };
        let current = last.slot.mark == (Mark::Done { kept: Some(kept.number) });
        let named = wanted
            .as_ref()
            .is_some_and(|wanted| *wanted == deal.source || Some(wanted) == deal.target.as_ref());
        let meant = named || (job.len() >= 4 && kept.id.starts_with(job));
        let newer = found.as_ref().is_none_or(|before| before.record.at < last.at);
        if current && deal.undoes.is_none() && meant && newer {
            found = Some(Found { id: kept.id, trash: kept.path, record: last, deal });
        }
    }
    found.ok_or_else(|| {
        Failure::input(format!("nothing is known of a replacement of {}", what.display()))
            .advise("give the file's path, or the job that 'convert' named")
    })
}
