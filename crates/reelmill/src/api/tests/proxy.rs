//! A connection that breaks where a test wants it to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where one connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nowhere.
    Never,
    /// After so many bytes from the client to the server.
    Sent(usize),
    /// After so many bytes from the server to the client.
    Received(usize),
}

/// A relay before a server, on a port of its own.
pub(crate) struct Proxy {
    /// Its address, `http://127.0.0.1:port`.
    pub(crate) url: String,
    /// Where the connections to come break; without an entry, nowhere.
    pub(crate) cuts: Arc<Mutex<VecDeque<Cut>>>,
    /// Bytes that clients sent in all, as far as they got through.
    pub(crate) sent: Arc<Mutex<usize>>,
}

impl Proxy {
    /// A relay to `authority` (address and port) whose connections break as
    /// `cuts` says, in order.
    pub(crate) async fn before(authority: &str, cuts: impl IntoIterator<Item = Cut>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cuts = Arc::new(Mutex::new(cuts.into_iter().collect::<VecDeque<_>>()));
        let sent = Arc::new(Mutex::new(0));
        let (plan, count, to) = (cuts.clone(), sent.clone(), authority.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cut = plan.lock().unwrap().pop_front().unwrap_or(Cut::Never);
                tokio::spawn(relay(client, to.clone(), cut, count.clone()));
            }
        });
        Self { url, cuts, sent }
    }

    /// Whether every planned cut has been made.
    pub(crate) fn is_through(&self) -> bool {
        self.cuts.lock().unwrap().is_empty()
    }
}

async fn relay(client: TcpStream, to: String, cut: Cut, count: Arc<Mutex<usize>>) {
    let Ok(server) = TcpStream::connect(&to).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (up_limit, down_limit) = match cut {
        Cut::Never => (usize::MAX, usize::MAX),
        Cut::Sent(bytes) => (bytes, usize::MAX),
        Cut::Received(bytes) => (usize::MAX, bytes),
    };
    let up = async {
        let told = |bytes| *count.lock().unwrap() += bytes;
        copy(&mut from_client, &mut to_server, up_limit, told).await
    };
    let down = copy(&mut from_server, &mut to_client, down_limit, |_| {});
    // The first side that ends, ends both: a broken line.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut left: usize,
    told: impl Fn(usize),
) {
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let wanted = left.min(buffer.len());
        let Ok(read) = from.read(&mut buffer[..wanted]).await else { return };
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        left -= read;
        told(read);
    }
}
