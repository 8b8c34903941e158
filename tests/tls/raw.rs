//! A client that speaks just enough HTTP/2 to stay, and does nothing that it is told.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

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
        stream.write_all(BEGIN).await.unwrap();
        stream.flush().await.unwrap();
        let first = read_frame(&mut stream).await;
        assert_eq!(first.expect("the connection is accepted"), SETTINGS);
        Self(stream)
    }

    /// Pings for as long as the connection lasts, and ignores what comes.
    pub async fn stay(self, patience: Duration) -> Seen {
        let (mut reading, mut writing) = tokio::io::split(self.0);
        let mut seen = Seen::default();
        let pinging = async {
            while writing.write_all(PING).await.is_ok() && writing.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await
        };
        let listening = async {
            while let Ok(kind) = read_frame(&mut reading).await {
                if kind == GOAWAY {
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

/// Reads a frame, and returns its type.
async fn read_frame(reading: &mut (impl AsyncRead + Unpin)) -> io::Result<u8> {
    let mut head = [0; 9];
    reading.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut body = vec![0; length as usize];
    reading.read_exact(&mut body).await?;
    Ok(head[3])
}
