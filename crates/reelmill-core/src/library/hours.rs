//! When a library may be worked on: hours of the week, the machine's load, free
//! space.

use std::str::FromStr;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A part of the week, such as `mon-fri 22:00-07:00`. One that ends before it
/// begins goes on into the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins, Monday first.
    days: [bool; 7],
    from: u16,
    to: u16,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no time such as 22:00-07:00 or sat,sun 08:00-24:00");
        let text = text.trim().to_lowercase();
        let (days, times) = text.rsplit_once(' ').unwrap_or(("mon-sun", &text));
        let (from, to) = times.split_once('-').ok_or_else(wrong)?;
        let window = Self {
            days: parse_days(days).ok_or_else(wrong)?,
            from: minute(from).filter(|minute| *minute < DAY).ok_or_else(wrong)?,
            to: minute(to).ok_or_else(wrong)?,
        };
        if window.from == window.to { Err(wrong()) } else { Ok(window) }
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':').unwrap_or((text, "0"));
    let (hours, minutes): (u16, u16) = (hours.trim().parse().ok()?, minutes.trim().parse().ok()?);
    let fits = minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0));
    fits.then_some(hours * 60 + minutes)
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let number = |name: &str| NAMES.iter().position(|day| name.trim() == *day);
    let mut days = [false; 7];
    for part in text.split(',') {
        match part.split_once('-') {
            None => days[number(part)?] = true,
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                let count = (last + 7 - first) % 7;
                (0..=count).for_each(|more| days[(first + more) % 7] = true);
            }
        }
    }
    Some(days)
}

impl Window {
    /// Whether it is open on a weekday (0 is Monday) at a minute of the day.
    #[must_use]
    pub fn open(&self, weekday: usize, minute: u16) -> bool {
        let begins = |day: usize| self.days[day % 7];
        if self.from < self.to {
            return begins(weekday) && (self.from..self.to).contains(&minute);
        }
        (begins(weekday) && minute >= self.from) || (begins(weekday + 6) && minute < self.to)
    }
}

/// What work keeps to.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// When it may go on; always when empty.
    pub hours: Vec<Window>,
    /// Cores that others may use before it yields to them.
    pub max_load: Option<f64>,
    /// Bytes that stay free where outputs and temporary files go.
    pub min_free: u64,
}

/// How the machine is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// 0 is Monday.
    pub weekday: usize,
    /// Minute of the day.
    pub minute: u16,
    /// Cores that others use; `None` when that cannot be told.
    pub load: Option<f64>,
    /// Bytes that are free, where they are the fewest.
    pub free: u64,
}

/// Of the limit on load below which work begins again, so that it does not begin
/// and yield by turns.
const AGAIN: f64 = 0.7;

impl Limits {
    /// Why there is to be no work now, if so; `working` when there is.
    #[must_use]
    pub fn forbid(&self, now: Now, working: bool) -> Option<String> {
        if !self.hours.is_empty()
            && !self.hours.iter().any(|window| window.open(now.weekday, now.minute))
        {
            return Some("it is outside of the hours".into());
        }
        if let (Some(most), Some(load)) = (self.max_load, now.load)
            && load > if working { most } else { most * AGAIN }
        {
            return Some(format!("others use {load:.1} cores"));
        }
        if now.free < self.min_free {
            return Some(format!("only {} MB are free", now.free / 1_000_000));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = window("mon-fri 22:00-07:00");
        assert!(night.open(4, 23 * 60) && night.open(5, 6 * 60 + 59), "Friday night");
        assert!(!night.open(5, 23 * 60) && !night.open(0, 60), "Saturday, Sunday to Monday");
        assert!(!night.open(2, 12 * 60) && !night.open(5, 7 * 60));
        let weekend = window("sat,sun 08:00-24:00");
        assert!(weekend.open(6, 23 * 60 + 59) && !weekend.open(0, 0));
        assert!(window("fri-mon 1-2").open(6, 90), "days go round");
        for bad in
            ["", "22:00", "22:00-22:00", "25:00-26:00", "24:00-01:00", "someday 1-2", "1:60-2"]
        {
            bad.parse::<Window>().unwrap_err();
        }
    }

    #[test]
    fn work_yields_to_others_and_begins_again_a_good_deal_below() {
        let limits = Limits { hours: Vec::new(), max_load: Some(1.0), min_free: 100 };
        let now = |load: f64| Now { weekday: 0, minute: 0, load: Some(load), free: 100 };
        assert_eq!(limits.forbid(now(0.9), true), None);
        assert!(limits.forbid(now(1.1), true).unwrap().contains("1.1 cores"));
        assert!(limits.forbid(now(0.9), false).is_some());
        assert_eq!(limits.forbid(now(0.6), false), None);
        assert_eq!(limits.forbid(Now { load: None, ..now(9.0) }, true), None);
        let full = Now { free: 99, ..now(0.0) };
        assert!(limits.forbid(full, true).unwrap().contains("MB are free"));
    }

    proptest! {
        #[test]
        fn a_window_and_its_opposite_cover_the_week_once(
            from in 0u16..DAY,
            to in 0u16..DAY,
            day in 0usize..7,
            minute in 0u16..DAY,
        ) {
            prop_assume!(from != to);
            let of = |from: u16, to: u16| window(&format!("{}:{}-{}:{}", from / 60, from % 60, to / 60, to % 60));
            prop_assert!(of(from, to).open(day, minute) != of(to, from).open(day, minute));
        }
    }
}
