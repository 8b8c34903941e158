//! A deployment with Sentinel, and the brokers that use it.

use testkit::{
    broker_process::BrokerProcess,
    link::{Cuts, Link},
    sentinel::{MASTER, Options, Sentinels},
};
use tokio::sync::watch;

use crate::series;

pub(crate) struct Setup {
    pub(crate) deployment: Sentinels,
    /// The brokers. The ones that follow the sentinels come first.
    pub(crate) brokers: Vec<BrokerProcess>,
    pub(crate) following: usize,
    /// How the second broker reaches the sentinels.
    pub(crate) far: Far,
}

/// The links to the sentinels. They can be cut together.
pub(crate) struct Far {
    links: Vec<Link>,
    cuts: watch::Sender<Cuts>,
}

impl Setup {
    /// Starts a deployment of servers with these lines of configuration, and two brokers.
    pub(crate) async fn start(durability: &str, server: &[&str]) -> Self {
        let (deployment, far) = deployment(server).await;
        let urls = [deployment.url(), far.url()];
        Self::with(deployment, far, 2, urls.each_ref(), durability).await
    }

    /// Starts a second broker that knows no sentinel, only the current primary's address.
    pub(crate) async fn with_one_that_does_not_follow(durability: &str) -> Self {
        let (deployment, far) = deployment(&[]).await;
        let primary = deployment.settled().await;
        let fixed = format!("redis://127.0.0.1:{}", deployment.link_port(primary));
        let urls = [deployment.url(), fixed];
        Self::with(deployment, far, 1, urls.each_ref(), durability).await
    }

    async fn with(
        deployment: Sentinels,
        far: Far,
        following: usize,
        urls: [&String; 2],
        durability: &str,
    ) -> Self {
        let start = |url: &String| {
            let settings = ["--backend", "redis", "--redis-url", url];
            BrokerProcess::start(&[&settings[..], &["--durability", durability]].concat())
        };
        let brokers: Vec<_> = urls.into_iter().map(start).collect();
        for broker in &brokers {
            broker.serving().await;
        }
        Self {
            deployment,
            brokers,
            following,
            far,
        }
    }
}

async fn deployment(server: &[&str]) -> (Sentinels, Far) {
    let deployment = Sentinels::start(&Options {
        server: server.iter().map(ToString::to_string).collect(),
        down_after: series::silence(),
        ..Options::default()
    });
    deployment.settled().await;
    let far = Far::to(&deployment);
    (deployment, far)
}

impl Far {
    fn to(deployment: &Sentinels) -> Self {
        let cuts = watch::Sender::new(Cuts::default());
        let link = |port: u16| {
            let link = Link::new(&cuts);
            link.lead_to(port);
            link
        };
        let sentinels = deployment.sentinels.iter();
        Self {
            links: sentinels.map(|sentinel| link(sentinel.port())).collect(),
            cuts,
        }
    }

    fn url(&self) -> String {
        let hosts = self
            .links
            .iter()
            .map(|link| format!("127.0.0.1:{}", link.port()));
        let hosts: Vec<_> = hosts.collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| {
            cuts.clients = self.links.iter().map(Link::port).collect();
        });
    }

    pub(crate) fn heal(&self) {
        self.cuts.send_modify(|cuts| cuts.clients.clear());
    }
}
