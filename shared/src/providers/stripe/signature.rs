//! Verifies that an event comes from Stripe. <https://docs.stripe.com/webhooks/signature>

use std::time::Duration;

use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Timestamp;
use crate::config::Env;

/// How old a signature may be, or how far in the future: 5 minutes, as Stripe's libraries have it.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Why a body was not verified as Stripe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header has no signature of the scheme `v1`; one of `v0` proves nothing.
    #[error("no signature that can be checked")]
    Unsigned,
    /// It was signed longer ago than [`TOLERANCE`], or as far in the future.
    #[error("signed outside the tolerance")]
    OutsideTolerance,
    /// No signature is of these bytes and of one of our secrets.
    #[error("signed with another secret")]
    WrongSignature,
}

/// The secrets with which Stripe signs our events: two of them while one is being rolled.
#[derive(Clone)]
pub struct SigningSecrets(Vec<hmac::Key>);

impl SigningSecrets {
    /// Reads `STRIPE_WEBHOOK_SECRET`, one secret or several with commas between; `None` when it is not set.
    pub fn from_env(env: &Env) -> Option<Self> {
        let secrets = env.optional("STRIPE_WEBHOOK_SECRET")?.split(',');
        Self::from_secrets(secrets.map(str::trim).filter(|secret| !secret.is_empty()).map(SecretString::from))
    }

    fn from_secrets(secrets: impl IntoIterator<Item = SecretString>) -> Option<Self> {
        let key = |secret: SecretString| hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let keys: Vec<_> = secrets.into_iter().map(key).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Checks the header `Stripe-Signature` against the raw bytes of a body.
    ///
    /// # Errors
    /// [`SignatureError`]: the body must not be read.
    pub fn verify(&self, header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
        let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
        let signed_at = parts().find(|(name, _)| *name == "t").map(|(_, text)| text).ok_or(SignatureError::Unsigned)?;
        let signatures: Vec<_> =
            parts().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| decode_hex(hex)).collect();
        if signatures.is_empty() {
            return Err(SignatureError::Unsigned);
        }
        let at = Timestamp::from_seconds(signed_at.parse().map_err(|_| SignatureError::Unsigned)?);
        if now.since(at) > TOLERANCE || at.since(now) > TOLERANCE {
            return Err(SignatureError::OutsideTolerance);
        }
        let signed = [signed_at.as_bytes(), b".", body].concat();
        // `hmac::verify` compares in constant time.
        let is_ours =
            |key: &hmac::Key| signatures.iter().any(|signature| hmac::verify(key, &signed, signature).is_ok());
        if self.0.iter().any(is_ours) { Ok(()) } else { Err(SignatureError::WrongSignature) }
    }
}

/// Hexadecimal digits as bytes; `None` when a character is no digit or one is left over.
fn decode_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    let is_whole = pairs.remainder().is_empty();
    is_whole.then(|| pairs.filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn signatures(secrets: &str) -> SigningSecrets {
        SigningSecrets::from_env(&Env::from_pairs([("STRIPE_WEBHOOK_SECRET", secrets)])).expect("set")
    }

    fn v1(secret: &str, at: Timestamp, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signed = [at.seconds().to_string().as_bytes(), b".", body].concat();
        hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn header(secret: &str, at: Timestamp) -> String {
        format!("t={},v1={}", at.seconds(), v1(secret, at, BODY))
    }

    #[test]
    fn a_genuine_body_is_taken_within_the_tolerance_both_ways() {
        let ours = signatures("whsec_a");
        let second = Duration::from_secs(1);
        for at in [NOW, NOW - TOLERANCE, NOW + TOLERANCE] {
            assert_eq!(ours.verify(&header("whsec_a", at), BODY, NOW), Ok(()));
        }
        for at in [NOW - TOLERANCE - second, NOW + TOLERANCE + second] {
            assert_eq!(ours.verify(&header("whsec_a", at), BODY, NOW), Err(SignatureError::OutsideTolerance));
        }
    }

    #[test]
    fn one_of_several_signatures_and_secrets_is_enough() {
        let several = format!("t={},v1={},v1={},v0=00", NOW.seconds(), "00".repeat(32), v1("whsec_b", NOW, BODY));
        assert_eq!(signatures("whsec_a, whsec_b").verify(&several, BODY, NOW), Ok(()));
        assert_eq!(signatures("whsec_a").verify(&several, BODY, NOW), Err(SignatureError::WrongSignature));
        assert_eq!(signatures("whsec_a,whsec_b").verify(&header("whsec_a", NOW), BODY, NOW), Ok(()));
    }

    #[test]
    fn other_bytes_time_or_secret_are_refused() {
        let ours = signatures("whsec_a");
        let genuine = header("whsec_a", NOW);
        assert_eq!(ours.verify(&genuine, br#"{"id": "evt_1"}"#, NOW), Err(SignatureError::WrongSignature));
        let moved = genuine.replacen(&NOW.seconds().to_string(), &(NOW.seconds() + 1).to_string(), 1);
        assert_eq!(ours.verify(&moved, BODY, NOW), Err(SignatureError::WrongSignature));
        assert_eq!(ours.verify(&header("whsec_z", NOW), BODY, NOW), Err(SignatureError::WrongSignature));
        assert!(SigningSecrets::from_env(&Env::from_pairs([("STRIPE_WEBHOOK_SECRET", " , ")])).is_none());
    }

    #[test]
    fn a_header_without_a_signature_is_unsigned() {
        let ours = signatures("whsec_a");
        let old_scheme = header("whsec_a", NOW).replace("v1=", "v0=");
        let no_time = format!("v1={}", v1("whsec_a", NOW, BODY));
        let odd = format!("t={},v1=abc", NOW.seconds());
        for header in ["", "t=1", "nonsense", &old_scheme, &no_time, &odd, "t=x,v1=00"] {
            assert_eq!(ours.verify(header, BODY, NOW), Err(SignatureError::Unsigned), "{header}");
        }
    }
}
