//! One file of a folder: whether it is to be converted, and doing it.

use super::ends::{Order, plain_name};
use super::{Fate, MediaType, walk};
use crate::cli::args::{Common, ConvertArgs, EncodeArgs};
use crate::cli::choice::{Chosen, for_kind, kind_of, kinds};
use crate::cli::convert;
use crate::cli::signals::Stop;
use crate::exit::{Ending, Exit};
use crate::farm::presets;
use crate::files::rename_new;
use crate::library::ledger::{End, Failed, Ledger};
use crate::share::library::Library;
use crate::share::lock::Watcher;
use crate::share::part;
use crate::share::placing::room_for;
use reelmill_core::container::OutputKind;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::library::outcome::{self, Came};
use reelmill_core::media::MediaInfo;
use reelmill_core::names;
use reelmill_media::probe::probe;
use reelmill_media::stitch::made_by_reelmill;
use reelmill_media::tools::Tools;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is needed to convert the files of a folder.
pub(super) struct FileJob<'a> {
    /// How to convert; an order in the queue may say otherwise than the command.
    pub(super) args: ConvertArgs,
    pub(super) common: &'a Common,
    pub(super) tools: &'a Tools,
    pub(super) stop: &'a Stop,
    pub(super) scratch: PathBuf,
    pub(super) root: &'a Path,
    pub(super) library: Option<&'a Library>,
    pub(super) watcher: Watcher,
    /// Where it is written down what came of files, if they are of a library.
    pub(super) ledger: Option<Ledger>,
    /// What failed for good before, where that is not known of each file already.
    pub(super) failed: Failed,
}

/// Bytes of an output that is kept; or of one that is not, and why.
pub(super) type Size = Result<u64, (u64, String)>;

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
        let meta = match std::fs::symlink_metadata(file) {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Fate::Skipped("it is no longer there".into()));
            }
            Err(e) => return Err(Failure::io(format!("open {}", file.display()), &e).into()),
        };
        if let Some(reason) = self.unfit(&meta) {
            return Ok(Fate::Skipped(reason));
        }
        if let Some(failure) = self.failed_before(file) {
            return Ok(Fate::Failed(failure));
        }
        match self.library {
            Some(library) if self.args.dry_run => match self.known(library, file)? {
                Some(fate) => Ok(fate),
                None => self.plainly(file).await,
            },
            Some(library) => self.with_records(library, file).await,
            None => self.plainly(file).await,
        }
    }

    fn unfit(&self, meta: &std::fs::Metadata) -> Option<String> {
        if meta.file_type().is_symlink() {
            return Some("it is a symbolic link; what it leads to is converted where it is".into());
        }
        if !meta.is_file() {
            return Some("it is no plain file".into());
        }
        let shared_names = self.args.replace && meta.nlink() > 1;
        shared_names.then(|| {
            "it has hard links (a torrent that is seeded?): replacing it would need more space, \
             not less"
                .into()
        })
    }

    /// Where the output goes, and whether it was made already.
    pub(super) async fn order(&self, file: &Path) -> Result<Result<Order, Fate>, Ending> {
        let link = plain_name(file, &self.scratch)?;
        let media = probe(self.tools, &link, &self.stop.now).await.map_err(|mut failure| {
            failure.message =
                failure.message.replace(&*link.to_string_lossy(), &file.to_string_lossy());
            failure
        });
        let media = media.inspect_err(|failure| self.put_down_unread(file, failure))?;
        if made_by_reelmill(&media) && !self.args.again {
            return Ok(Err(Fate::Skipped("reelmill made it (--again converts it again)".into())));
        }
        let asked = asked(&self.args, Some(file));
        let kind = match fitting(&media, asked) {
            Ok(kind) => kind,
            Err(reason) => return Ok(Err(Fate::Skipped(reason.into()))),
        };
        let (chosen, encode) = for_kind(&self.args.encode, kind, asked)?;
        let container = chosen.preset.format;
        // These have no place for the mark by which other outputs are known.
        if media.is_in(container) && !self.args.again {
            let reason = format!("it is {container} already (--again converts it again)");
            return Ok(Err(Fate::Skipped(reason)));
        }
        if let Some(reason) = chosen.preset.not_for(&media) {
            return Ok(Err(Fate::Skipped(reason)));
        }
        let target = self.target(file, (&chosen.name, container.name()))?;
        if target != file && target.symlink_metadata().is_ok() {
            return Ok(Err(Fate::Skipped(format!("{} is there already", target.display()))));
        }
        let before = std::fs::metadata(file).map_or(0, |meta| meta.len());
        let smaller = !chosen.preset.remux;
        let how = how(&chosen, &encode)?;
        let version = self.ledger.as_ref().and_then(|ledger| ledger.version(file).ok());
        let (source, preset) = (file.to_owned(), chosen.name);
        Ok(Ok(Order { source, target, before, encode, smaller, preset, how, version }))
    }

    /// Writes down what came of a try, where it has ended.
    pub(super) fn put_down(&self, order: &Order, came: &Result<Fate, Ending>) {
        let (Some(ledger), Some(version)) = (&self.ledger, &order.version) else { return };
        let end = match came {
            Ok(Fate::Converted { after, .. }) => End::of(Came::Converted, *after),
            Ok(Fate::Kept { after, .. }) => End::of(Came::Kept, *after),
            Ok(Fate::Failed(failure)) => End::failed(failure),
            Err(ending) if ending.exit != Exit::Interrupted => End::failed(&ending.failure),
            _ => return,
        };
        ledger.write(version, (&order.preset, &order.how), &end);
    }

    /// Why a file failed for good before by these settings, if it did.
    fn failed_before(&self, file: &Path) -> Option<Failure> {
        if self.args.again || self.failed.is_empty() {
            return None;
        }
        let (_, how) = self.by_name(file).ok()?;
        let version = Ledger::of(self.root)?.version(file).ok()?;
        let why = self.failed.why(&version, &how)?;
        let failure = Failure::permanent(format!("it failed before: {why}"));
        Some(failure.advise("--again tries it again"))
    }

    /// Writes down that a file cannot even be looked into.
    fn put_down_unread(&self, file: &Path, failure: &Failure) {
        let lasting = failure.class.lasting();
        let ledger = self.ledger.as_ref().filter(|_| lasting && !self.args.dry_run);
        let version = ledger.and_then(|ledger| ledger.version(file).ok());
        if let (Some(ledger), Some(version), Ok((preset, how))) =
            (ledger, version, self.by_name(file))
        {
            ledger.write(&version, (&preset, &how), &End::failed(failure));
        }
    }

    /// The preset, and how the ledger names it with all that decides, as far as the name of
    /// `file` tells what is in it.
    fn by_name(&self, file: &Path) -> Result<(String, String), Ending> {
        let kind = kind_of(walk::kind(file).unwrap_or(MediaType::Video));
        let (chosen, encode) = for_kind(&self.args.encode, kind, asked(&self.args, Some(file)))?;
        let how = how(&chosen, &encode)?;
        Ok((chosen.name, how))
    }

    fn target(&self, file: &Path, (preset, extension): (&str, &str)) -> Result<PathBuf, Failure> {
        let name = file.file_name().unwrap_or_default().as_bytes();
        let folder = file.parent().unwrap_or(Path::new("/"));
        let mut target = names::with_extension(name, extension);
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
                let ending = format!("{preset}.{extension}");
                target = names::with_extension(name, &ending);
            }
        }
        Ok(folder.join(OsString::from_vec(names::shortened(&target, names::LONGEST))))
    }

    /// Converts into the scratch folder.
    pub(super) async fn make(&self, order: &Order, stop: &Stop) -> Result<PathBuf, Ending> {
        let folder = self.scratch.join("folder");
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::io(format!("create {}", folder.display()), &e))?;
        let key = names::encode(order.target.as_os_str().as_bytes());
        let name = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(key)[..10]);
        let made = folder.join(match order.encode.format {
            Some(format) => format!("{name}.{format}"),
            None => name,
        });
        let args = ConvertArgs { encode: order.encode.clone(), ..self.args.clone() };
        let link = plain_name(&order.source, &self.scratch)?;
        let quiet = Common { quiet: true, json: false, ..self.common.clone() };
        convert::one(&link, &made, &args, &quiet, (self.tools, &self.scratch, stop)).await?;
        Ok(made)
    }

    /// Bytes of the output; also why not, when it is no smaller than the source.
    pub(super) fn size(&self, order: &Order, made: &Path) -> Result<Size, Failure> {
        let after = std::fs::metadata(made)
            .map_err(|e| Failure::io(format!("read {}", made.display()), &e))?
            .len();
        if after >= order.before && order.smaller && !self.args.keep_bigger {
            let why = format!(
                "the output would be no smaller ({after} bytes for {}); --keep-bigger keeps it",
                order.before
            );
            return Ok(Err((after, why)));
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
        let came = self.make_and_place(&order).await;
        self.put_down(&order, &came);
        came
    }

    async fn make_and_place(&self, order: &Order) -> Result<Fate, Ending> {
        let made = self.make(order, self.stop).await?;
        let placed = self.place(order, &made);
        let _ = std::fs::remove_file(&made);
        let (output, before) = (order.target.clone(), order.before);
        Ok(match placed? {
            Ok(after) => Fate::Converted { output, before, after, job: None, note: None },
            Err((after, reason)) => Fate::Kept { before, after, reason },
        })
    }

    /// Copies the output beside its place and gives it its name, which must be free.
    fn place(&self, order: &Order, made: &Path) -> Result<Size, Failure> {
        let after = match self.size(order, made)? {
            Ok(after) => after,
            Err(kept) => return Ok(Err(kept)),
        };
        let folder = order.target.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::io(format!("create {}", folder.display()), &e))?;
        room_for(made, folder)?;
        let name = order.target.file_name().unwrap_or_default().as_bytes();
        let mark = walk::plain_mark();
        let part = order.target.with_file_name(OsString::from_vec(names::part(name, &mark)));
        part::prepare(made, &part, None)?;
        let placed = rename_new(&part, &order.target);
        let _ = std::fs::remove_file(&part);
        placed.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => Failure::new(
                FailureClass::Transient,
                format!("{} appeared meanwhile; it was not replaced", order.target.display()),
            ),
            _ => Failure::io(format!("put {} in place", order.target.display()), &e),
        })?;
        Ok(Ok(after))
    }
}

/// The kinds of file that are asked for: of a folder those of `--type`, videos when
/// not given; of one `file` whatever its name promises.
pub(super) fn asked(args: &ConvertArgs, file: Option<&Path>) -> &'static [OutputKind] {
    let by_name = || file.filter(|_| args.dir.is_none() || args.queue).and_then(walk::kind);
    match args.media_type {
        Some(asked) => kinds(asked),
        None => kinds(by_name().unwrap_or(MediaType::Video)),
    }
}

/// How the ledger names all that decides about an output.
fn how(chosen: &Chosen, encode: &EncodeArgs) -> Result<String, Failure> {
    let own = presets()?.get(&chosen.name, &encode.set)?.format;
    let container = chosen.preset.format;
    let format = (own != container).then(|| container.name());
    Ok(outcome::how(&chosen.name, &encode.set, format))
}

/// The name of the preset that `file` is converted by, as far as its name tells.
pub(super) fn preset_of(args: &ConvertArgs, file: &Path) -> String {
    let kind = kind_of(walk::kind(file).unwrap_or(MediaType::Video));
    let chosen = for_kind(&args.encode, kind, asked(args, Some(file)));
    chosen.map_or_else(|_| String::new(), |(chosen, _)| chosen.name)
}

/// What a file becomes, by what is in it.
///
/// # Errors
/// The reason, when that is not asked for.
fn fitting(media: &MediaInfo, asked: &[OutputKind]) -> Result<OutputKind, &'static str> {
    let picture = media.video();
    let moves = picture.is_some_and(|(stream, _)| ["gif", "apng"].contains(&stream.codec.as_str()));
    let sound = media.audio().next().is_some();
    let wanted = |kind| asked.contains(&kind);
    match picture {
        Some(_) if (media.is_still() || moves) && wanted(OutputKind::Picture) => {
            Ok(OutputKind::Picture)
        }
        Some(_) if media.is_still() => Err("it is a picture (--type image converts it)"),
        Some(_) if wanted(OutputKind::Film) => Ok(OutputKind::Film),
        Some(_) => Err("it is a film (--type video converts it)"),
        None if sound && wanted(OutputKind::Sound) => Ok(OutputKind::Sound),
        None if sound => Err("there is no picture in it (--type audio converts it)"),
        None => Err("there is neither a picture nor sound in it"),
    }
}
