//! Which key speaks for which worker.

use super::{Coordinator, WorkerView};
use crate::clock;
use crate::task_source::SourceError;
use reelmill_core::binding::{FIXED, HOUSE, Speaker};
use reelmill_core::error::Failure;
use reelmill_core::id::WorkerId;
use reelmill_store::WorkerRecord;

impl Coordinator {
    /// Refuses words for `worker` by whom it does not belong to.
    ///
    /// # Errors
    /// `Refused` with the reason; `Away` when the store fails.
    pub(crate) async fn hear(
        &self,
        worker: WorkerId,
        speaker: &Speaker,
    ) -> Result<(), SourceError> {
        let bound = match self.fleet.key_of(worker) {
            Some(bound) => bound,
            None => {
                let known = self.store.worker_get(worker).await;
                known.map_err(|e| super::dispatch::away(e.into()))?.and_then(|known| known.key)
            }
        };
        if speaker.may_speak(bound.as_deref(), true) {
            return Ok(());
        }
        let live = self.opens(bound.as_deref()).await.map_err(super::dispatch::away)?;
        if speaker.may_speak(bound.as_deref(), live) {
            return Ok(());
        }
        tracing::warn!(%worker, ?speaker, "refused: the worker belongs to another key");
        Err(SourceError::Refused(another(worker, bound.as_deref().unwrap_or_default())))
    }

    /// To whom a worker belongs that joins now; `before` is to whom it belonged.
    pub(super) async fn bind(
        &self,
        before: Option<String>,
        speaker: &Speaker,
    ) -> Result<Option<String>, Failure> {
        if self.opens(before.as_deref()).await? {
            return Ok(before);
        }
        Ok(speaker.key().map(str::to_owned))
    }

    /// Whether a key that a worker belongs to still opens anything.
    async fn opens(&self, bound: Option<&str>) -> Result<bool, Failure> {
        match bound {
            None => Ok(false),
            Some(HOUSE | FIXED) => Ok(true),
            Some(id) => {
                let key = self.store.key_by_id(id).await?;
                Ok(key.is_some_and(|key| key.is_live(clock::now())))
            }
        }
    }

    /// Lets a worker belong to nobody: the next key with which it joins has it.
    /// `None` when it is not known.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn release_worker(
        &self,
        worker: WorkerId,
    ) -> Result<Option<WorkerView>, Failure> {
        let _one_at_a_time = self.enlisting.lock().await;
        let Some(record) = self.store.worker_get(worker).await? else { return Ok(None) };
        let record = WorkerRecord { key: None, ..record };
        self.store.worker_put(&record).await?;
        self.fleet.rebound(worker, None);
        Ok(Some(self.worker_view(record)))
    }
}

fn another(worker: WorkerId, bound: &str) -> Failure {
    let whose = match bound {
        HOUSE => "is one of the coordinator's own".to_owned(),
        FIXED => "joined with the coordinator's fixed key".to_owned(),
        id => format!("belongs to another key ({id})"),
    };
    let message = format!(
        "the worker {worker} {whose}; an admin can release it ('reelmill release {worker}') or \
         revoke that key, or it starts as a new worker with an empty scratch folder"
    );
    Failure::permanent(message)
}
