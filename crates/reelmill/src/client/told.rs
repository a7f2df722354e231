//! What `reelmill sync` tells: a line for each step of an entry, once.

use super::Common;
use super::render::{age, clean, progress, short, state, table};
use crate::cli::out;
use crate::clock;
use crate::coordinator::JobView;
use crate::outbox::{Entry, Found, Output, Stage, Trouble};
use reelmill_core::error::Failure;
use reelmill_core::job::Job;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Tells people or programs how entries fare.
pub(super) struct Told<'a> {
    common: &'a Common,
    /// Whether the same may be to tell many times over: then it is told once.
    watching: bool,
    last: BTreeMap<String, String>,
}

impl<'a> Told<'a> {
    /// As the user wants it.
    pub(super) fn new(common: &'a Common, watching: bool) -> Self {
        Self { common, watching, last: BTreeMap::new() }
    }

    /// Whether `what` of the entry called `id` is not what was told of it last.
    fn is_new(&mut self, id: &str, what: &str) -> bool {
        let before = self.last.insert(id.to_owned(), what.to_owned());
        !self.watching || before.as_deref() != Some(what)
    }

    fn line(&self, entry: &Entry, text: &str, event: &Value) {
        if self.common.json {
            out::json(event);
        } else if !self.common.quiet {
            out::line(&format!("{}: {text}", clean(&entry.request.name)));
        }
    }

    /// It is handed over to `server`, if that one answers.
    pub(super) fn trying(&self, entry: &Entry, server: &str) {
        if self.common.json && !self.watching {
            out::json(&json!({
                "event": "trying", "entry": entry.id, "name": entry.request.name, "server": server,
            }));
        }
    }

    /// A server has made a job of it.
    pub(super) fn sent(&mut self, entry: &Entry, server: &str, job: &Job) {
        let id = job.id;
        self.is_new(&entry.id.to_string(), "sent");
        let event = json!({
            "event": "sent", "entry": entry.id, "name": entry.request.name, "server": server,
            "job": id,
        });
        let at = server.trim_end_matches('/');
        self.line(entry, &format!("sent to {at}, job {id}"), &event);
    }

    /// Its job goes on.
    pub(super) fn running(&mut self, entry: &Entry, view: &JobView) {
        let word = state(view);
        if !self.is_new(&entry.id.to_string(), &word) {
            return;
        }
        let event = json!({
            "event": "running", "entry": entry.id, "name": entry.request.name, "job": view.job.id,
            "state": view.job.state, "frames_done": view.frames_done,
            "frames_total": view.frames_total,
        });
        let text = match view.frames_total {
            Some(_) => format!("{word}, {}", progress(view)),
            None => word,
        };
        self.line(entry, &text, &event);
    }

    /// Its output is in its place.
    pub(super) fn fetched(&mut self, entry: &Entry, job: &Job, place: &Path) {
        let finished = job.output.as_ref();
        let event = json!({
            "event": "fetched", "entry": entry.id, "name": entry.request.name, "job": job.id,
            "output": place, "bytes": finished.map(|o| o.bytes),
            "sha512": finished.map(|o| &o.sha512),
        });
        let size = finished.map(|o| out::bytes(o.bytes)).unwrap_or_default();
        self.line(entry, &format!("fetched to {} ({size})", place.display()), &event);
    }

    /// It could not go on.
    pub(super) fn trouble(&mut self, entry: &Entry, trouble: &Trouble) {
        let failure = &trouble.failure;
        if !self.is_new(&entry.id.to_string(), &failure.message) {
            return;
        }
        if self.common.json {
            out::json(&json!({
                "event": if trouble.away { "waiting" } else { "failed" }, "entry": entry.id,
                "name": entry.request.name, "state": entry.state().label(), "failure": failure,
            }));
            return;
        }
        let (name, id) = (clean(&entry.request.name), short(&entry.id.to_string()));
        if trouble.away {
            out::note(&format!("{name} ({id}): waiting: {}", failure.message));
        } else {
            let message = format!("{name} ({id}): {}", failure.message);
            let dismiss = format!("'reelmill sync --forget {id}' dismisses it");
            let advice = match &failure.advice {
                Some(advice) => format!("{advice}; {dismiss}"),
                None => dismiss,
            };
            out::failure(&Failure { message, ..failure.clone() }.advise(advice), false);
        }
    }

    /// What is kept of it cannot be read or written.
    pub(super) fn unreadable(&mut self, id: &str, failure: &Failure) {
        if !self.is_new(id, &failure.message) {
            return;
        }
        if self.common.json {
            out::json(&json!({"event": "unreadable", "entry": id, "failure": failure}));
        } else {
            let what = format!("{} in the outbox: {}", clean(id), failure.message);
            out::failure(&Failure { message: what, ..failure.clone() }, false);
        }
    }
}

/// Shows what lies in the outbox.
pub(super) fn listed(all: &[Found], common: &Common) {
    if common.json {
        for found in all {
            match found {
                Found::Entry(entry) => out::json(&object(entry)),
                Found::Unreadable { id, failure } => {
                    out::json(&json!({"entry": id, "state": "unreadable", "failure": failure}));
                }
            }
        }
        return;
    }
    let heading = ["ID", "STATE", "AGE", "NAME", "SERVER", "OUTPUT"].map(str::to_owned).to_vec();
    let rows = std::iter::once(heading).chain(all.iter().map(row)).collect::<Vec<_>>();
    let mut lines = table(&rows).into_iter();
    lines.by_ref().take(1).for_each(|line| out::line(&line));
    for (line, found) in lines.zip(all) {
        out::line(&line);
        let failure = match found {
            Found::Entry(entry) => entry.trouble.as_ref().map(|trouble| &trouble.failure),
            Found::Unreadable { failure, .. } => Some(failure),
        };
        if let Some(failure) = failure {
            out::line(&format!("  {}", clean(&failure.message)));
        }
    }
}

fn row(found: &Found) -> Vec<String> {
    let Found::Entry(entry) = found else {
        return vec![clean(&found.id()), "unreadable".to_owned()];
    };
    let server = entry.turn_to().into_iter().next().unwrap_or_default();
    vec![
        short(&entry.id.to_string()),
        entry.state().label().to_owned(),
        age(entry.created, clock::now()),
        clean(&entry.request.name),
        server.trim_end_matches('/').to_owned(),
        entry.output.as_ref().map(|output| shown(output.path())).unwrap_or_default(),
    ]
}

fn shown(path: &Path) -> String {
    clean(&path.display().to_string())
}

fn object(entry: &Entry) -> Value {
    let (server, job) = match &entry.stage {
        Stage::Waiting => (None, None),
        Stage::Uploaded { server, .. } => (Some(server), None),
        Stage::Sent { server, job } => (Some(server), Some(job)),
    };
    json!({
        "entry": entry.id, "state": entry.state().label(), "created": entry.created,
        "name": entry.request.name, "source": shown(entry.source.path()),
        "output": entry.output.as_ref().map(Output::path).map(shown), "servers": entry.servers,
        "server": server, "job": job, "preset": entry.request.preset,
        "idempotency_key": entry.key,
        "failure": entry.trouble.as_ref().map(|trouble| &trouble.failure),
    })
}
