//! Reads what a running tool writes, and notices when it falls silent.

use super::lines::{Lines, Tail};
use super::spawn::Running;
use crate::progress::Pulse;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

/// How long a tool's pipes may stay open after it has ended, held by processes
/// that it left behind.
const DRAIN: Duration = Duration::from_secs(2);

/// Takes standard output line by line.
pub(super) type OnLine<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Where standard output goes.
pub(super) enum Sink<'a> {
    Keep { bytes: Vec<u8>, limit: usize },
    Lines { lines: Lines, on_line: OnLine<'a> },
}

/// Why a run was stopped before its end.
pub(super) enum Stop {
    Cancelled,
    Stalled,
    Overtime,
    TooMuch,
    /// It used so many bytes of memory.
    Memory(u64),
    Io(std::io::Error),
}

/// When the tool last showed that it is alive.
pub(super) struct Life(Mutex<(Instant, Pulse)>);

impl Life {
    /// It has just been started.
    pub(super) fn now() -> Self {
        Self(Mutex::new((Instant::now(), Pulse::default())))
    }

    /// It wrote something: this line of standard output, or whatever.
    fn beat(&self, line: Option<&str>) {
        let (last, pulse) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if line.is_none_or(|line| pulse.beats(line)) {
            *last = Instant::now();
        }
    }

    /// Ends when it has given no sign of life for as long as `silence`.
    pub(super) async fn wait_for_silence(&self, silence: Duration) {
        loop {
            let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).0;
            let due = last + silence;
            if Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// Reads both pipes until the tool has ended; its exit status.
pub(super) async fn work(
    running: &mut Running,
    sink: &mut Sink<'_>,
    tail: &mut Tail,
    life: &Life,
) -> Result<i32, Stop> {
    let (stdout, stderr) = running.pipes();
    let reading = async {
        tokio::try_join!(read_stdout(stdout, sink, life), read_stderr(stderr, tail, life))
    };
    tokio::pin!(reading);
    tokio::select! {
        biased;
        read = &mut reading => {
            read?;
            running.wait().await.map_err(Stop::Io)
        }
        ended = running.wait() => {
            let status = ended.map_err(Stop::Io)?;
            if let Ok(read) = tokio::time::timeout(DRAIN, &mut reading).await {
                read?;
            }
            Ok(status)
        }
    }
}

async fn read_stdout(
    mut pipe: impl AsyncRead + Unpin,
    sink: &mut Sink<'_>,
    life: &Life,
) -> Result<(), Stop> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = pipe.read(&mut buffer).await.map_err(Stop::Io)?;
        let bytes = &buffer[..read];
        match sink {
            Sink::Keep { limit, bytes: kept } if kept.len() + read > *limit => {
                return Err(Stop::TooMuch);
            }
            Sink::Keep { bytes: kept, .. } => {
                kept.extend_from_slice(bytes);
                life.beat(None);
            }
            Sink::Lines { lines, on_line } => {
                let mut take = |line: &str| {
                    life.beat(Some(line));
                    on_line(line);
                };
                lines.push(bytes, &mut take);
                if read == 0 {
                    lines.finish(&mut take);
                }
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

async fn read_stderr(
    mut pipe: impl AsyncRead + Unpin,
    tail: &mut Tail,
    life: &Life,
) -> Result<(), Stop> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = pipe.read(&mut buffer).await.map_err(Stop::Io)?;
        if read == 0 {
            return Ok(());
        }
        life.beat(None);
        tail.push(&buffer[..read]);
    }
}
