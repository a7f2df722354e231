//! Files of a library with records: claimed, converted, put in their places.

use super::Fate;
use super::ends::{Beat, Order, settled};
use super::job::FileJob;
use crate::cli::args::ConvertArgs;
use crate::cli::signals::Stop;
use crate::exit::Ending;
use crate::share::desk::{Desk, Stop as Pause};
use crate::share::fs::Facts;
use crate::share::library::Library;
use crate::share::lock::{Lock, path_of, remove_stale};
use crate::share::placing::Placing;
use crate::share::record::Record;
use reelmill_core::error::Failure;
use reelmill_core::settle::{End, Way};
use reelmill_core::slots::{Leave, Mark};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Renewals within the time after which a lock counts as stale.
const BEATS: f64 = 6.0;

/// How a job stands before it is claimed.
enum Standing {
    /// It can be claimed.
    Open,
    /// It can be claimed, although it counts as done.
    OpenAgain,
    /// Nothing is to be done.
    Over(Fate),
}

impl FileJob<'_> {
    pub(super) async fn with_records(
        &mut self,
        library: &Library,
        file: &Path,
    ) -> Result<Fate, Ending> {
        let fail = |e: std::io::Error| Failure::io(format!("read {}", file.display()), &e);
        let Some(facts) = library.fs.facts(file).map_err(fail)? else {
            return Ok(Fate::Skipped("it is no longer there".into()));
        };
        if !library.reaches(file).map_err(fail)? {
            return Ok(Fate::Skipped(format!(
                "it lies on another file system than {}: convert its folder by itself",
                library.home("").display()
            )));
        }
        let lock = path_of(file);
        if let Some(found) = self.watcher.look(&lock).map_err(fail)? {
            if !found.stale {
                return Ok(Fate::Held(found.by()));
            }
            remove_stale(&lock, &found).map_err(fail)?;
        }
        let id = library.id(file, &facts);
        let again = match self.standing(library, &id)? {
            Standing::Over(fate) => return Ok(fate),
            Standing::OpenAgain => true,
            Standing::Open => false,
        };
        let order = match self.order(file).await? {
            Ok(order) => order,
            Err(fate) => return Ok(fate),
        };
        let way = if self.args.replace {
            library.way(order.target == order.source, self.args.shared)
        } else {
            Way::Beside
        };
        let mut desk = Desk::new(&id, &library.relative(file), way);
        if again {
            desk = desk.reopening(Mark::Lease, None);
        }
        match self.claim(library, &id, &mut desk)? {
            Pause::Work => {
                let came = self.work(library, desk, (&order, &facts), &id).await;
                self.put_down(&order, &came);
                came
            }
            Pause::Held(held) => Ok(Fate::Held(held.by)),
            Pause::Left(leave) => Ok(settled(&desk, leave, &order, 0, &id)),
        }
    }

    /// What its records say of a file that would be converted; nothing is written.
    pub(super) fn known(&self, library: &Library, file: &Path) -> Result<Option<Fate>, Failure> {
        let fail = |e: std::io::Error| Failure::io(format!("read {}", file.display()), &e);
        let Some(facts) = library.fs.facts(file).map_err(fail)? else { return Ok(None) };
        Ok(match self.standing(library, &library.id(file, &facts))? {
            Standing::Over(fate) => Some(fate),
            Standing::Open | Standing::OpenAgain => None,
        })
    }

    fn standing(&self, library: &Library, id: &str) -> Result<Standing, Failure> {
        let records = library.records(id).map_err(|e| Failure::io("read the job's records", &e))?;
        let Some(last) = records.last() else { return Ok(Standing::Open) };
        if !matches!(last.slot.mark, Mark::Done { .. }) {
            return Ok(Standing::Open);
        }
        // What file operations or other files' names prevented may work now.
        if self.args.again || matches!(last.end, Some(End::Failed | End::Taken)) {
            return Ok(Standing::OpenAgain);
        }
        let how = self.how();
        let by_these = |record: &&Record| {
            let over = matches!(record.slot.mark, Mark::Done { .. }) && record.reason.is_some();
            over && record.how.as_ref().is_none_or(|it| *it == how)
        };
        let last = match (&last.reason, records.iter().rev().find(by_these)) {
            (None, _) => last,
            (Some(_), Some(told)) => told,
            // Other settings may do what those could not.
            (Some(_), None) => return Ok(Standing::OpenAgain),
        };
        let reason = match (&last.reason, &last.deal) {
            (Some(reason), _) => match reason.strip_prefix("failed: ") {
                Some(why) => {
                    let failure = Failure::permanent(format!("it failed before: {why}"));
                    let failure = failure.advise("--again tries it again");
                    return Ok(Standing::Over(Fate::Failed(failure)));
                }
                None => reason.clone(),
            },
            (None, Some(deal)) if deal.undoes.is_some() => {
                "its conversion was undone (--again converts it)".into()
            }
            _ => "it is done (--again converts it again)".to_owned(),
        };
        Ok(Standing::Over(Fate::Skipped(reason)))
    }

    /// What decides, beside the source, whether there is an output.
    fn how(&self) -> String {
        let ConvertArgs { encode, keep_bigger, .. } = &self.args;
        let mut words = encode.preset.clone();
        words.extend(encode.overrides());
        words.extend(encode.format.map(|format| format.to_string()));
        words.extend(keep_bigger.then(|| "keep-bigger".to_owned()));
        words.join(" ")
    }

    /// Claims the job, from somebody silent too.
    fn claim(&mut self, library: &Library, id: &str, desk: &mut Desk) -> Result<Pause, Failure> {
        loop {
            let stop = desk.go_on(library)?;
            let Pause::Held(held) = &stop else { return Ok(stop) };
            let beat = library.slots(id).join(format!("{}.beat", held.slot));
            let content = library.fs.read(&beat).unwrap_or_default();
            let silent = !held.only_death_counts && self.watcher.silent(&beat, &content);
            if !held.dead && !silent {
                return Ok(stop);
            }
            desk.silent();
        }
    }

    async fn work(
        &mut self,
        library: &Library,
        mut desk: Desk,
        (order, facts): (&Order, &Facts),
        id: &str,
    ) -> Result<Fate, Ending> {
        let every = self.args.lock_expiry / BEATS;
        let mut beat = Beat::new(library, id, desk.slot(), every);
        match Lock::take(&order.source, id, &mut self.watcher) {
            Ok(Ok(lock)) => beat.lock = Some(lock),
            Ok(Err(found)) => {
                desk.ended("a lock file appeared", None);
                desk.go_on(library)?;
                return Ok(Fate::Held(found.by()));
            }
            // Locks are for people; what decides are the slots.
            Err(error) => tracing::warn!(%error, file = %order.source.display(), "cannot lock"),
        }
        let (over, lost) = (CancellationToken::new(), CancellationToken::new());
        let beating = tokio::spawn(beat.keep(over.clone(), lost.clone()));
        let ended = self.make_and_settle(library, &mut desk, (order, facts), (id, &lost)).await;
        over.cancel();
        let _ = beating.await;
        ended
    }

    async fn make_and_settle(
        &self,
        library: &Library,
        desk: &mut Desk,
        (order, facts): (&Order, &Facts),
        (id, lost): (&str, &CancellationToken),
    ) -> Result<Fate, Ending> {
        let how = self.how();
        let made = match self.make_unless(order, lost).await {
            Ok(made) => made,
            Err(ending) => {
                let for_good = ending.failure.class.lasting();
                desk.ended(
                    &format!("failed: {}", ending.failure.in_a_line()),
                    for_good.then_some(&how),
                );
                let stop = desk.go_on(library);
                if lost.is_cancelled() && matches!(stop, Ok(Pause::Left(Leave::TakenOver))) {
                    return Ok(settled(desk, Leave::TakenOver, order, 0, id));
                }
                return Err(ending);
            }
        };
        let after = match self.size(order, &made) {
            Ok(Ok(after)) => after,
            Ok(Err((after, reason))) => {
                let _ = std::fs::remove_file(&made);
                desk.ended(&reason, Some(&how));
                desk.go_on(library)?;
                return Ok(Fate::Kept { before: order.before, after, reason });
            }
            Err(failure) => {
                desk.ended(&failure.message, None);
                let _ = desk.go_on(library);
                return Err(failure.into());
            }
        };
        let (source, target) = (order.source.as_path(), order.target.as_path());
        let placing = Placing { library, id, source, target, facts };
        let placed = placing.put(desk, &made);
        let _ = std::fs::remove_file(&made);
        let placed = placed?;
        let mut fate = settled(desk, placed.leave, order, after, id);
        if let Fate::Converted { note, .. } = &mut fate
            && !placed.lost.is_empty()
        {
            *note = Some(format!("could not keep {}", placed.lost.join(", ")));
        }
        Ok(fate)
    }

    /// Converts, unless somebody takes the job over meanwhile.
    async fn make_unless(
        &self,
        order: &Order,
        lost: &CancellationToken,
    ) -> Result<std::path::PathBuf, Ending> {
        let stop = Stop { drain: self.stop.drain.child_token(), now: self.stop.now.child_token() };
        let making = self.make(order, &stop);
        tokio::pin!(making);
        tokio::select! {
            made = &mut making => return made,
            () = lost.cancelled() => {}
        }
        stop.drain.cancel();
        stop.now.cancel();
        making.await
    }
}
