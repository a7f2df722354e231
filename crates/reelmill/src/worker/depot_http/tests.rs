//! A worker's bytes over HTTP, on good lines and bad ones.

use super::HttpDepot;
use crate::api::Auth;
use crate::api::tests::farm::{Farm, Player, Served, analysed, noise, sha512};
use crate::api::tests::proxy::{Cut, Proxy};
use crate::task_source::{Assignment, Report, TaskSource};
use crate::worker::depot::Depot;
use reelmill_core::chunk::ByteRange;
use reelmill_core::error::FailureClass;
use reelmill_core::job::Source;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Bench {
    farm: Farm,
    server: Served,
    player: Player,
    chunk: Assignment,
    scratch: tempfile::TempDir,
    source: Vec<u8>,
}

impl Bench {
    async fn new() -> Self {
        let farm = Farm::sqlite().await;
        let server = Served::start(&farm, Auth::Open).await;
        let source = noise((9 << 20) + 5);
        farm.submit(&source, None).await;
        let player = Player::new();
        let tasks = farm.coordinator.clone();
        tasks.join(&player.hello()).await.unwrap();
        let analyse = tasks.claim(&player.ask(), Duration::ZERO).await.unwrap().unwrap();
        tasks.report(&player.done(&analyse, analysed(2))).await.unwrap();
        let chunk = tasks.claim(&player.ask(), Duration::ZERO).await.unwrap().unwrap();
        Self { farm, server, player, chunk, scratch: tempfile::tempdir().unwrap(), source }
    }

    fn depot(&self, url: &str) -> HttpDepot {
        let _ = self;
        HttpDepot::new(&[url.to_owned()], None).unwrap()
    }

    async fn release(&self) {
        let done = self.player.done(&self.chunk, Report::Released);
        self.farm.coordinator.report(&done).await.unwrap();
    }
}

#[tokio::test]
async fn the_whole_source_comes_over_a_bad_line() {
    let bench = Bench::new().await;
    let cuts = [Cut::Received(1000), Cut::Received(0), Cut::Received(3 << 20), Cut::Sent(20)];
    let proxy = Proxy::before(bench.server.authority(), cuts).await;
    let depot = bench.depot(&proxy.url);
    let cancel = CancellationToken::new();
    let path = depot.source(&bench.chunk, &[], bench.scratch.path(), &cancel).await.unwrap();
    assert!(proxy.is_through(), "every cut was made");
    assert!(std::fs::read(path).unwrap() == bench.source);
}

#[tokio::test]
async fn a_slice_holds_its_ranges_in_place_and_nothing_else_is_fetched() {
    let bench = Bench::new().await;
    let proxy = Proxy::before(bench.server.authority(), [Cut::Received(50_000)]).await;
    let depot = bench.depot(&proxy.url);
    let slice = [
        ByteRange { start: 0, end: 100_000 },
        ByteRange { start: 6 << 20, end: (6 << 20) + 70_000 },
        ByteRange { start: (9 << 20) - 1, end: u64::MAX },
    ];
    let cancel = CancellationToken::new();
    let path = depot.source(&bench.chunk, &slice, bench.scratch.path(), &cancel).await.unwrap();
    let file = std::fs::read(&path).unwrap();
    assert_eq!(file.len(), bench.source.len());
    for range in &slice {
        let range = range.start as usize..(range.end as usize).min(file.len());
        assert!(file[range.clone()] == bench.source[range]);
    }
    assert!(file[100_000..6 << 20].iter().all(|byte| *byte == 0), "the rest is a hole");
}

#[tokio::test]
async fn a_damaged_source_is_noticed() {
    let mut bench = Bench::new().await;
    let Source::Upload { sha512: digest, .. } = &mut bench.chunk.source else { panic!() };
    *digest = sha512(b"something else");
    let depot = bench.depot(&bench.server.url);
    let cancel = CancellationToken::new();
    let damaged = depot.source(&bench.chunk, &[], bench.scratch.path(), &cancel).await;
    assert_eq!(damaged.unwrap_err().class, FailureClass::Transient);
}

#[tokio::test]
async fn a_lost_lease_ends_transfers_both_ways() {
    let bench = Bench::new().await;
    bench.release().await;
    let depot = bench.depot(&bench.server.url);
    let cancel = CancellationToken::new();
    let fetched = depot.source(&bench.chunk, &[], bench.scratch.path(), &cancel).await;
    assert_eq!(fetched.unwrap_err().class, FailureClass::Cancelled);
    let file = bench.scratch.path().join("made");
    std::fs::write(&file, "made").unwrap();
    let kept = depot.keep(&bench.chunk, &file, &cancel).await;
    assert_eq!(kept.unwrap_err().class, FailureClass::Cancelled);
}

#[tokio::test]
async fn a_finished_piece_survives_cuts_and_a_restart_of_the_server() {
    let mut bench = Bench::new().await;
    let made = noise(5 << 20);
    let file = bench.scratch.path().join("made");
    std::fs::write(&file, &made).unwrap();
    let authority = bench.server.authority().to_owned();
    let cuts = [Cut::Sent(1 << 20), Cut::Received(0), Cut::Sent(300), Cut::Received(5)];
    let proxy = Proxy::before(&authority, cuts).await;
    let depot = bench.depot(&proxy.url);
    bench.server.stop.cancel();
    (&mut bench.server.ended).await.unwrap();
    let cancel = CancellationToken::new();
    let keeping = depot.keep(&bench.chunk, &file, &cancel);
    let restarting = async {
        // Two of the cuts are used up before the server is back.
        while proxy.cuts.lock().unwrap().len() > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Served::at(&bench.farm, Auth::Open, &authority).await
    };
    let (kept, _server) = tokio::join!(keeping, restarting);
    let kept = kept.unwrap();
    assert!(proxy.is_through(), "every cut was made");
    assert_eq!((kept.bytes, kept.sha512), (made.len() as u64, sha512(&made)));
    assert!(bench.farm.store.blob_get(kept.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_transfer_from_a_server_that_is_away_ends_when_cancelled() {
    let bench = Bench::new().await;
    bench.server.stop.cancel();
    let depot = bench.depot(&bench.server.url);
    let cancel = CancellationToken::new();
    let fetching = depot.source(&bench.chunk, &[], bench.scratch.path(), &cancel);
    let (fetched, ()) = tokio::join!(fetching, async { cancel.cancel() });
    assert_eq!(fetched.unwrap_err().class, FailureClass::Cancelled);
}

#[tokio::test]
async fn a_refused_token_is_told_as_such() {
    let bench = Bench::new().await;
    let locked = Served::start(&bench.farm, Auth::keys(bench.farm.store.clone(), None)).await;
    let depot = bench.depot(&locked.url);
    let cancel = CancellationToken::new();
    let fetched = depot.source(&bench.chunk, &[], bench.scratch.path(), &cancel).await;
    assert_eq!(fetched.unwrap_err().class, FailureClass::Environment);
}

#[tokio::test]
async fn sources_of_other_machines_and_finished_pieces_are_not_to_be_had() {
    let mut bench = Bench::new().await;
    bench.chunk.source = Source::Local { path: "/film.mkv".into() };
    let depot = bench.depot(&bench.server.url);
    let cancel = CancellationToken::new();
    let local = depot.source(&bench.chunk, &[], bench.scratch.path(), &cancel).await;
    assert_eq!(local.unwrap_err().class, FailureClass::Permanent);
    let blob = bench.farm.blob(b"piece").await;
    assert_eq!(depot.piece(&blob).await.unwrap_err().class, FailureClass::Permanent);
}
