//! The flood of one tenant, from a process of its own, so that its clients take neither the runtime nor the priority of those
//! that are measured.

use std::{
    env, fmt,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{
    callers::{Client, tokens},
    process::FLOODS,
};
use token_broker::proto::v1::UpstreamTokens;

/// What tells the process of the flood where to call, and how.
const ADDRESS: &str = "TENANTS_FLOOD_AT";
const KIND: &str = "TENANTS_FLOOD_KIND";
/// How many calls are on their way at once, and over how many connections.
const CALLS: usize = 400;
const CONNECTIONS: usize = 8;
/// How many rows a large read has.
const ROWS: usize = 60;
/// How long a call that was refused waits until it is repeated, if it waits.
const REFUSED: Duration = Duration::from_millis(100);
/// The priority of a process that takes only what others leave: the weight of one is 15, of one like others 1,024.
const LOWEST: i32 = 19;

/// How a flood behaves. Calls that are refused are repeated a moment later, unless it is said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Calls that read one row.
    Patient,
    /// The same, from a process that takes only the processor time that the others leave.
    Lowest,
    /// The same, and calls that are refused are repeated at once.
    Impatient,
    /// Calls that write the largest rows.
    Writes,
    /// Calls that read many rows.
    Reads,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patient => "a flood",
            // What is left when the flood's own clients don't compete for the processor.
            Self::Lowest => "a flood of lowest priority",
            Self::Impatient => "a flood that never waits",
            Self::Writes => "a flood of large writes",
            Self::Reads => "a flood of large reads",
        })
    }
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Patient,
        Self::Lowest,
        Self::Impatient,
        Self::Writes,
        Self::Reads,
    ];

    async fn call(self, client: &Client) -> Result<(), Status> {
        match self {
            Self::Patient | Self::Lowest | Self::Impatient => client.get("s", "idp").await,
            Self::Writes => client.store_of("large", "idp", largest()).await,
            Self::Reads => client.get_all("many").await,
        }
    }
}

/// A process that floods, until this is dropped.
pub struct Flood {
    child: Child,
    begun: Instant,
}

/// How the calls of a flood went, a second.
pub struct Flooded {
    served: f64,
    refused: f64,
}

impl fmt::Display for Flooded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { served, refused } = self;
        write!(f, "{served:.0} calls/s served, {refused:.0} refused")
    }
}

impl Flood {
    /// Floods the broker at this address, as the tenant that does so.
    pub fn of(address: SocketAddr, kind: Kind) -> Self {
        let program = env::current_exe().unwrap();
        let child = Command::new(program)
            .args(["--exact", "flood::floods", "--ignored", "--nocapture"])
            .env(ADDRESS, address.to_string())
            .env(KIND, kind.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        Self { child, begun }
    }

    /// Ends it.
    pub fn end(mut self) -> Flooded {
        // It ends when its input does.
        drop(self.child.stdin.take());
        let took = self.begun.elapsed().as_secs_f64();
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let lines: Vec<_> = lines.map_while(Result::ok).collect();
        let told = lines.iter().find_map(|line| line.strip_prefix("flooded: "));
        let told = told.unwrap_or_else(|| panic!("the flood says {lines:?}"));
        let mut counts = told.split(' ').map(|count| count.parse::<f64>().unwrap());
        let mut next = || counts.next().unwrap() / took;
        Flooded {
            served: next(),
            refused: next(),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // This fails if it has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns tokens that are about as large as the broker takes.
fn largest() -> UpstreamTokens {
    UpstreamTokens {
        refresh_token: "r".repeat(30_000),
        ..tokens(30_000)
    }
}

/// Stores what the floods read.
pub async fn prepare(client: &Client) {
    client.store("s", None).await;
    for number in 0..ROWS {
        let provider = format!("p{number}");
        client
            .store_of("many", &provider, tokens(1_000))
            .await
            .unwrap();
    }
}

/// The process of the flood.
#[tokio::test]
#[ignore = "another test starts it, in a process of its own"]
async fn floods() {
    let (Ok(address), Ok(kind)) = (env::var(ADDRESS), env::var(KIND)) else {
        return;
    };
    let kind = Kind::ALL
        .into_iter()
        .find(|known| known.to_string() == kind);
    let kind = kind.unwrap();
    if kind == Kind::Lowest {
        rustix::process::nice(LOWEST).unwrap();
    }
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        channels.push(endpoint.tcp_nodelay(true).connect().await.unwrap());
    }
    let (served, refused) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let calls = (0..CALLS).map(|number| {
        let channel: Channel = channels[number % channels.len()].clone();
        let client = Client::new(FLOODS, channel);
        let (served, refused) = (Arc::clone(&served), Arc::clone(&refused));
        async move {
            loop {
                if kind.call(&client).await.is_ok() {
                    served.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                refused.fetch_add(1, Ordering::Relaxed);
                if kind != Kind::Impatient {
                    tokio::time::sleep(REFUSED).await;
                }
            }
        }
    });
    let ends = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        _ = join_all(calls) => {}
        _ = ends => {}
    }
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!("\nflooded: {} {}", count(&served), count(&refused));
}
