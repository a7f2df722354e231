//! Outputs that are made in one go: no picture is encoded in pieces for them.

use super::execute::{Attempt, refused};
use crate::task_source::{FinishOrder, Report};
use reelmill_core::check::Verdict;
use reelmill_core::dolby::{DolbyKept, MetadataOnly};
use reelmill_core::error::Failure;
use reelmill_core::preset::ImagePreset;
use reelmill_core::task::TaskResult;
use reelmill_media::hdr::remux::DolbyRemux;
use reelmill_media::sound::{self, SoundJob};
use reelmill_media::still::{self, StillJob};
use std::path::Path;

impl Attempt<'_> {
    /// The whole conversion, when only metadata changes.
    pub(super) async fn convert_metadata(
        &self,
        order: &FinishOrder,
        source: &Path,
        (how, kept): (MetadataOnly, DolbyKept),
    ) -> Result<Report, Failure> {
        let out = self.out(order);
        let job = DolbyRemux { source, scratch: self.scratch, out: &out, how, kept };
        let made = self.ticking(Box::pin(job.run(&self.worker.tools, self.cancel))).await;
        self.judged(order, &out, made).await
    }

    /// The whole conversion, when the output is sound alone.
    pub(super) async fn make_sound(
        &self,
        order: &FinishOrder,
        source: &Path,
    ) -> Result<Report, Failure> {
        let out = self.out(order);
        let (plan, media) = (&order.plan, &order.media);
        let job = SoundJob { plan, media, source, scratch: self.scratch, out: &out };
        let told = |_| self.meter.tick();
        let making = sound::make(&self.worker.tools, job, &told, self.cancel);
        let made = self.ticking(Box::pin(making)).await;
        self.judged(order, &out, made).await
    }

    /// The whole conversion of a still picture.
    pub(super) async fn make_still(
        &self,
        order: &FinishOrder,
        source: &Path,
        image: ImagePreset,
    ) -> Result<Report, Failure> {
        let out = self.out(order);
        let (media, container) = (&order.media, order.plan.container);
        let job = StillJob { media, source, container, image, out: &out };
        let making = still::make(&self.worker.tools, job, self.cancel);
        let made = self.ticking(Box::pin(making)).await;
        self.judged(order, &out, made).await
    }

    /// The report on an output that was made in one go; what is not good is
    /// removed.
    async fn judged(
        &self,
        order: &FinishOrder,
        out: &Path,
        made: Result<Verdict, Failure>,
    ) -> Result<Report, Failure> {
        let sealed = match made {
            Ok(verdict) if verdict.passed() => {
                self.seal(out, order.stage_path.is_some(), verdict).await
            }
            Ok(verdict) => Err(refused(&verdict)),
            Err(failure) => Err(failure),
        };
        match sealed {
            Ok(finished) => Ok(Report::Done { result: TaskResult::Finished(finished) }),
            Err(failure) => {
                let _ = tokio::fs::remove_file(out).await;
                Err(failure)
            }
        }
    }
}
