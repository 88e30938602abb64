//! A small HTTP server on a loopback port of the system's choice, for as long as it is held.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A router served on `127.0.0.1`; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on a free loopback port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(router: Router) -> std::io::Result<Self> {
        Self::running(|listener| async move {
            // `axum::serve` ends only with the task.
            let _ = axum::serve(listener, router).await;
        })
        .await
    }

    /// Runs what `serve` makes of a free loopback port.
    pub(crate) async fn running<F>(serve: impl FnOnce(TcpListener) -> F) -> std::io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
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
