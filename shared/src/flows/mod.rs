//! What two functions need of store, queue and providers together.

#[cfg(feature = "tokens")]
pub mod connect_link;
#[cfg(all(feature = "store", feature = "queue"))]
pub mod disconnect;
#[cfg(feature = "vault")]
pub mod stored_token;
