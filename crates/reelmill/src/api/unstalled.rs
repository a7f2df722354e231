//! A connection's writing side that gives up on a reader who does not read.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

/// Writes to `W`, and fails when `W` takes nothing for too long.
#[derive(Debug)]
pub(crate) struct Unstalled<W> {
    inner: W,
    longest: Duration,
    /// Runs while the other side takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<W> Unstalled<W> {
    /// Gives up when `inner` takes nothing for `longest`.
    pub(crate) fn new(inner: W, longest: Duration) -> Self {
        Self { inner, longest, stall: None }
    }

    fn watch<T>(&mut self, polled: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.stall = None;
            return polled;
        }
        let longest = self.longest;
        let end = || Box::pin(tokio::time::sleep_until(Instant::now() + longest));
        match self.stall.get_or_insert_with(end).as_mut().poll(context) {
            Poll::Ready(()) => {
                Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the other side does not read")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Unstalled<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(polled, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_reader_who_does_not_read_is_given_up() {
        let (near, _far) = tokio::io::duplex(16);
        let mut near = Unstalled::new(near, Duration::from_millis(20));
        let error = near.write_all(&[7; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_who_reads_gets_everything() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Unstalled::new(near, Duration::from_secs(60));
        let writing = async move { near.write_all(&[7; 1000]).await };
        let mut all = Vec::new();
        let (written, read) = tokio::join!(writing, far.read_to_end(&mut all));
        written.unwrap();
        assert_eq!((read.unwrap(), all), (1000, vec![7; 1000]));
    }
}
