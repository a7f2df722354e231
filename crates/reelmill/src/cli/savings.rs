//! What conversions saved, over time, by preset and by machine.

use super::args::Common;
use super::library_args::StatsBy;
use super::out;
use crate::exit::Ending;
use jiff::tz::TimeZone;
use reelmill_core::library::outcome::Saved;
use reelmill_core::time::Timestamp;
use reelmill_store::{FileFilter, LibraryStore, OutcomeSum};
use std::collections::BTreeMap;

/// The sums, for people or programs: one line a sort, and one of all. Without a sort that one,
/// if there is anything to tell.
pub(super) async fn tell(
    store: &LibraryStore,
    filter: &FileFilter,
    by: Option<StatsBy>,
    common: &Common,
) -> Result<(), Ending> {
    let (asked, by) = (by.is_some(), by.unwrap_or(StatsBy::Saved));
    let (mut sums, mut all) = (BTreeMap::new(), Saved::default());
    let zone = TimeZone::system();
    let told = store.outcomes(filter.library, filter.folder.as_deref(), |part| {
        let OutcomeSum { came, count, before, after, .. } = part;
        all.add(came, count, before, after);
        if let Some(sort) = sort(&part, by, &zone) {
            sums.entry(sort).or_insert_with(Saved::default).add(came, count, before, after);
        }
    });
    told.await.map_err(|e| e.failure())?;
    if !asked && all == Saved::default() {
        return Ok(());
    }
    let name = word(by);
    for (sort, saved) in &sums {
        line(name, sort, saved, common);
    }
    line(if name.is_empty() { "saved" } else { name }, "all", &all, common);
    Ok(())
}

/// The sort that outcomes belong to; none where only the sum of all is asked for.
fn sort(part: &OutcomeSum, by: StatsBy, zone: &TimeZone) -> Option<String> {
    let known = |name: &str| if name.is_empty() { "not known".into() } else { name.to_owned() };
    match by {
        StatsBy::Preset => Some(known(&part.preset)),
        StatsBy::Machine => Some(known(&part.machine)),
        StatsBy::Day | StatsBy::Week | StatsBy::Month => Some(time(part.at, by, zone)),
        _ => None,
    }
}

/// A day, week or month, as ISO 8601 writes it.
fn time(at: Timestamp, by: StatsBy, zone: &TimeZone) -> String {
    let at = jiff::Timestamp::from_microsecond(at.0).unwrap_or_default();
    let date = at.to_zoned(zone.clone()).date();
    match by {
        StatsBy::Week => {
            let week = date.iso_week_date();
            format!("{}-W{:02}", week.year(), week.week())
        }
        StatsBy::Month => format!("{}-{:02}", date.year(), date.month()),
        _ => date.to_string(),
    }
}

fn word(by: StatsBy) -> &'static str {
    match by {
        StatsBy::Day => "day",
        StatsBy::Week => "week",
        StatsBy::Month => "month",
        StatsBy::Preset => "preset",
        StatsBy::Machine => "machine",
        _ => "",
    }
}

fn line(by: &str, sort: &str, saved: &Saved, common: &Common) {
    if common.json {
        let mut line = serde_json::json!({"by": by, "sort": sort});
        if let (Some(line), Ok(serde_json::Value::Object(sums))) =
            (line.as_object_mut(), serde_json::to_value(saved))
        {
            line.extend(sums);
        }
        out::json(&line);
    } else {
        out::line(&told(sort, saved));
    }
}

fn told(sort: &str, saved: &Saved) -> String {
    let Saved { converted, kept, failed, undone, bytes_before, bytes_after, bytes_saved } = saved;
    let less = out::bytes(bytes_saved.unsigned_abs());
    let sign = if *bytes_saved < 0 { "-" } else { "" };
    let part = match bytes_before {
        0 => String::new(),
        before => format!(" ({:.0} %)", *bytes_saved as f64 / *before as f64 * 100.0),
    };
    let others = [("kept", kept), ("failed", failed), ("undone", undone)];
    let others = others.iter().filter(|(_, count)| **count > 0);
    let others: String = others.map(|(what, count)| format!(", {count} {what}")).collect();
    format!(
        "{sort:<24} {converted:>7} converted  {:>10} became {:>10}, {sign}{less} saved{part}{others}",
        out::bytes(*bytes_before),
        out::bytes(*bytes_after)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_core::library::outcome::Came;

    #[test]
    fn days_weeks_and_months_are_those_of_the_place() {
        // Thursday, 31 December 2026, 23:30 in UTC.
        let at = Timestamp(1_798_759_800_000_000);
        let at_home = TimeZone::fixed(jiff::tz::offset(1));
        let told = |by, zone: &TimeZone| time(at, by, zone);
        assert_eq!(told(StatsBy::Day, &TimeZone::UTC), "2026-12-31");
        assert_eq!(told(StatsBy::Day, &at_home), "2027-01-01");
        assert_eq!(told(StatsBy::Week, &at_home), "2026-W53");
        assert_eq!(told(StatsBy::Month, &at_home), "2027-01");
    }

    #[test]
    fn a_line_says_what_was_saved() {
        let mut saved = Saved::default();
        saved.add(Came::Converted, 3, 4_000_000, 1_000_000);
        saved.add(Came::Kept, 2, 9, 10);
        saved.add(Came::Undone, 1, 2_000_000, 500_000);
        insta::assert_snapshot!(told("2026-11-28", &saved));
        let mut grown = Saved::default();
        grown.add(Came::Converted, 1, 1000, 2500);
        insta::assert_snapshot!("grown", told("all", &grown));
    }
}
