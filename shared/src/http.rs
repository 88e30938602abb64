//! The one HTTPS client of a process: every provider shares its connections, its roots and its limits.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// How long a connection may take to be established. A call's own, shorter or longer, limit is set on its request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What ends a call whose caller set no limit: below the 30 s after which API Gateway gives up on us.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(25);

/// Idle connections are dropped before the vendors' front ends drop them, so that a thawed sandbox seldom meets a dead one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Why no client could be built: the file of additional roots is not usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is absent, unreadable, or not PEM.
    #[error("`{path}` could not be read as PEM certificates")]
    Unreadable {
        /// The file, as it was named in the setting.
        path: String,
        /// What the reader said.
        source: rustls_pki_types::pem::Error,
    },
    /// The file is PEM, but holds no certificate that can be trusted.
    #[error("`{path}` holds no usable CA certificate")]
    Unusable {
        /// The file, as it was named in the setting.
        path: String,
    },
    /// TLS could not be set up at all.
    #[error("the HTTPS client could not be built")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A client that trusts the embedded web roots and, when given, the certificates of a PEM file.
///
/// ring and embedded roots: the alternatives cost milliseconds of every cold start. Redirects are answers like any other,
/// never followed: our requests carry credentials. HTTP is allowed, which only tests and the local world use.
pub fn client_trusting(additional_roots: Option<&Path>) -> Result<reqwest::Client, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = additional_roots {
        trust_file(&mut roots, path)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Client(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .referer(false)
        // Proxies would be read from the environment, which is `config`'s alone.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(DEFAULT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent("nbhd")
        .build()
        .map_err(|error| Error::Client(error.into()))
}

fn trust_file(roots: &mut RootCertStore, path: &Path) -> Result<(), Error> {
    let name = || path.display().to_string();
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| Error::Unreadable { path: name(), source })?;
    match roots.add_parsable_certificates(certificates) {
        (1.., 0) => Ok(()),
        _ => Err(Error::Unusable { path: name() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_without_additional_roots() {
        assert!(client_trusting(None).is_ok());
    }

    #[test]
    fn an_absent_file_of_roots_is_named() {
        let error = client_trusting(Some(Path::new("/nowhere/ca.pem"))).expect_err("no such file");
        assert!(matches!(&error, Error::Unreadable { .. }));
        assert!(error.to_string().contains("/nowhere/ca.pem"));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let error = client_trusting(Some(Path::new(env!("CARGO_MANIFEST_PATH")))).expect_err("not a certificate");
        assert!(matches!(error, Error::Unusable { .. }));
    }
}
