//! Verifies that an event comes from Stripe. <https://docs.stripe.com/webhooks/signature>

use std::time::Duration;

use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::config::Env;

/// How old a signature may be, or how far in the future: 5 minutes, as Stripe's libraries have it.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// The most signatures of a header that are looked at: Stripe sends one for each secret, and two while one is rolled.
const MAX_CANDIDATES: usize = 8;

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
        let at = Timestamp::from_seconds(signed_at.parse().map_err(|_| SignatureError::Unsigned)?);
        let candidates = parts().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| decode_sha256(hex));
        let candidates: Vec<_> = candidates.take(MAX_CANDIDATES).collect();
        if candidates.is_empty() {
            return Err(SignatureError::Unsigned);
        }
        if now.since(at) > TOLERANCE || at.since(now) > TOLERANCE {
            return Err(SignatureError::OutsideTolerance);
        }
        let is_ours = self.0.iter().fold(false, |is_ours, key| {
            let signature = sign(key, signed_at, body);
            candidates.iter().fold(is_ours, |is_ours, candidate| is_ours | bool::from(candidate.ct_eq(&signature)))
        });
        if is_ours { Ok(()) } else { Err(SignatureError::WrongSignature) }
    }
}

/// What a secret makes of a body: the one part of the check whose cost grows with the body.
fn sign(key: &hmac::Key, signed_at: &str, body: &[u8]) -> Vec<u8> {
    #[cfg(test)]
    tests::HMACS.with(|count| count.set(count.get() + 1));
    let mut context = hmac::Context::with_key(key);
    for part in [signed_at.as_bytes(), b".", body] {
        context.update(part);
    }
    context.sign().as_ref().to_vec()
}

/// 64 hexadecimal digits as 32 bytes; `None` for anything else.
fn decode_sha256(hex: &str) -> Option<Vec<u8>> {
    if hex.len() != 64 {
        return None;
    }
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How often a body was signed on this thread.
        pub(super) static HMACS: Cell<usize> = const { Cell::new(0) };
    }

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

    #[test]
    fn a_flood_of_signatures_costs_one_hmac_for_each_secret() {
        let (ours, body) = (signatures("whsec_a,whsec_b"), vec![b'x'; 256 << 10]);
        let spent = |header: &str| {
            HMACS.set(0);
            let verdict = ours.verify(header, &body, NOW);
            (verdict, HMACS.get())
        };
        let time = format!("t={}", NOW.seconds());
        let wrong = format!(",v1={}", "0".repeat(64));
        assert_eq!(spent(&format!("{time}{}", wrong.repeat(2_400))), (Err(SignatureError::WrongSignature), 2));
        assert_eq!(spent(&format!("{time}{}", ",v1=".repeat(2_400))), (Err(SignatureError::Unsigned), 0));
        let late = format!("t={}{wrong}", (NOW + TOLERANCE + TOLERANCE).seconds());
        assert_eq!(spent(&late), (Err(SignatureError::OutsideTolerance), 0));
        let genuine = format!("{time},v1={}", v1("whsec_b", NOW, &body));
        assert_eq!(spent(&format!("{genuine}{}", wrong.repeat(2_400))), (Ok(()), 2));
    }
}
