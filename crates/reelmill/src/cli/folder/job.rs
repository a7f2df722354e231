//! One file of a folder: whether it is to be converted, and doing it.

use super::ends::{Order, keep_beating, part_name, place_part, plain_name, settled};
use super::{Fate, MediaType, walk};
use crate::cli::args::{Common, ConvertArgs};
use crate::cli::convert;
use crate::cli::signals::Stop;
use crate::exit::{Ending, Exit};
use crate::files::rename_new;
use crate::share::desk::{Desk, Stop as Pause};
use crate::share::fs::{Facts, Fs};
use crate::share::library::Library;
use crate::share::lock::{Lock, Watcher, path_of};
use crate::share::part;
use crate::share::record::Deal;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::names;
use reelmill_core::settle::Way;
use reelmill_core::slots::{Leave, Mark};
use reelmill_media::probe::probe;
use reelmill_media::tools::Tools;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Renewals within the time after which a lock counts as stale.
const BEATS: f64 = 6.0;

/// What is needed to convert the files of a folder.
pub(super) struct FileJob<'a> {
    pub(super) args: &'a ConvertArgs,
    pub(super) common: &'a Common,
    pub(super) tools: &'a Tools,
    pub(super) stop: &'a Stop,
    pub(super) scratch: PathBuf,
    pub(super) root: &'a Path,
    pub(super) library: Option<&'a Library>,
    pub(super) watcher: Watcher,
}

impl FileJob<'_> {
    /// Converts one file, or says why not.
    pub(super) async fn convert(&mut self, file: &Path) -> Fate {
        match self.try_convert(file).await {
            Ok(fate) => fate,
            Err(ending) if ending.exit == Exit::Interrupted => Fate::Interrupted,
            Err(ending) => Fate::Failed(ending.failure),
        }
    }

    async fn try_convert(&mut self, file: &Path) -> Result<Fate, Ending> {
        let meta = std::fs::symlink_metadata(file)
            .map_err(|e| Failure::io(format!("open {}", file.display()), &e))?;
        if meta.file_type().is_symlink() {
            return Ok(Fate::Skipped(
                "it is a symbolic link; the file it leads to is converted where it lies".into(),
            ));
        }
        match walk::kind(file) {
            Some(MediaType::Audio) => {
                return Ok(Fate::Skipped("sound alone is not converted by folders yet".into()));
            }
            Some(MediaType::Image) => {
                return Ok(Fate::Skipped("pictures are not converted by folders yet".into()));
            }
            _ => {}
        }
        if self.args.replace && std::os::unix::fs::MetadataExt::nlink(&meta) > 1 {
            return Ok(Fate::Skipped(
                "it has hard links (a torrent that is seeded?): replacing it would need more space, not less".into(),
            ));
        }
        match self.library {
            Some(library) => self.with_records(library, file).await,
            None => self.plainly(file).await,
        }
    }

    /// Where the output goes, and whether it was made already.
    async fn order(&self, file: &Path) -> Result<Result<Order, Fate>, Ending> {
        let link = plain_name(file, &self.scratch)?;
        let media = probe(self.tools, &link, &self.stop.now).await.map_err(Ending::from)?;
        let made = media.tags.contains_key("reelmill")
            || media.tags.get("encoder").is_some_and(|tool| tool.starts_with("reelmill"));
        if made && !self.args.again {
            return Ok(Err(Fate::Skipped("reelmill made it (--again converts it again)".into())));
        }
        let preset = convert::resolve(&self.args.encode, self.args.encode.format)?;
        let extension = preset.format.name().to_owned();
        let name = file.file_name().unwrap_or_default().as_bytes();
        let folder = file.parent().unwrap_or(Path::new("/"));
        let mut target = names::with_extension(name, &extension);
        let folder = match &self.args.output_dir {
            Some(dir) => {
                let dir = std::path::absolute(dir)
                    .map_err(|e| Failure::io(format!("find {}", dir.display()), &e))?;
                dir.join(folder.strip_prefix(self.root).unwrap_or(folder))
            }
            None => folder.to_owned(),
        };
        if names::same_but_for_case(name, &target) {
            if self.args.replace {
                // A name that differs in case only is the same on some mounts.
                target = name.to_vec();
            } else if self.args.output_dir.is_none() {
                target = names::with_extension(
                    name,
                    &format!("{}.{extension}", self.args.encode.preset),
                );
            }
        }
        let target = folder.join(OsString::from_vec(target));
        if target != file && target.symlink_metadata().is_ok() {
            return Ok(Err(Fate::Skipped(format!("{} is there already", target.display()))));
        }
        let before = std::fs::metadata(file).map_or(0, |meta| meta.len());
        Ok(Ok(Order { source: file.to_owned(), target, before, extension }))
    }

    /// Converts into the scratch folder.
    async fn make(&self, order: &Order) -> Result<PathBuf, Ending> {
        let folder = self.scratch.join("folder");
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::io(format!("create {}", folder.display()), &e))?;
        let key = names::encode(order.target.as_os_str().as_bytes());
        let name = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(key)[..10]);
        let made = folder.join(format!("{name}.{}", order.extension));
        let link = plain_name(&order.source, &self.scratch)?;
        let quiet = Common { quiet: true, json: false, ..self.common.clone() };
        convert::one(&link, &made, self.args, &quiet, (self.tools, &self.scratch, self.stop))
            .await?;
        Ok(made)
    }

    /// Bytes of the output, unless it is no smaller than the source.
    fn size(&self, order: &Order, made: &Path) -> Result<Result<u64, String>, Failure> {
        let after = std::fs::metadata(made)
            .map_err(|e| Failure::io(format!("read {}", made.display()), &e))?
            .len();
        if after >= order.before && !self.args.keep_bigger {
            return Ok(Err(format!(
                "the output would be no smaller ({after} bytes for {}); --keep-bigger keeps it",
                order.before
            )));
        }
        Ok(Ok(after))
    }

    async fn plainly(&self, file: &Path) -> Result<Fate, Ending> {
        let order = match self.order(file).await? {
            Ok(order) => order,
            Err(fate) => return Ok(fate),
        };
        if self.args.dry_run {
            return Ok(Fate::Planned(order.target));
        }
        let made = self.make(&order).await?;
        let after = match self.size(&order, &made)? {
            Ok(after) => after,
            Err(reason) => {
                let _ = std::fs::remove_file(&made);
                return Ok(Fate::Skipped(reason));
            }
        };
        let folder = order.target.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::io(format!("create {}", folder.display()), &e))?;
        let part = order.target.with_file_name(part_name(&order.target, "alone"));
        let _ = std::fs::remove_file(&part);
        part::prepare(&made, &part, None)?;
        let placed = rename_new(&part, &order.target);
        let _ = std::fs::remove_file(&part);
        placed.map_err(|e| Failure::io(format!("put {} in place", order.target.display()), &e))?;
        let _ = std::fs::remove_file(&made);
        let output = order.target;
        Ok(Fate::Converted { output, before: order.before, after, job: None, note: None })
    }

    async fn with_records(&mut self, library: &Library, file: &Path) -> Result<Fate, Ending> {
        let fail = |e: std::io::Error| Failure::io(format!("read {}", file.display()), &e);
        let Some(facts) = library.fs.facts(file).map_err(fail)? else {
            return Ok(Fate::Skipped("it is no longer there".into()));
        };
        let lock = path_of(file);
        if let Some(found) = self.watcher.look(library, &lock).map_err(fail)?
            && !found.stale
        {
            let by = found.lock.map_or("an unreadable lock file".into(), |lock| {
                format!("{} (process {})", lock.hostname, lock.pid)
            });
            return Ok(Fate::Held(by));
        }
        let id = library.id(file, &facts);
        if let Some(fate) = self.done_before(library, &id)? {
            return Ok(fate);
        }
        let order = match self.order(file).await {
            Ok(Ok(order)) => order,
            Ok(Err(fate)) => return Ok(fate),
            Err(ending) => return Err(ending),
        };
        let way = if self.args.replace {
            library.way(order.target == order.source, self.args.shared)
        } else {
            Way::Beside
        };
        let mut desk = Desk::new(library, &id, &library.relative(file), way);
        if self.args.again {
            desk = desk.reopening(Mark::Lease, None);
        }
        match self.claim(library, &id, &mut desk)? {
            Pause::Work => {}
            Pause::Held(held) => return Ok(Fate::Held(held.by)),
            Pause::Left(leave) => return Ok(settled(&desk, leave, &order, 0, &id)),
        }
        self.work(library, desk, (&order, &facts), &id).await
    }

    fn done_before(&self, library: &Library, id: &str) -> Result<Option<Fate>, Failure> {
        let records = library.records(id).map_err(|e| Failure::io("read the job's records", &e))?;
        let Some(last) = records.last().filter(|_| !self.args.again) else { return Ok(None) };
        if !matches!(last.slot.mark, Mark::Done { .. }) {
            return Ok(None);
        }
        let reason = match (&last.reason, &last.deal) {
            (Some(reason), _) => match reason.strip_prefix("failed: ") {
                Some(why) => {
                    let why = format!("it failed before: {why}");
                    return Ok(Some(Fate::Failed(
                        Failure::input(why).advise("--again tries it again"),
                    )));
                }
                None => reason.clone(),
            },
            (None, Some(deal)) if deal.undo => {
                "its conversion was undone (--again converts it)".into()
            }
            _ => "it is done (--again converts it again)".to_owned(),
        };
        Ok(Some(Fate::Skipped(reason)))
    }

    /// Claims the job, from somebody silent too.
    fn claim(
        &mut self,
        library: &Library,
        id: &str,
        desk: &mut Desk<'_>,
    ) -> Result<Pause, Failure> {
        loop {
            let stop = desk.go_on()?;
            let Pause::Held(held) = &stop else { return Ok(stop) };
            let beat = library.slots(id).join(format!("{}.beat", held.slot));
            let content = library.fs.read(&beat).unwrap_or_default();
            if !held.dead && !self.watcher.silent(&beat, &content) {
                return Ok(stop);
            }
            desk.silent();
        }
    }

    async fn work(
        &self,
        library: &Library,
        mut desk: Desk<'_>,
        (order, facts): (&Order, &Facts),
        id: &str,
    ) -> Result<Fate, Ending> {
        let over = CancellationToken::new();
        let lock = Lock::take(&order.source, id, self.args.lock_expiry)
            .map_err(|e| Failure::io(format!("lock {}", order.source.display()), &e))?;
        let beat = library.slots(id).join(format!("{}.beat", desk.slot()));
        let beating = tokio::spawn(keep_beating(
            (library.fs, beat),
            lock,
            self.args.lock_expiry / BEATS,
            over.clone(),
        ));
        let ended = self.make_and_settle(library, &mut desk, (order, facts), id).await;
        over.cancel();
        let _ = beating.await;
        ended
    }

    async fn make_and_settle(
        &self,
        library: &Library,
        desk: &mut Desk<'_>,
        (order, facts): (&Order, &Facts),
        id: &str,
    ) -> Result<Fate, Ending> {
        let made = match self.make(order).await {
            Ok(made) => made,
            Err(ending) => {
                let final_word =
                    matches!(ending.failure.class, FailureClass::Input | FailureClass::Permanent);
                desk.ended(&format!("failed: {}", ending.failure.message), final_word);
                let _ = desk.go_on();
                return Err(ending);
            }
        };
        let after = match self.size(order, &made)? {
            Ok(after) => after,
            Err(reason) => {
                let _ = std::fs::remove_file(&made);
                desk.ended(&reason, true);
                desk.go_on()?;
                return Ok(Fate::Skipped(reason));
            }
        };
        let mark = format!("{id}-{}", desk.slot());
        let part = order.target.with_file_name(part_name(&order.target, &mark));
        let lost = place_part(library, order, &made, &part);
        let (lost, output) = match lost {
            Ok(done) => done,
            Err(failure) => {
                desk.ended(&failure.message, false);
                let _ = desk.go_on();
                return Err(failure.into());
            }
        };
        let same = order.target == order.source;
        desk.made(Deal {
            source: library.relative(&order.source),
            target: (!same).then(|| library.relative(&order.target)),
            part: library.relative(&part),
            original: facts.fingerprint(),
            output: output.fingerprint(),
            undo: false,
        });
        let stop = desk.go_on()?;
        let _ = std::fs::remove_file(&made);
        let leave = match stop {
            Pause::Left(leave) => leave,
            _ => Leave::Unresolved,
        };
        if leave == Leave::TakenOver {
            let _ = std::fs::remove_file(&part);
        }
        let mut fate = settled(desk, leave, order, after, id);
        if let Fate::Converted { note, .. } = &mut fate
            && !lost.is_empty()
        {
            *note = Some(format!("could not keep {}", lost.join(", ")));
        }
        Ok(fate)
    }
}
