//! The HTTPS client of a process: all providers share its connections, its trusted roots and its limits.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};

use crate::config::{ConfigError, Env};

/// The ends of the subjects of Amazon's roots.
const AMAZON_ROOT_NAMES: [&[u8]; 5] = [
    b"Amazon Root CA 1",
    b"Amazon Root CA 2",
    b"Amazon Root CA 3",
    b"Amazon Root CA 4",
    b"Starfield Services Root Certificate Authority - G2",
];

/// The limit of establishing a connection. The limit of a whole call is set on its request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The limit of a call whose caller set none: below the 30 s after which API Gateway ends a request.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(25);

/// The life of an idle connection: shorter than at the vendors' front ends, so that a thawed sandbox seldom uses a
/// connection that the other side has closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Builds the process's client, which trusts the embedded web roots and, if it is set, the PEM file `CA_BUNDLE`.
///
/// It uses ring and embedded roots, because the alternatives cost milliseconds of every cold start. It never follows a
/// redirect, because our requests carry credentials. HTTP is allowed; only tests and the local world use it.
///
/// # Errors
/// [`ConfigError::Invalid`] when `CA_BUNDLE` is not a PEM file of CA certificates.
pub fn client(env: &Env) -> Result<reqwest::Client, ConfigError> {
    client_with_roots(env.optional("CA_BUNDLE").map(Path::new))
}

/// Builds the [`client`] with a PEM file of additional roots.
///
/// # Errors
/// [`ConfigError::Invalid`] when the file is absent, not PEM, or holds no usable certificate.
pub fn client_with_roots(additional_roots: Option<&Path>) -> Result<reqwest::Client, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = additional_roots {
        add_roots(&mut roots, path).ok_or_else(invalid_bundle)?;
    }
    build_client(roots)
}

/// Builds the client for AWS's services, which trusts Amazon's roots alone.
pub(crate) fn amazon_client() -> Result<reqwest::Client, ConfigError> {
    build_client(RootCertStore { roots: amazon_roots().cloned().collect() })
}

/// Amazon Root CA 1–4 and Starfield Services G2. <https://www.amazontrust.com/repository/>
fn amazon_roots() -> impl Iterator<Item = &'static TrustAnchor<'static>> {
    webpki_roots::TLS_SERVER_ROOTS
        .iter()
        .filter(|root| AMAZON_ROOT_NAMES.iter().any(|name| root.subject.ends_with(name)))
}

fn build_client(roots: RootCertStore) -> Result<reqwest::Client, ConfigError> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| invalid_bundle())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .referer(false)
        // Proxies would be read from the environment, which only `config` may read.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(DEFAULT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent("nbhd")
        .build()
        .map_err(|_| invalid_bundle())
}

fn invalid_bundle() -> ConfigError {
    ConfigError::invalid("CA_BUNDLE", "the path of a PEM file with CA certificates")
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Option<()> {
    let certificates = CertificateDer::pem_file_iter(path).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    match roots.add_parsable_certificates(certificates) {
        (1.., 0) => Some(()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bundle_only_the_web_is_trusted() {
        assert!(client(&Env::from_pairs([("CA_BUNDLE", "")])).is_ok());
    }

    #[test]
    fn every_root_of_amazon_is_known() {
        assert_eq!(amazon_roots().count(), AMAZON_ROOT_NAMES.len());
    }

    #[test]
    fn a_bundle_that_is_absent_or_holds_no_certificate_is_refused_by_name() {
        for path in ["/nowhere/ca.pem", env!("CARGO_MANIFEST_PATH")] {
            let error = client(&Env::from_pairs([("CA_BUNDLE", path)])).expect_err("not certificates");
            assert!(error.to_string().starts_with("`CA_BUNDLE` cannot be used"));
        }
    }
}
