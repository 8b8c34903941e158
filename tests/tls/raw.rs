//! A client that speaks just enough HTTP/2 to stay, and does nothing that it is told.

use std::time::{Duration, Instant};

use testkit::http2::{BEGUN, GOAWAY, PING, SETTINGS, frame, read_frame};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// What a client has seen that ignored everything.
#[derive(Debug, Default)]
pub struct Seen {
    /// When it was first told to go away.
    pub told: Option<Instant>,
    /// When the connection ended, or `None` if it didn't within the patience.
    pub ended: Option<Instant>,
}

/// A client that ignores what it is told.
pub struct Heedless<T>(T);

impl<T: AsyncRead + AsyncWrite + Unpin> Heedless<T> {
    /// Begins HTTP/2, and waits for the server's first frame.
    ///
    /// In TLS 1.3 a client is done before the server has looked at its certificate. The frame tells that the server is done, too.
    ///
    /// # Panics
    /// Panics if the server doesn't accept the connection.
    pub async fn begin(mut stream: T) -> Self {
        stream.write_all(BEGUN).await.unwrap();
        stream.flush().await.unwrap();
        let first = read_frame(&mut stream).await;
        let first = first.expect("the connection is accepted");
        assert_eq!(first.kind, SETTINGS);
        Self(stream)
    }

    /// Pings for as long as the connection lasts, and ignores what comes.
    pub async fn stay(self, patience: Duration) -> Seen {
        let (mut reading, mut writing) = tokio::io::split(self.0);
        let mut seen = Seen::default();
        let ping = frame(PING, 0, 0, b"pingpong");
        let pinging = async {
            while writing.write_all(&ping).await.is_ok() && writing.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await
        };
        let listening = async {
            while let Ok(frame) = read_frame(&mut reading).await {
                if frame.kind == GOAWAY {
                    seen.told.get_or_insert_with(Instant::now);
                }
            }
            seen.ended = Some(Instant::now());
        };
        let both = async {
            tokio::select! {
                () = pinging => {}
                () = listening => {}
            }
        };
        timeout(patience, both).await.ok();
        seen
    }
}
