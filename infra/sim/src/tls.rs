//! HTTPS on a loopback port, with certificates of an authority made for the occasion.
//!
//! The Azure SDK refuses plain HTTP; `CA_BUNDLE` set to [`Authority::bundle`] makes our client trust these servers.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::serve::Listener;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;

/// A certificate authority; one serves any number of servers, so that `CA_BUNDLE` is one path.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    bundle: NamedTempFile,
}

/// A router served over TLS on `127.0.0.1`; it stops when dropped.
#[derive(Debug)]
pub struct TlsServer {
    address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Authority {
    /// A new authority; its certificate lies in a temporary file for as long as this is held.
    ///
    /// # Errors
    /// When no key can be made or no temporary file be written.
    pub fn generate() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("simulated authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut bundle = NamedTempFile::with_prefix("nbhd-ca-")?;
        bundle.write_all(issuer.pem().as_bytes())?;
        bundle.flush()?;
        Ok(Self { issuer, bundle })
    }

    /// The PEM file with the authority's certificate.
    pub fn bundle(&self) -> &Path {
        self.bundle.path()
    }

    fn server_config(&self) -> anyhow::Result<ServerConfig> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name = common_name("simulated vendor");
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let certificate = params.signed_by(&key, &self.issuer)?;
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .context("the certificate just made is refused")
    }
}

/// OpenSSL takes a certificate that is named like its issuer for one that signed itself.
fn common_name(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

impl TlsServer {
    /// Serves `router` on a free loopback port with a certificate of `authority`.
    ///
    /// # Errors
    /// When no certificate can be made or no port be bound.
    pub async fn start(authority: &Authority, router: Router) -> anyhow::Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server_config()?));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (ready, connections) = mpsc::channel(64);
        let accepting = tokio::spawn(accept(listener, acceptor, ready));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(TlsListener { address, connections }, router).await;
        });
        Ok(Self { address, tasks: [accepting, serving] })
    }

    /// `https://127.0.0.1:<port>`, without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Handshakes run beside each other: one slow client does not hold up the rest.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<Connection>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = ready.send((stream, peer)).await;
            }
        });
    }
}

type Connection = (TlsStream<TcpStream>, SocketAddr);

struct TlsListener {
    address: SocketAddr,
    connections: mpsc::Receiver<Connection>,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The listener is gone, and this server ends with the next abort.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_client_that_trusts_the_authority_gets_through() {
        let authority = Authority::generate().expect("a key");
        let router = Router::new().route("/", axum::routing::get(|| async { "hello" }));
        let server = TlsServer::start(&authority, router).await.expect("a free port");
        let get = async |trusted: Option<&Path>| {
            let client = nbhd::http::client_with_roots(trusted).expect("a client");
            client.get(server.base_url()).send().await?.text().await
        };
        assert_eq!(get(Some(authority.bundle())).await.expect("trusted"), "hello");
        assert!(get(None).await.expect_err("unknown authority").is_connect());
    }
}
