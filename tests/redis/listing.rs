//! What one page of a listing costs, and what becomes of a listing whose server is another one.

use std::collections::BTreeMap;

use testkit::{broker::Broker, redis_server::RedisServer, redis_tenant::RedisTenant, rows::*};
use token_broker::{store::redis::RedisStore, types::RowKey};

use crate::monitor::Monitor;

/// Gives the user `u` rows in so many sessions, as a broker writes them.
fn log_in(tenant: &RedisTenant, sessions: usize) {
    let index = tenant.key("user:upstream:u");
    let mut pipe = redis::pipe();
    for number in 0..sessions {
        let row = tenant.key(&format!("upstream:s{number}:p"));
        let json = r#"{"version":7,"user_id":"u","provider_id":"p","access_token":"at"}"#;
        pipe.set(&row, json).ignore().sadd(&index, &row).ignore();
    }
    pipe.exec(&mut tenant.raw()).unwrap();
}

/// Reads a listing from `next` on, at most `pages` pages of it. Counts how often each row comes.
async fn read(
    broker: &Broker<RedisStore>,
    size: usize,
    mut next: Option<String>,
    pages: usize,
    found: &mut BTreeMap<RowKey, usize>,
) -> Option<String> {
    for _ in 0..pages {
        let page = broker
            .list_user_sessions(&user("u"), size, next.as_deref(), &Default::default())
            .await
            .unwrap();
        assert!(page.sessions.len() <= size);
        for session in page.sessions {
            *found.entry(session.key).or_default() += 1;
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    next
}

/// Each row comes once, whatever form Redis gives to the index, and whatever else is in it.
#[tokio::test]
async fn each_row_of_an_index_of_any_size_is_listed_once() {
    for (sessions, sizes) in [
        (3, &[1, 2, 3][..]),
        (100, &[1, 7, 100]),
        (2_000, &[1, 3, 64, 1_000]),
    ] {
        let tenant = crate::tenant();
        let broker = tenant.broker();
        log_in(&tenant, sessions);
        let index = tenant.key("user:upstream:u");
        for size in sizes {
            for dead in 0..sessions / 10 {
                let gone = tenant.key(&format!("upstream:gone{dead}:p"));
                tenant.run::<()>(&["SADD", &index, &gone, &format!("foreign{dead}")]);
            }
            let mut found = BTreeMap::new();
            let rest = read(&broker, *size, None, usize::MAX, &mut found).await;
            assert_eq!(rest, None);
            assert_eq!(found.len(), sessions, "pages of {size}");
            assert!(found.values().all(|times| *times == 1), "pages of {size}");
        }
    }
}

/// A page of one row of 5,000 looks at a few members, and a page of a hundred at a few hundred.
#[tokio::test]
async fn a_page_costs_what_a_page_holds() {
    let server = RedisServer::start();
    let tenant = RedisTenant::on(&server);
    let broker = tenant.broker();
    log_in(&tenant, 5_000);
    for size in [1, 100] {
        let mut found = BTreeMap::new();
        let next = read(&broker, size, None, 3, &mut found).await;
        let monitor = Monitor::start(&server);
        read(&broker, size, next, 1, &mut found).await;
        let commands = monitor.finish();
        assert_eq!(found.len(), 4 * size);
        let asked = commands.iter().filter(|command| command.verb == "SSCAN");
        let asked: usize = asked
            .map(|scan| scan.args[3].parse::<usize>().unwrap())
            .sum();
        assert!(asked <= 2 * size, "{asked} members for a page of {size}");
        assert!(
            commands.len() <= 2 * size + 20,
            "{} commands for {size}",
            commands.len()
        );
    }
}

/// The positions of one server mean nothing to another. The listing begins anew there, and lacks no row.
#[tokio::test]
async fn a_listing_that_goes_on_at_another_server_lacks_no_row() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let tenants = servers
        .each_ref()
        .map(|server| RedisTenant::called("moved:listing", server));
    tenants.iter().for_each(|tenant| log_in(tenant, 1_000));
    let brokers = tenants.each_ref().map(RedisTenant::broker);
    for size in [1, 90] {
        let mut found = BTreeMap::new();
        let next = read(&brokers[0], size, None, 5, &mut found).await;
        assert_eq!(found.len(), 5 * size);
        // There and back: the first server's position is good again, or the listing begins anew.
        let next = read(&brokers[1], size, next, 3, &mut found).await;
        assert_eq!(
            read(&brokers[0], size, next, usize::MAX, &mut found).await,
            None
        );
        assert_eq!(found.len(), 1_000, "pages of {size}");
    }
}
