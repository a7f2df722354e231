//! Connections: slow ones are closed, both versions of HTTP are spoken, the
//! server ends in order.

use super::farm::{Farm, Player, Served, http, noise};
use crate::api::Auth;
use crate::remote_source::RemoteSource;
use crate::task_source::TaskSource;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any limit of the server.
const LONG: Duration = Duration::from_secs(40);

/// What the server sends to one who sends `bytes` and then nothing more.
async fn silence_after(server: &Served, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
    closed.expect("the server never closed it").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_that_is_too_slow_to_ask_is_closed() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let slow: [&[u8]; 5] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    let answers = slow.iter().map(|bytes| silence_after(&server, bytes));
    let answers = futures::future::join_all(answers).await;
    assert!(answers[4].starts_with("HTTP/1.1 200"), "{}", answers[4]);
    assert!(!answers[3].contains("200"), "{}", answers[3]);
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let request = http().get(server.at_path("/livez")).header("x-long", "x".repeat(400 << 10));
    match request.send().await {
        Ok(answer) => assert_eq!(answer.status().as_u16(), 431),
        Err(error) => assert!(error.is_request(), "{error}"),
    }
    assert_eq!(http().get(server.at_path("/livez")).send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_on_one_port() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let url = server.at_path("/livez");
    assert_eq!(http().get(&url).send().await.unwrap().version(), reqwest::Version::HTTP_11);
    let over_http2 = RemoteSource::new(std::slice::from_ref(&server.url), None).unwrap();
    over_http2.join(&Player::new().hello()).await.unwrap();
    // A single byte at a time, as a bad line may bring it.
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_stopping_server_ends_with_idle_connections_and_takes_no_new_ones() {
    let farm = Farm::memory().await;
    let server = Served::start(&farm, Auth::Open).await;
    let client = http();
    client.get(server.at_path("/livez")).send().await.unwrap();
    let _silent = TcpStream::connect(server.authority()).await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(LONG, server.ended).await.expect("it never ended").unwrap();
    assert!(client.get(format!("{}/livez", server.url)).send().await.is_err());
}

/// Clients that send a byte now and then, that begin a body and wait, that read
/// nothing of an answer: so many that a server without limits would be full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_clients_keep_nobody_else_out() {
    let most = crate::limits::raise_open_files();
    let slow_ones = 1000.min(most as usize / 3);
    let farm = Farm::memory().await;
    let output = noise(4 << 20);
    let job = farm.completed(&output, None).await;
    let server = Served::start(&farm, Auth::Open).await;
    let fetch = format!("GET /api/v1/jobs/{}/output HTTP/1.1\r\nHost: localhost\r\n\r\n", job.id);
    let requests: [&[u8]; 5] = [
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
          Content-Length: 1000\r\n\r\n{",
        fetch.as_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
    ];
    let mut slow = Vec::new();
    for number in 0..slow_ones {
        let mut stream = TcpStream::connect(server.authority()).await.unwrap();
        stream.write_all(requests[number % requests.len()]).await.unwrap();
        slow.push(stream);
    }
    // A second round: whoever waits, waits still, and all others are served.
    for round in 0..2 {
        for stream in slow.iter_mut().take(slow_ones / 5) {
            let _ = stream.write_all(b"x").await;
        }
        let asking = (0..20).map(|_| http().get(server.at_path("/api/v1/jobs")).send());
        let answers = tokio::time::timeout(LONG, futures::future::join_all(asking)).await;
        for answer in answers.expect("healthy clients wait in vain") {
            assert_eq!(answer.unwrap().status().as_u16(), 200, "round {round}");
        }
        let mut times = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            http().get(server.at_path("/api/v1/jobs")).send().await.unwrap();
            times.push(begun.elapsed());
        }
        // The middle one, as the machine may be at something else for a moment.
        times.sort_unstable();
        assert!(times[10] < Duration::from_millis(500), "{times:?}");
    }
    // Who never said what he wants is let go; who has a body to send may take
    // his time.
    let mut silent = slow.pop().unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(LONG, silent.read_to_end(&mut rest)).await;
    closed.expect("the server never closed it").ok();
    drop(slow);
    server.stop.cancel();
    tokio::time::timeout(LONG, server.ended).await.expect("it never ended").unwrap();
}
