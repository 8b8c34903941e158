//! Tests a check of a tenant that holds no data.

use testkit::{
    cluster::{self, Cluster},
    deployment::Deployment,
    redis_server::RedisServer,
    redis_tenant::RedisTenant,
    rows::{key, row},
};

use crate::{look, repair};

/// Checks a tenant without data on this deployment, which holds no tenants yet.
async fn names_the_tenants(deployment: &impl Deployment) {
    let wrong = RedisTenant::called("prod:wrong", deployment);
    let report = look(&wrong).await;
    let others = report.tenants_with_data.as_ref().unwrap();
    assert!(others.names.is_empty() && others.are_all);
    assert!(report.is_empty() && !report.is_misnamed(), "all is empty");
    let text = report.to_string();
    let told = "The tenant prod:wrong holds no data. In this Redis no tenant does\n";
    assert!(text.contains(told), "{text}");

    let names = ["prod:auth", "dev:auth", "a-b.c:d", "x:y", "one:more"];
    for name in names {
        let tenant = RedisTenant::called(name, deployment);
        tenant.broker().put(&key("s", "p"), &row("u", "at")).await;
    }
    // A broker that was given a wrong name leaves a record, and other software has keys of its own.
    let started = RedisTenant::called("prod:started", deployment);
    started.run::<()>(&["SET", &started.key("broker:migration"), "{}"]);
    for other in ["thv:auth:{No:Tenant}:x", "thv:auth:{x", "thv:auth:{}:x"] {
        wrong.run::<()>(&["SET", &other.replace('{', "{prod:wrong}{"), "x"]);
    }
    for report in [look(&wrong).await, repair(&wrong).await] {
        let others = report.tenants_with_data.as_ref().unwrap();
        let mut due = names;
        due.sort_unstable();
        assert_eq!(
            (&*others.names, others.are_all),
            (&due.map(String::from)[..], true)
        );
        assert!(report.is_empty() && report.is_misnamed());
        let text = report.to_string();
        let told = "In this Redis these do: a-b.c:d, dev:auth, one:more, prod:auth, x:y\n";
        assert!(text.contains(told), "{text}");
    }
    let report = look(&started).await;
    assert!(report.is_empty() && report.tenants_with_data.is_some());
    assert!(
        !report.is_misnamed(),
        "a broker has served it: it is merely empty"
    );
    let sound = look(&RedisTenant::called("prod:auth", deployment)).await;
    assert_eq!((sound.is_empty(), sound.tenants_with_data), (false, None));
}

#[tokio::test]
async fn the_report_names_the_tenants_that_there_are() {
    names_the_tenants(&RedisServer::start()).await;
}

#[tokio::test]
async fn the_report_names_the_tenants_of_every_primary() {
    let cluster = Cluster::start(&cluster::Options::default());
    cluster.settled().await;
    names_the_tenants(&cluster).await;
}
