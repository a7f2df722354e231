//! Tests of what came of conversions.

use super::*;
use crate::library::tests::{filled, film};
use crate::{FileFilter, Group, LibraryFile};
use reelmill_core::library::rules::{Answer, Verdict};
use reelmill_core::media::Hdr;

/// What a ledger says of a try at `file`.
fn outcome(file: &LibraryFile, at: i64, came: Came, settings: &str) -> Outcome {
    Outcome {
        at: Timestamp(at),
        machine: "attic".into(),
        file: reelmill_core::names::encode(&file.path()),
        before: file.size,
        digest: format!("{:016x}", file.digest),
        came,
        preset: settings.split(' ').next().unwrap_or_default().to_owned(),
        how: settings.to_owned(),
        after: (came != Came::Failed).then_some(5),
        note: (came == Came::Failed).then(|| "it is damaged".to_owned()),
        for_good: came == Came::Failed,
        watch: false,
    }
}

#[tokio::test]
async fn a_kept_file_has_its_own_answer_until_settings_change() {
    let (_dir, store, library) = filled().await;
    let film = film(b"A/Sun\xff_1.mkv", Hdr::Hdr10);
    let to = |set: &[&str]| Verdict::Convert {
        rule: "r".into(),
        preset: "hevc".into(),
        set: set.iter().map(|&word| word.to_owned()).collect(),
        priority: 50,
    };
    let count = async |answer: Answer| {
        store.settle(library, None).await.unwrap();
        let filter = FileFilter { answers: vec![answer], ..FileFilter::default() };
        let found = store.find(&filter, 10).await.unwrap();
        let counted = store.stats(&filter, Group::Codec).await.unwrap();
        assert_eq!(counted.iter().map(|group| group.files).sum::<u64>(), found.len() as u64);
        found
    };
    store.judge(library, "r1", |_, past| to(&[]).after(past)).await.unwrap();
    assert_eq!(count(Answer::Convert).await.len(), 3);
    let take = async |bytes: u64, anew: bool, outcomes: &[Outcome]| {
        let lines = Lines { name: "attic.jsonl", anew, bytes, outcomes };
        store.take_in(library, "cellar", lines).await.unwrap();
    };
    take(10, false, &[outcome(&film, 1, Came::Kept, &how("hevc", &[], None))]).await;
    store.judge(library, "r1", |_, past| to(&[]).after(past)).await.unwrap();
    assert_eq!((count(Answer::Convert).await.len(), count(Answer::Skip).await.len()), (2, 0));
    let kept = count(Answer::Kept).await;
    assert_eq!(kept.len(), 1);
    let by = kept[0].kept.as_ref().unwrap();
    assert_eq!((by.before, by.after, by.machine.as_str()), (7, Some(5), "attic"));
    let told = store.history(Some(library), None, 10).await.unwrap();
    assert_eq!((told.len(), told[0].what.as_str()), (1, "kept"));
    store.judge(library, "r2", |_, past| to(&["crf=20"]).after(past)).await.unwrap();
    assert_eq!((count(Answer::Convert).await.len(), count(Answer::Kept).await.len()), (3, 0));
    take(15, false, &[outcome(&film, 2, Came::Failed, "hevc crf=20")]).await;
    store.judge(library, "r2", |_, past| to(&["crf=20"]).after(past)).await.unwrap();
    assert_eq!((count(Answer::Convert).await.len(), count(Answer::Kept).await.len()), (2, 0));
    let failed = count(Answer::Failed).await;
    assert_eq!(failed.len(), 1);
    let by = failed[0].kept.as_ref().unwrap();
    assert_eq!((by.at, by.note.as_deref()), (Timestamp(2), Some("it is damaged")));
    take(20, false, &[outcome(&film, 3, Came::Undone, "")]).await;
    store.judge(library, "r2", |_, past| to(&["crf=20"]).after(past)).await.unwrap();
    assert_eq!(count(Answer::Kept).await.len(), 1, "undone");
}

#[tokio::test]
async fn outcomes_are_taken_in_once_and_summed_up() {
    let (_dir, store, library) = filled().await;
    let film = film(b"A/Sun\xff_1.mkv", Hdr::Hdr10);
    let all = async |folder: Option<&[u8]>| {
        let mut sums = Vec::new();
        store.outcomes(Some(library), folder, |sum| sums.push(sum)).await.unwrap();
        sums
    };
    let day = 86_400_000_000;
    let mut outcomes = [(0, Came::Converted), (1, Came::Converted), (day, Came::Failed)]
        .map(|(at, came)| outcome(&film, at, came, "hevc crf=20"));
    outcomes[0].file = "B/other.mkv".into();
    let lines = Lines { name: "a.jsonl", anew: false, bytes: 300, outcomes: &outcomes };
    store.take_in(library, "cellar", lines).await.unwrap();
    assert_eq!(store.ledgers(library).await.unwrap()["a.jsonl"], 300);
    let sums = all(None).await;
    assert_eq!((sums.len(), sums[0].count, sums[0].before, sums[0].after), (2, 2, 14, 10));
    assert_eq!((sums[1].at.0, sums[1].came, sums[1].preset.as_str()), (day, Came::Failed, "hevc"));
    assert_eq!(all(Some(b"B")).await.len(), 1, "of a folder only");
    // The ledger was another one: what it said before no longer counts.
    let lines = Lines { anew: true, bytes: 100, outcomes: &outcomes[..1], ..lines };
    store.take_in(library, "cellar", lines).await.unwrap();
    assert_eq!(all(None).await.len(), 1);
    // Who takes a replacement back need not know its preset.
    let undone = [outcome_of_undo(&outcomes[0])];
    let lines = Lines { name: "b.jsonl", anew: false, bytes: 9, outcomes: &undone };
    store.take_in(library, "cellar", lines).await.unwrap();
    assert_eq!(all(None).await[1].preset, "hevc");
}

fn outcome_of_undo(of: &Outcome) -> Outcome {
    let (preset, how) = (String::new(), String::new());
    Outcome { at: Timestamp(of.at.0 + 2 * MINUTE), came: Came::Undone, preset, how, ..of.clone() }
}
