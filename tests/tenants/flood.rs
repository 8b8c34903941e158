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
use tonic::transport::{Channel, Endpoint};

use crate::{callers::Client, process::FLOODS};

/// What tells the process of the flood where to call, and how.
const ADDRESS: &str = "TENANTS_FLOOD_AT";
const KIND: &str = "TENANTS_FLOOD_KIND";
/// How many calls are on their way at once, and over how many connections.
const CALLS: usize = 400;
const CONNECTIONS: usize = 8;
/// How long a call that was refused waits until it is repeated, if it waits.
const REFUSED: Duration = Duration::from_millis(100);
/// The priority of a process that takes only what others leave: the weight of one is 15, of one like others 1,024.
const LOWEST: i32 = 19;

/// How a flood behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Calls that are refused are repeated a moment later.
    Patient,
    /// The same, from a process that takes only the processor time that the others leave.
    Lowest,
    /// Calls that are refused are repeated at once.
    Impatient,
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
            .env(KIND, format!("{kind:?}"))
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

/// The process of the flood.
#[tokio::test]
#[ignore = "another test starts it, in a process of its own"]
async fn floods() {
    let (Ok(address), Ok(kind)) = (env::var(ADDRESS), env::var(KIND)) else {
        return;
    };
    if kind == format!("{:?}", Kind::Lowest) {
        rustix::process::nice(LOWEST).unwrap();
    }
    let waits = kind != format!("{:?}", Kind::Impatient);
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
                if client.get("s", "idp").await.is_ok() {
                    served.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                refused.fetch_add(1, Ordering::Relaxed);
                if waits {
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
