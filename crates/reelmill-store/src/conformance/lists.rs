//! Listing, finding and counting jobs.

use super::fixture::*;
use crate::{JobFilter, Store, StoreError};
use reelmill_core::id::JobId;
use reelmill_core::job::{Item, Job, JobState};
use std::collections::BTreeMap;
use uuid::Uuid;

async fn numbers(store: &dyn Store, filter: JobFilter) -> Vec<u128> {
    let jobs = store.job_list(&filter).await.unwrap();
    jobs.iter().map(|job| job.id.0.as_u128()).collect()
}

/// Jobs 1…9: of Ann and Bob in turn, every third one labelled, every fourth
/// one cancelled; 5 and 6 came at the same time.
async fn nine(store: &dyn Store) {
    for number in 1..=9 {
        let owner = Some(if number % 2 == 0 { "ann" } else { "bob" }.to_owned());
        let label = ("show".to_owned(), "alpha".to_owned());
        let labels = if number % 3 == 0 { BTreeMap::from([label]) } else { BTreeMap::new() };
        let created = if number == 6 { at(5) } else { at(number as i64) };
        let (client_id, version) = ("tv".to_owned(), Some(number.to_string()));
        let item = Item { client_id, version, file_name: None, size: None, checksum: None };
        let item = (number % 3 == 0).then_some(item);
        let job = Job { owner, labels, created, item, ..job(number) };
        store.job_submit(new_job(job)).await.unwrap();
        if number % 4 == 0 {
            store.job_cancel(job_id(number), at(50)).await.unwrap();
        }
    }
}

pub(super) async fn jobs_are_listed_newest_first_page_by_page(store: &dyn Store) {
    nine(store).await;
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = numbers(store, JobFilter { after, limit: 2, ..JobFilter::default() }).await;
        let Some(last) = page.last() else { break };
        after = Some(job_id(*last));
        seen.extend(page);
    }
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let gone = JobFilter { after: Some(job_id(77)), limit: 2, ..JobFilter::default() };
    let error = store.job_list(&gone).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
}

pub(super) async fn filters_combine(store: &dyn Store) {
    nine(store).await;
    let all = JobFilter { limit: 99, ..JobFilter::default() };
    let cancelled = JobFilter { states: vec![JobState::Cancelled], ..all.clone() };
    assert_eq!(numbers(store, cancelled).await, [8, 4]);
    let states = vec![JobState::Cancelled, JobState::Queued, JobState::Failed];
    let any = JobFilter { states, limit: 3, after: Some(job_id(9)), ..all.clone() };
    assert_eq!(numbers(store, any.clone()).await, [8, 7, 6]);
    let ann = JobFilter { owner: Some("ann".into()), ..all.clone() };
    assert_eq!(numbers(store, ann.clone()).await, [8, 6, 4, 2]);
    let label = Some(("show".into(), "alpha".into()));
    let labelled = JobFilter { label: label.clone(), ..all.clone() };
    assert_eq!(numbers(store, labelled.clone()).await, [9, 6, 3]);
    let paged = JobFilter { after: Some(job_id(9)), limit: 1, ..labelled };
    assert_eq!(numbers(store, paged).await, [6]);
    assert_eq!(numbers(store, JobFilter { label, ..ann }).await, [6]);
    let tv = JobFilter { client: Some("tv".into()), ..all.clone() };
    assert_eq!(numbers(store, tv.clone()).await, [9, 6, 3]);
    let paged = JobFilter { after: Some(job_id(9)), limit: 1, ..tv.clone() };
    assert_eq!(numbers(store, paged).await, [6]);
    assert_eq!(numbers(store, JobFilter { owner: Some("ann".into()), ..tv }).await, [6]);
    let pc = JobFilter { client: Some("pc".into()), ..all.clone() };
    assert_eq!(numbers(store, pc).await, [0u128; 0]);
    let other = Some(("show".into(), "beta".into()));
    assert_eq!(numbers(store, JobFilter { label: other, ..all }).await, [0u128; 0]);
    let bobs = JobFilter { owner: Some("bob".into()), ..any };
    assert_eq!(numbers(store, bobs).await, [7, 5, 3]);
}

pub(super) async fn jobs_are_found_by_the_start_of_their_id(store: &dyn Store) {
    let ids = [
        "0192f3a4-0000-7000-8000-000000000001",
        "0192f3a4-0000-7000-8000-000000000002",
        "0192f3a5-0000-7000-8000-000000000003",
        "0192ffff-0000-7000-8000-000000000004",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ];
    let ids = ids.map(|id| JobId(Uuid::parse_str(id).unwrap()));
    for id in ids {
        store.job_submit(new_job(Job { id, ..job(1) })).await.unwrap();
    }
    assert_eq!(store.job_find("0192f3a4").await.unwrap(), ids[..2]);
    assert_eq!(store.job_find("0192F3A5-00").await.unwrap(), ids[2..3]);
    assert_eq!(store.job_find("0192").await.unwrap(), ids[..3], "at most three");
    assert_eq!(store.job_find("f").await.unwrap(), ids[4..]);
    assert_eq!(store.job_find(&ids[3].to_string()).await.unwrap(), ids[3..4]);
    for nothing in ["", "2", "film", "0192f3a4%"] {
        assert!(store.job_find(nothing).await.unwrap().is_empty(), "{nothing}");
    }
}

pub(super) async fn jobs_are_counted_by_state(store: &dyn Store) {
    assert!(store.job_counts().await.unwrap().is_empty());
    nine(store).await;
    claim(store, task_id(1, 0), 1, at(60)).await;
    let counts = store.job_counts().await.unwrap();
    let wanted = [(JobState::Queued, 6), (JobState::Running, 1), (JobState::Cancelled, 2)];
    assert_eq!(counts, BTreeMap::from(wanted));
    let oldest = async |state| store.job_oldest(state).await.unwrap();
    assert_eq!(oldest(JobState::Queued).await, Some(at(2)));
    assert_eq!(oldest(JobState::Cancelled).await, Some(at(4)));
    assert_eq!(oldest(JobState::Failed).await, None);
}
