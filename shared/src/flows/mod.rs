//! Procedures that more than one function runs over store, queue and providers.

#[cfg(all(feature = "store", feature = "google", feature = "vault"))]
pub mod access_token;
#[cfg(feature = "tokens")]
pub mod billing_link;
#[cfg(feature = "tokens")]
mod browser_secret;
#[cfg(feature = "tokens")]
pub mod connect_link;
#[cfg(all(feature = "store", feature = "queue"))]
pub mod disconnect;
#[cfg(feature = "store")]
pub mod lease;
#[cfg(feature = "tokens")]
pub mod public_base;
#[cfg(feature = "stripe")]
pub mod reactivation;
#[cfg(all(feature = "store", feature = "google", feature = "vault"))]
pub mod refresh;
#[cfg(all(feature = "store", feature = "google", feature = "vault", feature = "web"))]
pub mod runtime_request;
#[cfg(feature = "vault")]
pub mod stored_token;
