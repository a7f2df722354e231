//! `scan --sample N`: some of the files are tried out, and what came of it corrects
//! the forecast.

use super::{Enqueue, PAGE, filter};
use crate::cli::{out, scan};
use crate::exit::Ending;
use crate::library::sample;
use reelmill_core::library::forecast::{Factors, UNTRIED, picture, spread};
use reelmill_core::library::rules::Verdict;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// Files among which those to be tried are chosen, at most.
const MOST_SAMPLED: usize = 20_000;

/// What trials said.
#[derive(Debug)]
pub(super) struct Trials {
    /// How those that were tried compare with experience, by their ids.
    pub(super) files: BTreeMap<i64, Factors>,
    /// And all in all, which holds for the others.
    factors: Factors,
}

impl Trials {
    /// Nothing was tried.
    pub(super) fn none() -> Self {
        Self { files: BTreeMap::new(), factors: UNTRIED }
    }

    /// How the file of this id compares with experience.
    pub(super) fn of(&self, file: i64) -> Factors {
        self.files.get(&file).copied().unwrap_or(self.factors)
    }
}

impl Enqueue<'_> {
    /// How trials of `count` files compare with experience, all in all. The files
    /// lie evenly in the work that there is.
    pub(super) async fn sample(
        &self,
        count: u32,
        stop: &CancellationToken,
    ) -> Result<Trials, Ending> {
        let mut filter = filter(self.place, self.args.again);
        let (mut work, mut files) = (0.0, Vec::new());
        while files.len() < MOST_SAMPLED {
            let page = self.store.find(&filter, PAGE).await.map_err(|e| e.failure())?;
            let Some(last) = page.last() else { break };
            filter.after = last.id;
            for file in page {
                let Some((_, preset, set, _)) = file.verdict.as_ref().and_then(Verdict::order)
                else {
                    continue;
                };
                let preset = self.presets.get(preset, set)?;
                let Ok(facts) = &file.file.facts else { continue };
                if let Some(estimate) = picture(facts, &preset) {
                    work += estimate.seconds;
                    files.push((work, estimate, file, preset));
                }
            }
        }
        let tools = self.common.tools().await?;
        let (mut by_trial, mut by_experience) = ((0.0, 0.0), (0.0, 0.0));
        let ratio = |trial: f64, usual: f64| if usual > 0.0 { trial / usual } else { 1.0 };
        let mut each = BTreeMap::new();
        for at in spread(&files.iter().map(|(sum, ..)| *sum).collect::<Vec<_>>(), count) {
            let Some((_, estimate, file, preset)) = files.get(at) else { break };
            let path = file.file.path();
            let shown = scan::clean(&String::from_utf8_lossy(&path));
            match sample::attempt(&tools, &self.place.path(&path), preset, stop).await {
                Ok(Ok(tried)) => {
                    let bytes = ratio(tried.bytes as f64, estimate.bytes as f64);
                    let seconds = ratio(tried.seconds, estimate.seconds);
                    each.insert(file.id, Factors { bytes, seconds });
                    by_trial = (by_trial.0 + tried.bytes as f64, by_trial.1 + tried.seconds);
                    by_experience = (
                        by_experience.0 + estimate.bytes as f64,
                        by_experience.1 + estimate.seconds,
                    );
                    if !self.common.quiet && !self.common.json {
                        let (bytes, usual) = (out::bytes(tried.bytes), out::bytes(estimate.bytes));
                        out::note(&format!(
                            "{shown}: tried: {bytes} of picture, by experience {usual}"
                        ));
                    }
                }
                Ok(Err(why)) => out::note(&format!("{shown}: not tried: {why}")),
                Err(failure) if stop.is_cancelled() => return Err(failure.into()),
                Err(failure) => out::note(&format!("{shown}: not tried: {}", failure.message)),
            }
        }
        let factors = Factors {
            bytes: ratio(by_trial.0, by_experience.0),
            seconds: ratio(by_trial.1, by_experience.1),
        };
        Ok(Trials { files: each, factors })
    }
}
