//! Signs and verifies file paths. Telegram's paths are easily guessed and the bot is shared, so each path is signed for
//! one tenant.
//!
//! The form is `<key id>-<until, ms>-<signature>/<Telegram's path>`; the name at its end stays, by which clients tell
//! the type.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::key_list::SecretKeys;
use nbhd::domain::secrets::is_same_secret;
use nbhd::providers::telegram::{Download, FilePath};
use secrecy::ExposeSecret as _;

/// The time that a signed path is valid: as long as Telegram promises for its own.
/// <https://core.telegram.org/bots/api#getfile>
const VALID_FOR: Duration = Duration::from_secs(3600);

/// The content type of every file whose type is not known to be inert; no browser runs it.
const OPAQUE: &str = "application/octet-stream";

/// Signs a path under which `tenant` alone may download `path` for an hour.
pub(crate) fn sign_path(keys: &SecretKeys, tenant: TenantId, path: &FilePath, now: Timestamp) -> String {
    let (key, until) = (keys.newest(), now + VALID_FOR);
    let signature = key.file_signature(tenant, path.as_str(), until);
    format!("{}-{}-{}/{path}", key.id(), until.millis(), signature.expose_secret())
}

/// Returns Telegram's path of a signed one; `None` when it was not signed for this tenant within the last hour, with a
/// key that is listed.
pub(crate) fn verify_path(keys: &SecretKeys, tenant: TenantId, signed: &str, now: Timestamp) -> Option<FilePath> {
    let (seal, path) = signed.split_once('/')?;
    let (id, seal) = seal.split_once('-')?;
    let (until, signature) = seal.split_once('-')?;
    let key = keys.find(id.parse().ok()?)?;
    let until = Timestamp::from_millis(until.parse().ok()?);
    let path = FilePath::parse(path)?;
    let is_valid = is_same_secret(&key.file_signature(tenant, path.as_str(), until), signature);
    (is_valid && now < until).then_some(path)
}

/// Builds a response with the file that no browser would run.
pub(crate) fn file_response(file: Download) -> Response {
    let content_type = file.content_type.as_deref().map_or(OPAQUE, inert_type);
    let mut response = Response::new(Body::from(file.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The given type if it is one of a chat's files and nothing but data; [`OPAQUE`] otherwise.
fn inert_type(given: &str) -> &'static str {
    const INERT: [&str; 12] = [
        "application/pdf",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "video/mp4",
        "video/quicktime",
        "video/webm",
        OPAQUE,
    ];
    let essence = given.split(';').next().unwrap_or_default().trim();
    INERT.into_iter().find(|known| known.eq_ignore_ascii_case(essence)).unwrap_or(OPAQUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::SecretString;

    /// `k1:kkk…`, and so on.
    fn keys(letters: &str) -> SecretKeys {
        let entry = |letter: char| format!("{letter}1:{}", String::from(letter).repeat(32));
        let list = letters.chars().map(entry).collect::<Vec<_>>().join(",");
        SecretKeys::parse(&SecretString::from(list)).expect("a list")
    }

    fn signed() -> (SecretKeys, TenantId, Timestamp, String) {
        let key = keys("k");
        let (tenant, now) = (TenantId::random(), Timestamp::from_seconds(1_000));
        let path = FilePath::parse("photos/file_7.jpg").expect("plain");
        let signed = sign_path(&key, tenant, &path, now);
        (key, tenant, now, signed)
    }

    #[test]
    fn a_signed_path_opens_for_an_hour() {
        let (key, tenant, now, signed) = signed();
        let path = FilePath::parse("photos/file_7.jpg");
        assert_eq!(verify_path(&key, tenant, &signed, now), path);
        assert_eq!(verify_path(&key, tenant, &signed, now + VALID_FOR - Duration::from_millis(1)), path);
        assert_eq!(verify_path(&key, tenant, &signed, now + VALID_FOR), None);
    }

    #[test]
    fn a_signed_path_opens_for_its_tenant_and_file_alone() {
        let (key, tenant, now, signed) = signed();
        assert_eq!(verify_path(&key, TenantId::random(), &signed, now), None);
        let until = (now + VALID_FOR).millis();
        let later = signed.replace(&until.to_string(), &(until + 1).to_string());
        for other in [later, signed.replace("file_7", "file_8"), signed.replace("photos/", "photos/../photos/")] {
            assert_eq!(verify_path(&key, tenant, &other, now), None, "{other}");
        }
        let nonsense =
            ["", "/", "-/", "--/", "photos/file_7.jpg", "k1-9999999999999-/photos/file_7.jpg", "x-y/z", "k1-y/z"];
        for nonsense in nonsense {
            assert_eq!(verify_path(&key, tenant, nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn a_signed_path_opens_while_its_key_is_listed() {
        let (_, tenant, now, signed) = signed();
        assert!(verify_path(&keys("nk"), tenant, &signed, now).is_some());
        assert!(verify_path(&keys("n"), tenant, &signed, now).is_none());
        let other = signed.replacen("k1-", "n1-", 1);
        assert!(verify_path(&keys("nk"), tenant, &other, now).is_none(), "by another key than it was signed with");
    }

    #[test]
    fn a_type_that_could_run_is_opaque() {
        for given in ["text/html", "image/svg+xml", "application/javascript", "", "nonsense", "text/plain"] {
            assert_eq!(inert_type(given), OPAQUE, "{given}");
        }
        assert_eq!(inert_type("Image/JPEG; charset=x"), "image/jpeg");
    }

    proptest! {
        #[test]
        fn no_path_panics_or_leads_out_of_the_bots_files(
            path in prop_oneof![any::<String>(), "[a-z0-9_./-]{0,30}", "([a-z.]{0,3}/){0,5}[a-z.%\\\\]{0,3}"],
        ) {
            let Some(path) = FilePath::parse(&path) else { return Ok(()) };
            let clean = |name: &str| !matches!(name, "" | "." | "..");
            prop_assert!(path.as_str().split('/').all(clean), "{path}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
            prop_assert!(path.as_str().bytes().all(plain), "{path}");
        }

        #[test]
        fn no_text_opens_a_file_that_was_not_signed_for_the_tenant(
            anything in any::<String>(),
            until in any::<i64>(),
            at in any::<prop::sample::Index>(),
            letter in "[ -~]",
        ) {
            let (key, tenant, now, signed) = signed();
            let (_, path) = signed.split_once('/').expect("a seal and a path");
            let mut changed = signed.clone();
            let at = at.index(changed.len());
            changed.replace_range(at..=at, &letter);
            let sealed = [format!("k1-{until}-{anything}/{path}"), format!("k1-{until}-/{path}")];
            for text in [&anything, &changed, &sealed[0], &sealed[1]] {
                prop_assert_eq!(verify_path(&key, tenant, text, now).is_some(), *text == signed, "{}", text);
                prop_assert_eq!(verify_path(&key, TenantId::random(), text, now), None, "{}", text);
            }
        }
    }
}
