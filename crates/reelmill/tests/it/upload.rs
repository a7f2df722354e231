//! Uploads that outlive a server which is killed: what arrives is what was
//! sent, and no more is sent twice than the part that was under way.

use super::farm::Server;
use super::support::{Place, Ran, long, wait_for};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes that the client sends at a time.
pub(crate) const PART: usize = 4 << 20;

/// What requests have beside the bytes of the file.
pub(crate) const HEADS: usize = 100 << 10;

/// A relay that lets only so many bytes through to the server, until it is
/// told to let more. It can keep answers to itself, from a certain request on.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) url: String,
    sent: Arc<AtomicUsize>,
    open_to: Arc<AtomicUsize>,
    last_words: Arc<Mutex<Option<String>>>,
    mute: Arc<AtomicBool>,
}

impl Gate {
    pub(crate) fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Self {
            url,
            sent: Arc::default(),
            open_to: Arc::default(),
            last_words: Arc::default(),
            mute: Arc::default(),
        };
        let (own, address) = (gate.clone(), address.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // No server there: the client sees its connection end.
                let Ok(server) = TcpStream::connect(&address) else { continue };
                own.relay(client, server);
            }
        });
        gate
    }

    fn relay(&self, client: TcpStream, server: TcpStream) {
        let (mut up, mut down) = (client.try_clone().unwrap(), client);
        let (mut to, mut from) = (server.try_clone().unwrap(), server);
        let gate = self.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(count @ 1..) = up.read(&mut buffer) {
                let at = gate.sent.load(Ordering::SeqCst);
                wait_for("the gate to open", || {
                    (gate.open_to.load(Ordering::SeqCst) >= at + count).then_some(())
                });
                gate.listen(&buffer[..count]);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
                gate.sent.fetch_add(count, Ordering::SeqCst);
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = up.shutdown(Shutdown::Both);
        });
        let gate = self.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if !gate.mute.load(Ordering::SeqCst) && down.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = down.shutdown(Shutdown::Both);
        });
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self, to: usize) {
        self.open_to.store(to, Ordering::SeqCst);
    }

    /// Lets no answer through once a request has `words` in it; `None` lets them
    /// through again.
    pub(crate) fn mute_after(&self, words: Option<&str>) {
        *self.last_words.lock().unwrap() = words.map(str::to_owned);
        self.mute.store(false, Ordering::SeqCst);
    }

    fn listen(&self, sent: &[u8]) {
        let words = self.last_words.lock().unwrap();
        let said = |words: &String| sent.windows(words.len()).any(|part| part == words.as_bytes());
        if words.as_ref().is_some_and(said) {
            self.mute.store(true, Ordering::SeqCst);
        }
    }
}

pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn sha512(path: &Path) -> String {
    let ran = super::support::tool("sha512sum").arg(path).output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_server_killed_in_mid_upload_costs_no_more_than_a_part() {
    let (kills, parts) = if long() { (20, 12) } else { (3, 3) };
    let place = Place::new();
    let mut server = Server::start(&place, &["--workers", "0"]);
    let file = place.path("film.mkv");
    let length = parts * PART + 12_345;
    std::fs::write(&file, noise(length)).unwrap();
    let gate = Gate::before(server.url.trim_start_matches("http://"));
    let mut client = place.reelmill();
    client.args(["submit", file.to_str().unwrap(), "--json", "--server", &gate.url]);
    let sending = std::thread::spawn(move || Ran::of(&mut client));
    for kill in 1..=kills {
        // Early, in the middle of a part, at its edges.
        let odd = [0, 1, 4096, PART / 2, PART - 1][kill % 5];
        let before = gate.sent();
        let to = before.max(length * kill / (kills + 1)) + odd % (length / kills / 2);
        gate.open(to);
        // It lets through whole reads only: the last may stay before the gate.
        wait_for("the client to send", || (gate.sent() + (16 << 10) >= to).then_some(()));
        server = server.crash_and_restart(&place, &["--workers", "0"], &[]);
        let sent = gate.sent();
        let most = length * kill / (kills + 1) + kill * (PART + HEADS) + PART;
        assert!(sent <= most, "{sent} bytes were sent before restart {kill}");
    }
    gate.open(usize::MAX);
    let ran = sending.join().unwrap().ok();
    let sent = gate.sent();
    assert!(sent <= length + kills * (PART + HEADS) + HEADS, "{sent} bytes for {length}");
    let id = ran.events().iter().find_map(|e| Some(e["job"].as_str()?.to_owned())).unwrap();
    let job = server.job(&place, &id);
    assert_eq!(job["source"]["sha512"], sha512(&file).as_str());
    assert_eq!(job["source"]["bytes"], length);
    println!("{kills} kills: {sent} bytes sent for {length}");
}
