//! The one HTTPS client of a process: every provider shares its connections, its roots and its limits.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};

use crate::config::{ConfigError, Env};

/// How the subjects of Amazon's roots end.
const AMAZON_NAMES: [&[u8]; 5] = [
    b"Amazon Root CA 1",
    b"Amazon Root CA 2",
    b"Amazon Root CA 3",
    b"Amazon Root CA 4",
    b"Starfield Services Root Certificate Authority - G2",
];

/// How long a connection may take to be established. A call's own, shorter or longer, limit is set on its request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What ends a call whose caller set no limit: below the 30 s after which API Gateway gives up on us.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(25);

/// Idle connections are dropped before the vendors' front ends drop them, so that a thawed sandbox seldom meets a dead
/// one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The process's client: it trusts the embedded web roots and the certificates of the PEM file `CA_BUNDLE`, if that is
/// set.
///
/// ring and embedded roots: the alternatives cost milliseconds of every cold start. Redirects are answers like any
/// other, never followed: our requests carry credentials. HTTP is allowed, which only tests and the local world use.
///
/// # Errors
/// [`ConfigError::Invalid`] when `CA_BUNDLE` is not a PEM file of CA certificates.
pub fn client(env: &Env) -> Result<reqwest::Client, ConfigError> {
    client_with_roots(env.optional("CA_BUNDLE").map(Path::new))
}

/// [`client`] with the file of additional roots given.
///
/// # Errors
/// [`ConfigError::Invalid`] when the file is absent, not PEM, or holds no usable certificate.
pub fn client_with_roots(additional_roots: Option<&Path>) -> Result<reqwest::Client, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = additional_roots {
        trust_file(&mut roots, path).ok_or_else(unusable)?;
    }
    build(roots)
}

/// [`client`] for AWS's own services: it trusts Amazon's roots alone.
pub(crate) fn amazon_client() -> Result<reqwest::Client, ConfigError> {
    build(RootCertStore { roots: amazon_roots().cloned().collect() })
}

/// Amazon Root CA 1–4 and Starfield Services G2. <https://www.amazontrust.com/repository/>
fn amazon_roots() -> impl Iterator<Item = &'static TrustAnchor<'static>> {
    webpki_roots::TLS_SERVER_ROOTS.iter().filter(|root| AMAZON_NAMES.iter().any(|name| root.subject.ends_with(name)))
}

fn build(roots: RootCertStore) -> Result<reqwest::Client, ConfigError> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| unusable())?
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
        .map_err(|_| unusable())
}

fn unusable() -> ConfigError {
    ConfigError::invalid("CA_BUNDLE", "the path of a PEM file with CA certificates")
}

fn trust_file(roots: &mut RootCertStore, path: &Path) -> Option<()> {
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
        assert_eq!(amazon_roots().count(), AMAZON_NAMES.len());
    }

    #[test]
    fn a_bundle_that_is_absent_or_holds_no_certificate_is_refused_by_name() {
        for path in ["/nowhere/ca.pem", env!("CARGO_MANIFEST_PATH")] {
            let error = client(&Env::from_pairs([("CA_BUNDLE", path)])).expect_err("not certificates");
            assert!(error.to_string().starts_with("`CA_BUNDLE` cannot be used"));
        }
    }
}
