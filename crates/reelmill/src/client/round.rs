//! One look at all that lies in the outbox: each entry goes as far as it can,
//! and none stops another.

use super::Common;
use super::calls::{Client, ClientError};
use super::deliver::{Unsent, deliver};
use super::display::Transfer;
use super::download;
use super::told::Told;
use super::upload::UnderWay;
use crate::api::error::Answer;
use crate::api::wire::output_name;
use crate::coordinator::JobView;
use crate::exit::{Ending, Exit};
use crate::outbox::{Entry, Found, Outbox, Output, Stage, Trouble};
use crate::servers::CallError;
use reelmill_core::error::{Failure, FailureClass};
use reelmill_core::job::{Job, JobState};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// What rounds through the outbox need.
pub(super) struct Round<'a> {
    outbox: &'a Outbox,
    common: &'a Common,
    /// The servers to turn to, when not all.
    only: Option<BTreeSet<String>>,
    clients: BTreeMap<String, Arc<Client>>,
    /// Servers that could not be reached in this round, and why.
    away: BTreeMap<String, Failure>,
    told: Told<'a>,
}

impl<'a> Round<'a> {
    /// Rounds through `outbox`; with `only`, they turn to these servers alone.
    pub(super) fn new(
        outbox: &'a Outbox,
        common: &'a Common,
        only: Option<BTreeSet<String>>,
        told: Told<'a>,
    ) -> Self {
        let (clients, away) = (BTreeMap::new(), BTreeMap::new());
        Self { outbox, common, only, clients, away, told }
    }

    /// Takes every entry as far as it goes, those that come meanwhile too; yields
    /// how each ended.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub(super) async fn all(&mut self) -> Result<Vec<Exit>, Failure> {
        self.away.clear();
        let (mut seen, mut outcomes) = (BTreeSet::new(), Vec::new());
        loop {
            let found = self.outbox.found()?.into_iter();
            let new: Vec<Found> = found.filter(|found| seen.insert(found.id())).collect();
            if new.is_empty() {
                return Ok(outcomes);
            }
            for found in new {
                outcomes.extend(self.one(found).await);
            }
        }
    }

    /// How it ended; `None` when it is for other servers.
    async fn one(&mut self, found: Found) -> Option<Exit> {
        let mut entry = match found {
            Found::Entry(entry) if self.servers(&entry).is_empty() => return None,
            Found::Entry(entry) => entry,
            Found::Unreadable { id, failure } => {
                self.told.unreadable(&id, &failure);
                return Some(Exit::Failed);
            }
        };
        let (trouble, exit) = match self.advance(&mut entry).await {
            Ok(()) => (None, Exit::Done),
            // Somebody dismissed it meanwhile: nobody waits for it any more.
            Err(_) if !self.outbox.holds(&entry) => return Some(Exit::Done),
            Err(unsent) => {
                let away = matches!(unsent, Unsent::Away(_) | Unsent::Later(_));
                let ending = unsent.ending();
                let exit = match ending.exit {
                    // Whoever calls 'sync' has typed nothing wrong, and interrupted nothing.
                    Exit::Usage | Exit::Interrupted => Exit::Failed,
                    other => other,
                };
                (Some(Trouble { away, failure: ending.failure }), exit)
            }
        };
        let changed = entry.trouble != trouble;
        entry.trouble = trouble;
        if let Some(trouble) = &entry.trouble {
            self.told.trouble(&entry, trouble);
        }
        if changed && let Err(failure) = self.outbox.update(&entry) {
            self.told.unreadable(&entry.id.to_string(), &failure);
            return Some(Exit::Failed);
        }
        Some(exit)
    }

    async fn advance(&mut self, entry: &mut Entry) -> Result<(), Unsent> {
        if !matches!(entry.stage, Stage::Sent { .. }) {
            self.hand_over(entry).await?;
        }
        match entry.output.clone() {
            None => Ok(self.outbox.remove(&entry.id.to_string())?),
            Some(output) => self.look(entry, &output).await,
        }
    }

    /// The servers to turn to for `entry`, in order.
    fn servers(&self, entry: &Entry) -> Vec<String> {
        let wanted = |server: &&str| self.only.as_ref().is_none_or(|only| only.contains(*server));
        entry.turn_to().into_iter().filter(wanted).map(str::to_owned).collect()
    }

    fn client(&mut self, server: &str) -> Result<Arc<Client>, Failure> {
        if let Some(client) = self.clients.get(server) {
            return Ok(client.clone());
        }
        let client = Client::new(&[server.to_owned()], self.common.api_key.as_deref())?;
        let client = Arc::new(client);
        self.clients.insert(server.to_owned(), client.clone());
        Ok(client)
    }

    /// Hands the entry to the first of its servers that takes it.
    async fn hand_over(&mut self, entry: &mut Entry) -> Result<(), Unsent> {
        let mut last = Failure::transient("no server is known");
        for server in self.servers(entry) {
            if let Some(why) = self.away.get(&server) {
                last = why.clone();
                continue;
            }
            let client = self.client(&server)?;
            self.told.trying(entry, &server);
            let outbox = self.outbox;
            let mut note = |entry: &Entry| match outbox.update(entry)? {
                true => Ok(()),
                false => Err(Failure::new(FailureClass::Cancelled, "it was dismissed meanwhile")),
            };
            let under_way = UnderWay::default();
            match deliver(&client, entry, &under_way, self.common, &mut note).await {
                Ok(job) => {
                    self.told.sent(entry, &server, &job);
                    return Ok(());
                }
                Err(Unsent::Away(why)) => {
                    self.away.insert(server, why.clone());
                    last = why;
                }
                Err(Unsent::Later(why)) => last = why,
                Err(no) => return Err(no),
            }
            if !matches!(entry.stage, Stage::Waiting) {
                // Nobody else may be asked before it is clear whether this one has it.
                break;
            }
        }
        Err(Unsent::Away(last))
    }

    /// Looks how the job of `entry` stands, and fetches its output when it is done.
    async fn look(&mut self, entry: &Entry, output: &Output) -> Result<(), Unsent> {
        let Stage::Sent { server: own, job: id } = &entry.stage else { return Ok(()) };
        let mut last = None;
        for server in self.servers(entry) {
            if let Some(why) = self.away.get(&server) {
                last = last.or(Some(Unsent::Away(why.clone())));
                continue;
            }
            let client = self.client(&server)?;
            match client.job(&id.to_string()).await {
                Ok(view) => return self.settle(entry, output, &client, &view).await,
                // What another server says of a job that it does not know counts for nothing.
                Err(error @ (CallError::Refused(_) | CallError::Problem { .. }))
                    if server != *own && error.answer() != Some(Answer::Later) => {}
                Err(error) => {
                    let unsent = Unsent::from(ClientError::from(error));
                    if let Unsent::Away(why) = &unsent {
                        self.away.insert(server, why.clone());
                    }
                    last = last.or(Some(unsent));
                }
            }
        }
        Err(last.unwrap_or_else(|| Unsent::Away(Failure::transient("no server is known"))))
    }

    async fn settle(
        &mut self,
        entry: &Entry,
        output: &Output,
        client: &Client,
        view: &JobView,
    ) -> Result<(), Unsent> {
        let job = &view.job;
        match job.state {
            JobState::Completed => {
                let place = self.fetch(output, client, job).await?;
                self.told.fetched(entry, job, &place);
                Ok(self.outbox.remove(&entry.id.to_string())?)
            }
            state if !state.is_final() => {
                self.told.running(entry, view);
                Ok(())
            }
            state => Err(Unsent::No(job.failure.clone().map_or_else(
                || {
                    let message = format!("the job was {}", state.label());
                    let failure =
                        Failure::permanent(message).advise("'reelmill retry' opens it again");
                    Ending { exit: Exit::Failed, failure }
                },
                Ending::from,
            ))),
        }
    }

    async fn fetch(&self, output: &Output, client: &Client, job: &Job) -> Result<PathBuf, Unsent> {
        let place = output.file(&output_name(job))?;
        if download::is_there(&place, job).await {
            return Ok(place);
        }
        let transfer = Transfer::new(self.common, "fetching", "fetching");
        let told = |done, total| transfer.show(done, total);
        Ok(download::fetch(client, job, &place, output.overwrite, &told).await?)
    }
}
