//! The client commands against a real server: their exit codes and what they
//! leave on disk.

use super::farm::{Farm, Player, Served, noise, until};
use super::proxy::{Cut, Proxy};
use crate::api::{Auth, Role, create_key};
use crate::client::args::{
    CancelArgs, FetchArgs, ListArgs, RetryArgs, StatusArgs, SubmitArgs, WorkersArgs,
};
use crate::client::{Common, admin, commands, submit};
use crate::task_source::TaskSource;
use clap::{Args, Command, FromArgMatches};
use std::path::Path;
use std::time::Duration;

fn common(url: &str) -> Common {
    Common {
        servers: vec![url.to_owned()],
        api_key: None,
        json: false,
        quiet: true,
        outbox: "/dev/null/outbox".into(),
        chosen: true,
    }
}

fn parse<T: Args + FromArgMatches>(words: &[&str]) -> T {
    let command = T::augment_args(Command::new("x"));
    let matches = command.try_get_matches_from([&["x"], words].concat()).unwrap();
    T::from_arg_matches(&matches).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn submitting_fetching_and_the_rest_end_with_their_exit_codes() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let here = common(&server.url);
    let film = farm.folder.path().join("film.avi");
    std::fs::write(&film, noise(100)).unwrap();
    let args: SubmitArgs = parse(&[text(&film), "--label", "a=b", "--set", "crf=30"]);
    assert_eq!(submit::submit(args, here.clone()).await, 0);
    let filter = reelmill_store::JobFilter { limit: 9, ..Default::default() };
    let job = farm.coordinator.jobs(&filter).await.unwrap().pop().unwrap();
    assert_eq!((job.name.as_str(), job.labels["a"].as_str()), ("film.avi", "b"));
    assert_eq!(job.request.preset.video.as_ref().unwrap().crf, Some(30.0));
    let id = job.id.to_string();
    let fetch: FetchArgs = parse(&[&id, "-o", text(farm.folder.path())]);
    assert_eq!(commands::fetch(fetch, here.clone()).await, 1, "it has no output yet");
    assert_eq!(commands::list(parse::<ListArgs>(&["--state", "queued"]), here.clone()).await, 0);
    assert_eq!(commands::status(parse::<StatusArgs>(&[&id[..13]]), here.clone()).await, 0);
    assert_eq!(commands::retry(parse::<RetryArgs>(&[&id]), here.clone()).await, 1);
    assert_eq!(commands::cancel(parse::<CancelArgs>(&[&id]), here.clone()).await, 0);
    assert_eq!(commands::cancel(parse::<CancelArgs>(&[&id]), here.clone()).await, 1);
    let follow: StatusArgs = parse(&[&id, "--follow"]);
    assert_eq!(commands::status(follow, here.clone()).await, 1, "it was cancelled");
    assert_eq!(commands::retry(parse::<RetryArgs>(&[&id]), here.clone()).await, 0);
    assert_eq!(commands::workers(parse::<WorkersArgs>(&[]), here.clone()).await, 0);
    assert_eq!(commands::status(parse::<StatusArgs>(&["ffff"]), here.clone()).await, 1);
    assert_eq!(commands::status(parse::<StatusArgs>(&["../x"]), here).await, 1);
}

#[tokio::test]
async fn what_is_wrong_before_anything_is_sent_has_its_own_codes() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let here = common(&server.url);
    let folder = farm.folder.path();
    let (film, empty, there) =
        (folder.join("film.avi"), folder.join("empty"), folder.join("there.mkv"));
    std::fs::write(&film, "film").unwrap();
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&there, "there").unwrap();
    let submit = async |words: &[&str], common: &Common| {
        submit::submit(parse::<SubmitArgs>(words), common.clone()).await
    };
    assert_eq!(submit(&[text(&folder.join("nothing"))], &here).await, 3);
    assert_eq!(submit(&[text(&empty)], &here).await, 3);
    assert_eq!(submit(&[text(folder)], &here).await, 3);
    assert_eq!(submit(&[text(&film), "--wait", "-o", text(&there)], &here).await, 2);
    assert_eq!(submit(&[text(&film), "--preset", "h265"], &here).await, 2);
    assert_eq!(submit(&[text(&film), "--preset", "h264", "--format", "webm"], &here).await, 2);
    assert_eq!(farm.coordinator.blobs().uploads().await.unwrap(), [], "nothing was uploaded");
    assert_eq!(farm.coordinator.blobs().list().await.unwrap(), [], "nothing was uploaded");
    assert_eq!(submit(&[text(&film)], &common("ftp://x")).await, 2);
    server.stop.cancel();
    server.ended.await.unwrap();
    assert_eq!(submit(&[text(&film)], &here).await, 4, "it could not be kept");
    assert_eq!(submit(&[text(&film), "--no-outbox"], &here).await, 4);
    assert_eq!(commands::list(parse::<ListArgs>(&[]), here).await, 4);
}

#[tokio::test]
async fn a_wrong_key_is_told_apart_and_a_good_one_works() {
    let farm = Farm::memory().await;
    let key = create_key(farm.store.as_ref(), Role::Client, "c").await.unwrap();
    let server = Served::start(&farm, Auth::keys(farm.store.clone(), None)).await;
    let with =
        |key: Option<&str>| Common { api_key: key.map(str::to_owned), ..common(&server.url) };
    let list = async |common: Common| commands::list(parse::<ListArgs>(&[]), common).await;
    assert_eq!(list(with(None)).await, 4);
    assert_eq!(list(with(Some("rmk_0_0"))).await, 4);
    assert_eq!(list(with(Some("no\nkey"))).await, 2);
    assert_eq!(list(with(Some(&key))).await, 0);
}

#[tokio::test]
async fn a_worker_is_limited_and_released_by_its_name() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let here = common(&server.url);
    let player = Player::new();
    let source: &dyn TaskSource = farm.coordinator.as_ref();
    source.join(&player.hello()).await.unwrap();
    let kept = async || farm.store.worker_get(player.id).await.unwrap().unwrap();
    assert!(kept().await.key.is_some(), "it is the coordinator's own");
    assert_eq!(admin::limit(parse(&["player", "1"]), here.clone()).await, 0);
    assert_eq!(kept().await.limit, Some(1));
    assert_eq!(admin::release(parse(&["nobody"]), here.clone()).await, 1);
    assert_eq!(admin::release(parse(&["player"]), here.clone()).await, 0);
    assert_eq!((kept().await.key, kept().await.limit), (None, Some(1)));
}

#[tokio::test]
async fn an_output_is_fetched_over_a_bad_line_and_put_in_place_whole() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let output = noise(3_000_000);
    let job = farm.completed(&output, None).await;
    // The first connection also brings the description of the job.
    let cuts = [500_000, 100, 1_000_000, 300, 900_000].map(Cut::Received);
    let proxy = Proxy::before(server.authority(), cuts).await;
    let folder = farm.folder.path().join("fetched");
    std::fs::create_dir(&folder).unwrap();
    let id = job.id.to_string();
    let fetch = |words: &[&str], url: &str| commands::fetch(parse::<FetchArgs>(words), common(url));
    assert_eq!(fetch(&[&id, "-o", text(&folder)], &proxy.url).await, 0);
    assert!(proxy.is_through(), "every cut was made");
    let file = folder.join("Amélie.mkv");
    assert!(std::fs::read(&file).unwrap() == output);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no part is left");
    assert_eq!(fetch(&[&id, "-o", text(&folder)], &server.url).await, 2, "it is not replaced");
    std::fs::write(&file, "mine").unwrap();
    assert_eq!(fetch(&[&id, "-o", text(&file), "--overwrite"], &server.url).await, 0);
    assert!(std::fs::read(&file).unwrap() == output);
}

#[tokio::test]
async fn a_part_of_an_earlier_fetch_is_gone_on_with_and_a_damaged_one_is_replaced() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let output = noise(400_000);
    let job = farm.completed(&output, None).await;
    let digest = &job.output.as_ref().unwrap().sha512[..8];
    let file = farm.folder.path().join("out.mkv");
    let part = farm.folder.path().join(format!("out.mkv.{digest}.part"));
    let id = job.id.to_string();
    let mut damaged = output[..300_000].to_vec();
    damaged[5] ^= 1;
    for beginning in [output[..300_000].to_vec(), damaged, output.clone(), noise(500_000)] {
        std::fs::write(&part, beginning).unwrap();
        let args: FetchArgs = parse(&[&id, "-o", text(&file), "--overwrite"]);
        assert_eq!(commands::fetch(args, common(&server.url)).await, 0);
        assert!(std::fs::read(&file).unwrap() == output);
        assert!(!part.exists());
    }
}

#[tokio::test]
async fn submit_and_wait_brings_the_output() {
    let farm = Farm::sqlite().await;
    let server = Served::start(&farm, Auth::Open).await;
    let film = farm.folder.path().join("film.avi");
    std::fs::write(&film, noise(5000)).unwrap();
    let out = farm.folder.path().join("film.mp4");
    let args: SubmitArgs = parse(&[text(&film), "--wait", "-o", text(&out)]);
    let working = async {
        let player = super::farm::Player::new();
        farm.coordinator.join(&player.hello()).await.unwrap();
        for _ in 0..3 {
            let patience = Duration::from_secs(60);
            let task = farm.coordinator.claim(&player.ask(), patience).await.unwrap().unwrap();
            let report = farm.do_work(&task, b"the film").await;
            farm.coordinator.report(&player.done(&task, report)).await.unwrap();
        }
    };
    let (code, ()) = tokio::join!(submit::submit(args, common(&server.url)), working);
    assert_eq!(code, 0);
    assert_eq!(std::fs::read(&out).unwrap(), b"the film");
}

#[tokio::test]
async fn waiting_outlasts_a_restart_of_the_server() {
    let farm = Farm::sqlite().await;
    let first = Served::start(&farm, Auth::Open).await;
    let job = farm.submit(b"film", None).await;
    let authority = first.authority().to_owned();
    let proxy = Proxy::before(&authority, []).await;
    let follow: StatusArgs = parse(&[&job.id.to_string(), "--follow"]);
    let following = commands::status(follow, common(&proxy.url));
    let restarting = async {
        // Several questions have been asked, and so answered.
        until(async || *proxy.sent.lock().unwrap() > 600).await;
        first.stop.cancel();
        first.ended.await.unwrap();
        farm.coordinator.cancel(job.id).await.unwrap();
        Served::at(&farm, Auth::Open, &authority).await
    };
    let (code, _server) = tokio::join!(following, restarting);
    assert_eq!(code, 1, "it saw that the job was cancelled");
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_away() {
    let farm = Farm::memory().await;
    let dead = Served::start(&farm, Auth::Open).await;
    dead.stop.cancel();
    dead.ended.await.unwrap();
    let alive = Served::start(&farm, Auth::Open).await;
    let both = Common { servers: vec![dead.url, alive.url.clone()], ..common(&alive.url) };
    assert_eq!(commands::list(parse::<ListArgs>(&[]), both).await, 0);
}
