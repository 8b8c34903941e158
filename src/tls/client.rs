//! The client's side, for asking a broker for its health.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};

use super::{ALPN, files};
use crate::types::{certificates_in, private_key_in, read_private, read_whole};

/// The files of a client, in PEM.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// The authorities that may vouch for the broker; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Returns how a client connects.
///
/// # Errors
/// Returns what is wrong with the files, with a word for each.
pub fn client(with: &ClientFiles) -> Result<Arc<ClientConfig>, String> {
    let roots = match &with.ca {
        Some(path) => {
            let pem = read_whole(path).map_err(|problem| format!("ca: {problem}"))?;
            let authorities = files::authorities(&pem);
            authorities.map_err(|what| format!("ca: {what}"))?.roots()
        }
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &with.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let pem = read_whole(certificate).map_err(|problem| format!("cert: {problem}"))?;
            let chain = certificates_in(&pem).map_err(|what| format!("cert: {what}"))?;
            let pem = read_private(key).map_err(|problem| format!("key: {problem}"))?;
            let key = private_key_in(&pem).map_err(|what| format!("key: {what}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("cert: it or its key can't be used: {error}"))?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("ca: must be set: the system has no certificate authorities".to_owned());
    }
    Ok(roots)
}
