//! A small HTTP server on a loopback port, for as long as it is held.

use std::net::SocketAddr;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// A router served on `127.0.0.1`; when it is dropped it stops, and every open connection breaks.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(router: Router) -> std::io::Result<Self> {
        Self::start_on(0, router).await
    }

    /// Serves `router` on `port`.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start_on(port: u16, router: Router) -> std::io::Result<Self> {
        Self::spawn(port, |listener| serve(listener, router)).await
    }

    /// Runs what `serve` makes of a listener on `port`, 0 for a free one.
    pub(crate) async fn spawn<F>(port: u16, serve: impl FnOnce(TcpListener) -> F) -> std::io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(listener)) })
    }

    /// `http://127.0.0.1:<port>`, without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As `axum::serve`, but the connections end with this future.
async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Without it, an answer in two parts waits for the caller's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
