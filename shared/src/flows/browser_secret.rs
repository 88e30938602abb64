//! The secret that marks a browser on its way to Google and back.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SystemRandom, generate};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// The value of a browser's cookie: 32 random bytes as unpadded base64url, made anew whenever the button before
/// Google's consent is pressed.
#[derive(Clone)]
pub struct BrowserSecret(SecretString);

/// The machine has no random bytes to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes")]
pub struct NoRandomness;

impl BrowserSecret {
    /// A new secret.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new() -> Result<Self, NoRandomness> {
        let bytes: [u8; 32] = generate(&SystemRandom::new()).map_err(|_| NoRandomness)?.expose();
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes).into()))
    }

    /// What a cookie holds; it proves something only by its hash.
    pub(super) fn from_cookie(text: &str) -> Self {
        Self(text.into())
    }

    /// Its SHA-256 as unpadded base64url, which tells nothing of it.
    pub fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.expose().as_bytes()))
    }

    /// Whether it has this hash; compared in constant time.
    pub(super) fn has_hash(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for BrowserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserSecret(…)")
    }
}
