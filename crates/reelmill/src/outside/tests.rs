//! The guard against a table of addresses, with a server that must never be
//! reached.

use super::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Everything that must be refused; PORT is where the canary listens.
pub(crate) const FORBIDDEN: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://127.255.255.254:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.1:PORT/",
    "http://017700000001:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0x7f.0x0.0x0.0x1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0:PORT/",
    "http://0x0:PORT/",
    "http://00.0.0.0:PORT/",
    "http://0.1.2.3:PORT/",
    "http://10.0.0.1:PORT/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.168.255.255/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.0.1/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://192.0.0.1/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.19.255.255/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.255/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]:PORT/",
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2002:c0a8:1::1]/",
    "http://[fc00::1]/",
    "http://[fd12:3456::1]/",
    "http://[fe80::1]/",
    "http://[febf::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[2001::1]/",
    "http://[2001:10::1]/",
    "http://[100::1]/",
    "http://[fec0::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://user@127.0.0.1:PORT/",
    "http://a:b@example.com/",
    "http://example.com@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT#@example.com/",
    "http://127.0.0.1:PORT\\@example.com/",
    "http:127.0.0.1:PORT",
    "http:///127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "HTTP://127.0.0.1:PORT/",
    "http://１２７.0.0.1:PORT/",
    "http://127。0。0。1:PORT/",
    "https://127.0.0.1:PORT/",
    "ftp://127.0.0.1:PORT/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/",
    "data:text/plain,x",
    "unix:/run/x",
    "//127.0.0.1:PORT/",
    "127.0.0.1:PORT",
    "",
];

/// Names that lead to the canary, or to nothing public.
const NAMES: &[(&str, &[&str])] = &[
    ("localhost", &["127.0.0.1", "::1"]),
    ("loopback.example", &["127.0.0.1"]),
    ("six.example", &["::1"]),
    ("mapped.example", &["::ffff:127.0.0.1"]),
    ("zero.example", &["0.0.0.0"]),
    ("private.example", &["10.0.0.1"]),
    ("metadata.example", &["169.254.169.254"]),
    ("nat64.example", &["64:ff9b::7f00:1"]),
    ("mixed.example", &["127.0.0.1", "10.0.0.1"]),
];

struct Table {
    /// How often a name was looked up: the second answer may differ.
    asked: Mutex<std::collections::HashMap<String, usize>>,
}

impl Lookup for Table {
    fn addresses<'a>(
        &'a self,
        host: &'a str,
    ) -> futures::future::BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        let mut asked = self.asked.lock().unwrap();
        let count = asked.entry(host.to_owned()).or_default();
        *count += 1;
        // A name whose first answer is public and whose later ones are not.
        let rebinding = ["203.0.114.1", "127.0.0.1"][usize::from(*count > 1)];
        let found: Vec<&str> = match NAMES.iter().find(|(name, _)| *name == host) {
            Some((_, addresses)) => addresses.to_vec(),
            None if host == "rebind.example" => vec![rebinding],
            None => vec![],
        };
        Box::pin(async move { Ok(found.iter().map(|text| text.parse().unwrap()).collect()) })
    }
}

/// Counts connections, and answers each with a redirect.
pub(crate) async fn listen(target: Option<String>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let answer = match &target {
                Some(to) => {
                    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
                }
                None => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, count)
}

fn table() -> Arc<Table> {
    Arc::new(Table { asked: Mutex::default() })
}

#[tokio::test]
async fn nothing_reaches_the_canary() {
    let (port, canary) = listen(None).await;
    let outside = Outside::with(&[], table()).unwrap();
    for form in FORBIDDEN {
        let url = form.replace("PORT", &port.to_string());
        assert!(outside.get(&url).await.is_err(), "{url}");
    }
    for (name, _) in NAMES {
        let error = outside.get(&format!("http://{name}:{port}/")).await.unwrap_err();
        assert!(error.message.contains("does not answer"), "{error}");
    }
    assert!(FORBIDDEN.len() + NAMES.len() >= 80);
    assert_eq!(canary.load(Ordering::SeqCst), 0);
    // The control: were it allowed, it would be reached.
    let open = Outside::with(&["127.0.0.1".to_owned(), "loopback.example".to_owned()], table());
    let open = open.unwrap();
    open.get(&format!("http://127.0.0.1:{port}/")).await.unwrap();
    open.get(&format!("http://loopback.example:{port}/")).await.unwrap();
    assert_eq!(canary.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn redirects_are_checked_like_the_first_address() {
    let (canary_port, canary) = listen(None).await;
    for form in FORBIDDEN.iter().filter(|form| form.starts_with("http://")) {
        let to = form.replace("PORT", &canary_port.to_string());
        let (port, asked) = listen(Some(to.clone())).await;
        let outside = Outside::with(&["start.example".to_owned()], Arc::new(Start)).unwrap();
        assert!(outside.get(&format!("http://start.example:{port}/")).await.is_err(), "{to}");
        assert!(asked.load(Ordering::SeqCst) >= 1, "the control: the first address is reached");
    }
    assert_eq!(canary.load(Ordering::SeqCst), 0);
}

/// Only one name is known: where redirects start.
struct Start;

impl Lookup for Start {
    fn addresses<'a>(
        &'a self,
        host: &'a str,
    ) -> futures::future::BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        let known = host == "start.example";
        Box::pin(async move { Ok(if known { vec!["127.0.0.1".parse().unwrap()] } else { vec![] }) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_each_time() {
    let (port, canary) = listen(None).await;
    let lookup = table();
    lookup.asked.lock().unwrap().insert("rebind.example".to_owned(), 1);
    let outside = Outside::with(&[], lookup.clone()).unwrap();
    let url = format!("http://rebind.example:{port}/");
    outside.check(&url).unwrap();
    for _ in 0..3 {
        assert!(outside.get(&url).await.is_err());
    }
    assert_eq!(canary.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_ring_of_redirects_ends() {
    let (port, asked) = listen(Some("/again".to_owned())).await;
    let outside = Outside::with(&["127.0.0.1".to_owned()], table()).unwrap();
    let error = outside.get(&format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert!(error.message.contains("redirects more than"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), MAX_REDIRECTS + 1);
}

#[test]
fn public_addresses_are_let_through() {
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "::ffff:8.8.8.8",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
    assert!(!is_public("::8.8.8.8".parse().unwrap()), "IPv4-compatible is out of use");
}

#[test]
fn secrets_after_the_question_mark_are_not_shown() {
    assert_eq!(shown("https://a/b?token=1#x"), "https://a/b");
    assert_eq!(shown("https://a/b\n"), "https://a/b");
}
