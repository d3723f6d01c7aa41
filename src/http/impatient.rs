//! Patience with who does not take what is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Whoever takes as much as this in time has time for as much again.
const ENOUGH_BYTES: usize = 64 * 1024;

/// A connection that fails when the other side does not take what is written to it.
pub(super) struct Impatient<S> {
    stream: S,
    limit: Duration,
    /// Runs from the first write that had to wait until enough is taken, or everything is written; with the bytes that were
    /// taken since.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

// === impl Impatient ===

impl<S> Impatient<S> {
    /// A connection whose other side has this time for each 64 KiB that it has to wait for.
    pub(super) const fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, waiting: None }
    }

    /// What came of a write.
    fn poll_written(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            return self.poll_patience(context);
        }
        if let Poll::Ready(Ok(count)) = written {
            self.waiting.take_if(|(_, taken)| {
                *taken = taken.saturating_add(count);
                *taken >= ENOUGH_BYTES
            });
        }
        written
    }

    /// What to answer when a write has to wait.
    fn poll_patience<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let limit = self.limit;
        let (waiting, _) = self.waiting.get_or_insert_with(|| (Box::pin(tokio::time::sleep(limit)), 0));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.poll_written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.poll_written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Hyper flushes when all that it had buffered is written.
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.waiting = None;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::task::noop_waker;
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn who_takes_enough_has_time_for_as_much_again() {
        let (stream, mut client) = duplex(ENOUGH_BYTES / 2);
        let mut stream = pin!(Impatient::new(stream, Duration::from_secs(3_600)));
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        let bytes = vec![0; ENOUGH_BYTES];
        let mut write =
            |stream: &mut Pin<&mut Impatient<_>>| stream.as_mut().poll_write(&mut context, &bytes);
        let half = ENOUGH_BYTES / 2;
        assert!(matches!(write(&mut stream), Poll::Ready(Ok(count)) if count == half));
        assert!(write(&mut stream).is_pending() && stream.waiting.is_some());
        let mut taken = vec![0; half];
        for is_waiting in [true, false] {
            client.read_exact(&mut taken).await.unwrap();
            assert!(matches!(write(&mut stream), Poll::Ready(Ok(count)) if count == half));
            assert_eq!(stream.waiting.is_some(), is_waiting);
        }
    }
}
