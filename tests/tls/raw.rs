//! A client that speaks just enough HTTP/2 to stay, and does nothing that it is told.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";
const GOAWAY: u8 = 7;

/// What a client has seen that ignored everything.
#[derive(Debug, Default)]
pub struct Seen {
    /// When it was first told to go away.
    pub told: Option<Instant>,
    /// When the connection ended, or `None` if it didn't within the patience.
    pub ended: Option<Instant>,
}

/// Pings for as long as the connection lasts, and ignores what comes.
pub async fn ignore(stream: impl AsyncRead + AsyncWrite + Unpin, patience: Duration) -> Seen {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut seen = Seen::default();
    writing.write_all(BEGIN).await.unwrap();
    let pinging = async {
        while writing.write_all(PING).await.is_ok() && writing.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await
    };
    let listening = async {
        let mut head = [0; 9];
        while reading.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut body = vec![0; length as usize];
            if reading.read_exact(&mut body).await.is_err() {
                break;
            }
            if head[3] == GOAWAY {
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
