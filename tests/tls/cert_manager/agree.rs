//! Whether the files agree with each other, in what only a cluster would find out.

use std::collections::BTreeSet;

use toml::Table;
use yaml_rust2::Yaml;

use super::{
    issuer::is_of_workload,
    manifests::{Manifests, name_of, namespace_of, string, strings},
};

fn table(manifests: &Manifests, name: &str) -> Table {
    let text = &manifests.config_map("token-broker")[name];
    str::from_utf8(text).unwrap().parse().unwrap()
}

/// Whether an approval allows a certificate, and nothing beyond it.
fn allows(approval: &Yaml, wanted: &Yaml) -> bool {
    let (approval, spec) = (&approval["spec"], &wanted["spec"]);
    let (allowed, key) = (&approval["allowed"], &spec["privateKey"]);
    let limits = &approval["constraints"];
    approval["selector"]["issuerRef"] == spec["issuerRef"]
        && strings(&approval["selector"]["namespace"]["matchNames"]) == [namespace_of(wanted)]
        && strings(&allowed["dnsNames"]["values"]) == strings(&spec["dnsNames"])
        && strings(&allowed["usages"]) == strings(&spec["usages"])
        && allowed["isCA"] == spec["isCA"]
        && allowed["commonName"]["value"] == spec["commonName"]
        && limits["maxDuration"] == spec["duration"]
        && limits["privateKey"]["algorithm"] == key["algorithm"]
        && limits["privateKey"]["minSize"] == key["size"]
}

#[test]
fn each_certificate_is_approved_once_and_nothing_else_is() {
    let manifests = Manifests::read();
    let kind = "CertificateRequestPolicy";
    let mut unused: BTreeSet<_> = manifests.all(kind).map(name_of).collect();
    let role = manifests.named("ClusterRole", "cert-manager-policy:token-broker");
    let usable: BTreeSet<_> = strings(&role["rules"][0]["resourceNames"])
        .into_iter()
        .collect();
    assert_eq!(usable, unused);
    for wanted in manifests.all("Certificate") {
        let approvals = manifests.all(kind).filter(|one| allows(one, wanted));
        let [approval] = approvals.collect::<Vec<_>>()[..] else {
            panic!("not one approval of {wanted:?}")
        };
        assert!(unused.remove(name_of(approval)), "{approval:?}");
    }
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn the_policy_knows_the_names_of_callers_and_no_other() {
    let manifests = Manifests::read();
    let callers = manifests.all("Certificate").filter(|one| {
        is_of_workload(one) && strings(&one["spec"]["usages"]).contains(&"client auth")
    });
    let issued: BTreeSet<_> = callers
        .flat_map(|one| strings(&one["spec"]["dnsNames"]))
        .collect();
    let policy = table(&manifests, "policy.toml");
    let known = policy["callers"].as_table().unwrap().values();
    let known = known.flat_map(|caller| caller["dns-names"].as_array().unwrap());
    let known: BTreeSet<_> = known.map(|name| name.as_str().unwrap()).collect();
    assert_eq!(known, issued);
}

#[test]
fn probes_and_services_ask_where_the_broker_listens() {
    let manifests = Manifests::read();
    let config = table(&manifests, "broker.toml");
    let port = |setting: &str| {
        let address = config[setting].as_str().unwrap();
        let port = address.rsplit_once(':').unwrap().1;
        port.parse::<i64>().ok()
    };
    let set = manifests.named("StatefulSet", "token-broker");
    let template = &set["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let open = container["ports"].as_vec().unwrap().iter();
    let open: Vec<_> = open.map(|one| one["containerPort"].as_i64()).collect();
    let settings = ["listen", "health-listen", "metrics-listen"];
    assert_eq!(open, settings.map(port));
    for probe in ["readinessProbe", "livenessProbe"] {
        let asked = container[probe]["grpc"]["port"].as_i64();
        assert_eq!(asked, port("health-listen"), "{probe}");
    }
    let service = manifests.named("Service", string(&set["spec"]["serviceName"]));
    assert_eq!(service["spec"]["ports"][0]["port"].as_i64(), port("listen"));
    assert_eq!(service["spec"]["selector"], template["metadata"]["labels"]);
}
