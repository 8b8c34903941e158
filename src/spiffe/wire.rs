//! The messages of SPIFFE's `workload.proto` that the broker needs. Fields that it has no use for are skipped.

use std::{collections::HashMap, fmt, mem};

use tonic::codegen::http::uri::PathAndQuery;
use zeroize::Zeroize;

use super::{Svid, Update};
use crate::types::SecretBytes;

/// Asks for all SVIDs and bundles, now and whenever they change.
pub(super) const FETCH_X509_SVID: PathAndQuery =
    PathAndQuery::from_static("/SpiffeWorkloadAPI/FetchX509SVID");

/// What every call says, so that nobody is tricked into making one (Workload Endpoint, section 6.1).
pub(super) const SECURITY_HEADER: (&str, &str) = ("workload.spiffe.io", "true");

/// `X509SVIDRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct X509SvidRequest {}

/// `X509SVIDResponse`, without its revocation lists.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<X509Svid>,
    #[prost(map = "string, bytes", tag = "3")]
    federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`, without its hint. The key is wiped when it is dropped.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct X509Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X509Svid(***)")
    }
}

impl Drop for X509Svid {
    fn drop(&mut self) {
        self.x509_svid_key.zeroize();
    }
}

impl From<X509SvidResponse> for Update {
    fn from(response: X509SvidResponse) -> Self {
        let svids = response.svids.into_iter().map(|mut svid| Svid {
            id: mem::take(&mut svid.spiffe_id),
            certificates: mem::take(&mut svid.x509_svid),
            key: SecretBytes::new(mem::take(&mut svid.x509_svid_key)),
            bundle: mem::take(&mut svid.bundle),
        });
        Self {
            svids: svids.collect(),
            federated: response.federated_bundles.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn no_message_prints_a_key() {
        let mut svid = X509Svid::default();
        svid.spiffe_id = "spiffe://a.test/b".to_owned();
        svid.x509_svid_key = b"a-private-key".to_vec();
        let response = X509SvidResponse {
            svids: vec![svid],
            ..X509SvidResponse::default()
        };
        let again = X509SvidResponse::decode(&response.encode_to_vec()[..]).unwrap();
        assert_eq!(again, response);
        let key = format!("{:?}", b"a-private-key");
        let key = key.trim_matches(['[', ']']);
        let printed = format!("{response:?}");
        assert!(!printed.contains(key) && !printed.contains("a-private"));
        let printed = format!("{:?}", Update::from(response));
        assert!(!printed.contains(key) && !printed.contains("a-private"));
        assert!(printed.contains("spiffe://a.test/b"), "{printed}");
    }
}
