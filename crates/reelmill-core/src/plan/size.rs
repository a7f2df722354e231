//! Passes over a film whose size is given: what one comes to, and what is left to do
//! in the next.

use super::{Cut, Plan};
use crate::check::Check;
use crate::id::JobId;
use crate::pts::PtsList;
use crate::rate::{Aim, Coded, Judgement, Rate, Yield, differs};
use crate::task::{Task, TaskKind, TaskResult, TaskState};
use crate::time::Timestamp;
use crate::work::Work;

/// The pieces of a film as a pass made them.
#[derive(Debug, Clone, Default)]
pub struct Pieces<'a> {
    /// Each in its order.
    pub made: Vec<Coded>,
    /// The frames of a film in one piece, ticks, which only decoding could tell.
    pub pts: Option<&'a PtsList>,
}

impl<'a> Pieces<'a> {
    /// What the tasks of a pass made, if every piece is there.
    #[must_use]
    pub fn of(tasks: &'a [Task]) -> Option<Self> {
        let video =
            |task: &&Task| matches!(task.kind, TaskKind::EncodeChunk | TaskKind::EncodeVideo);
        let mut pieces = Self::default();
        for task in tasks.iter().filter(video) {
            let Some(TaskResult::Encoded(encoded)) = &task.result else { return None };
            pieces.made.push(encoded.coded?);
            pieces.pts = pieces.pts.or(encoded.pts.as_ref());
        }
        Some(pieces)
    }
}

impl Plan {
    /// Whether the size of the whole file is limited.
    #[must_use]
    pub fn limits_file(&self) -> bool {
        self.video.rate.as_ref().is_some_and(|rate| matches!(rate.aim, Aim::MaxSize { .. }))
    }

    /// What a pass that made `pieces` comes to, with `other` bytes of the file that are
    /// not pictures; `None` where no size is aimed at.
    ///
    /// # Errors
    /// Why these are not the pieces of this pass.
    pub fn judge(&self, pieces: &Pieces<'_>, other: u64) -> Result<Option<Judgement>, String> {
        let Some(rate) = &self.video.rate else { return Ok(None) };
        self.same_pass(pieces)?;
        Ok(self.yields(pieces, other).map(|got| rate.judge(got)))
    }

    /// What is told of `pieces` and the file of `bytes` that holds them.
    #[must_use]
    pub fn size_check(&self, pieces: &Pieces<'_>, bytes: u64) -> Option<Check> {
        let rate = self.video.rate.as_ref()?;
        Some(rate.check(self.yields(pieces, 0)?, bytes))
    }

    /// What a pass yielded.
    #[must_use]
    pub fn yields<'a>(&self, pieces: &'a Pieces<'_>, other: u64) -> Option<Yield<'a>> {
        let encode = self.video.encode.as_ref()?;
        let seconds = self.seconds(pieces.pts).unwrap_or(0.0);
        let (encoder, first, made) = (encode.encoder, encode.crf?, pieces.made.as_slice());
        Some(Yield { encoder, first, made, seconds, other })
    }

    /// A piece of another pass has no business here.
    fn same_pass(&self, pieces: &Pieces<'_>) -> Result<(), String> {
        for (number, made) in (1u32..).zip(&pieces.made) {
            let work = self.work(number);
            let crf = work.as_ref().and_then(Work::encode).and_then(|encode| encode.crf);
            if crf.is_none_or(|crf| differs(crf, made.crf)) {
                let wanted = crf.map_or("none".into(), |crf| crf.to_string());
                let has = made.crf;
                return Err(format!("piece {number} was made at crf {has}, not {wanted}"));
            }
        }
        Ok(())
    }

    /// The plan of another pass over the same pieces.
    #[must_use]
    pub fn with_rate(&self, rate: Rate) -> Self {
        let mut plan = self.clone();
        plan.video.rate = Some(rate);
        plan
    }

    /// The tasks of this plan when the pass before it left the tasks `before`: what was
    /// done then and is wanted as it is stays done.
    #[must_use]
    pub fn tasks_after(
        &self,
        before: &[Task],
        job: JobId,
        generation: u32,
        now: Timestamp,
    ) -> Vec<Task> {
        let mut tasks = self.tasks(job, generation, now);
        for task in &mut tasks {
            let old = before.iter().find(|old| old.id.number == task.id.number);
            if let Some(old) = old.filter(|old| self.keeps(old)) {
                *task = Task { id: task.id, ..old.clone() };
            }
        }
        tasks
    }

    /// Whether what a task of an earlier pass yielded is what this plan asks for.
    fn keeps(&self, old: &Task) -> bool {
        let Some(TaskResult::Encoded(encoded)) = &old.result else { return false };
        let same = match self.work(old.id.number) {
            Some(Work::EncodeAudio { .. }) => true,
            Some(work) => match (work.encode().and_then(|encode| encode.crf), encoded.coded) {
                (Some(crf), Some(coded)) => !differs(crf, coded.crf),
                _ => false,
            },
            None => false,
        };
        same && old.state == TaskState::Done
    }

    /// Every frame of the output, ticks; `None` when only decoding can tell.
    #[must_use]
    pub fn frames(&self) -> Option<Vec<i64>> {
        match &self.video.cut {
            Cut::Chunks { chunks } => {
                Some(chunks.iter().flat_map(|chunk| chunk.pts.ticks().iter().copied()).collect())
            }
            Cut::Whole { .. } | Cut::Metadata { .. } | Cut::Absent | Cut::Still { .. } => None,
        }
    }

    /// Seconds that the picture is shown: from its first frame to the end of its last,
    /// which is taken to last as long as the one before. `whole` are its frames (ticks)
    /// where only decoding could tell them.
    #[must_use]
    pub fn seconds(&self, whole: Option<&PtsList>) -> Option<f64> {
        let planned = self.frames();
        let ticks = planned.as_deref().or(whole.map(PtsList::ticks))?;
        let (first, last) = (ticks.first()?, ticks.last()?);
        let before = ticks.len().checked_sub(2).map_or(first, |at| &ticks[at]);
        Some(self.video.time_base.seconds(2 * last - before - first))
    }
}
