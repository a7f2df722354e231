//! Accepting connections: HTTP/1.1 and HTTP/2 on one port, with limits against
//! slow and greedy clients, and an orderly end.

use super::unstalled::Unstalled;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use reelmill_core::error::Failure;
use std::io::Cursor;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Layer;

/// Connections at once; more wait in the system's queue. A worker keeps two or
/// three. Half of the files that may be open are left for what is done over them.
const MAX_CONNECTIONS: u64 = 8192;

/// Longest that a client may take to send a request's headers, or to begin one
/// on an idle HTTP/1.1 connection.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Longest that a client may read nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// How often a silent HTTP/2 client is asked whether it is there, and how long
/// it may take to say so.
const ASK_EVERY: Duration = Duration::from_secs(20);
const ASK_TIME: Duration = Duration::from_secs(20);

/// Calls at once on one HTTP/2 connection: a worker has one waiting claim a slot.
const MAX_STREAMS: u32 = 1100;

/// Most bytes of a request's headers.
const MAX_HEADERS: usize = 16 << 10;

/// Longest that running requests may take to end when the server stops.
const END_TIME: Duration = Duration::from_secs(10);

/// Pause after the system refused a connection (out of descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tells handlers that wait that the server is about to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closing(pub(crate) CancellationToken);

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Whether it showed a certificate of the authority that is asked for.
    pub(crate) certified: bool,
}

/// Serves `router` on `listener` until `shutdown`; requests that run then get
/// some seconds to end.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let tls = tls.map(TlsAcceptor::from);
    listener.local_addr().map_err(|e| Failure::io("listen", &e))?;
    let router = router.layer(Extension(Closing(shutdown.clone())));
    let most = MAX_CONNECTIONS.min(crate::limits::raise_open_files() / 2);
    let free = Arc::new(Semaphore::new(most as usize));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let permit = free.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        match stream {
            Ok((stream, from)) => {
                let (router, watcher) = (router.clone(), graceful.watcher());
                let (shutdown, tls) = (shutdown.clone(), tls.clone());
                connections.spawn(async move {
                    let address = from.ip().to_canonical();
                    let serving = connection(stream, address, router, tls, watcher, shutdown);
                    if let Err(error) = serving.await {
                        tracing::debug!(error, "connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(END_TIME, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    connections.shutdown().await;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    address: IpAddr,
    router: Router,
    tls: Option<TlsAcceptor>,
    watcher: hyper_util::server::graceful::Watcher,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let peer = Peer { address, certified: false };
        let (reader, writer) = stream.into_split();
        return talk(reader, writer, peer, router, watcher, shutdown).await;
    };
    let shaken = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        shaken = tokio::time::timeout(HEADER_TIME, tls.accept(stream)) => shaken,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("no TLS: {error}")),
        Err(_) => return Err("TLS was not agreed in time".to_owned()),
    };
    let certified = stream.get_ref().1.peer_certificates().is_some_and(|shown| !shown.is_empty());
    let (reader, writer) = tokio::io::split(stream);
    talk(reader, writer, Peer { address, certified }, router, watcher, shutdown).await
}

/// Speaks HTTP with `peer`.
async fn talk(
    reader: impl AsyncRead + Unpin + Send + 'static,
    writer: impl AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let begun = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        begun = tokio::time::timeout(HEADER_TIME, begin(reader, writer)) => begun,
    };
    let (io, is_http2) = match begun {
        Ok(Ok(Some(begun))) => begun,
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("nothing came in time".to_owned()),
    };
    let builder = builder(is_http2);
    let service = TowerToHyperService::new(Extension(peer).layer(router));
    let connection = builder.serve_connection(TokioIo::new(Box::pin(io)), service);
    watcher.watch(connection.into_owned()).await.map_err(|error| error.to_string())
}

/// Reads enough to tell the version of HTTP. hyper-util does so without any
/// limit of time, and a client that sends nothing would stay for ever.
async fn begin(
    mut reader: impl AsyncRead + Unpin + Send + 'static,
    writer: impl AsyncWrite + Unpin + Send + 'static,
) -> std::io::Result<Option<(impl AsyncRead + AsyncWrite + Send + 'static, bool)>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    let is_http2 = loop {
        let mut byte = [0; 24];
        let wanted = PREFACE.len() - first.len();
        let read = reader.read(&mut byte[..wanted]).await?;
        first.extend_from_slice(&byte[..read]);
        if !PREFACE.starts_with(&first) {
            break false;
        }
        if first.len() == PREFACE.len() {
            break true;
        }
        if read == 0 {
            return Ok(None);
        }
    };
    let writer = Unstalled::new(writer, WRITE_TIME);
    let io = tokio::io::join(Cursor::new(first).chain(reader), writer);
    Ok(Some((io, is_http2)))
}

fn builder(is_http2: bool) -> Builder<TokioExecutor> {
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(128 << 10)
        .max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(ASK_EVERY)
        .keep_alive_timeout(ASK_TIME)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS as u32)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder
}
