//! What a new consent makes superfluous: superseded secret versions, and perhaps the grant of a former account.

use std::time::Duration;

use nbhd::domain::integration::{Integration, Status};
use nbhd::flows::stored_token::StoredFields;

use crate::App;
use crate::consent::{Consent, SecretVersion};

/// The limit of the whole cleanup: the person waits for it.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(4);

/// Revokes the grants that no integration uses any more, and disables superseded versions. The rows remember versions
/// that could not be disabled, and the next refresh retries them; a grant that could not be revoked stays until its
/// person or Google ends it.
pub(crate) async fn clean_up_superseded(
    app: &App,
    consent: &Consent<'_>,
    former: &[Integration],
    orphans: &[SecretVersion],
) {
    let all = async {
        for row in consent.select(former).filter(|row| is_abandoned(consent, former, row)) {
            revoke_grant(app, consent, row).await;
        }
        for row in consent.select(former) {
            for version in row.superseded.iter().chain([&row.secret_version]) {
                disable_version(app, row.vault.as_deref(), &row.secret_name, version).await;
            }
        }
        for SecretVersion { vault, name, id, .. } in orphans {
            disable_version(app, vault.as_deref(), name, id).await;
        }
    };
    if tokio::time::timeout(CLEANUP_TIMEOUT, all).await.is_err() {
        tracing::warn!(
            code = "cleanup_timeout",
            "superseded secret versions are still readable; the next refresh disables them"
        );
    }
}

/// Whether a former integration's account is surely another than the new one's, and no other integration uses it.
fn is_abandoned(consent: &Consent<'_>, rows: &[Integration], former: &Integration) -> bool {
    let now = Integration { account: consent.token.account.clone(), ..former.clone() };
    let mut others = rows.iter().filter(|row| !consent.providers.contains(&row.provider));
    !former.may_share_account(&now)
        && !others.any(|other| other.status == Status::Active && other.may_share_account(former))
}

/// Revokes a former account's grant at Google. A failure is only logged: the new integration works without it.
async fn revoke_grant(app: &App, consent: &Consent<'_>, former: &Integration) {
    let Some(vault) = app.vaults.find(former.vault.as_deref()) else { return };
    let Ok(secret) = vault.get_version(&former.secret_name, &former.secret_version).await else { return };
    let tokens = StoredFields::parse(&secret.value);
    let Some(token) = tokens.refresh_token.or(tokens.access_token) else { return };
    if let Err(error) = consent.google.revoke_grant(&token).await {
        tracing::warn!(
            code = "grant_not_revoked",
            error = %error,
            "grant of a former account was not revoked; it stays until its person or Google ends it"
        );
    }
}

async fn disable_version(app: &App, vault: Option<&str>, name: &str, version: &str) {
    let Some(vault) = app.vaults.find(vault).filter(|_| !version.is_empty()) else { return };
    if let Err(error) = vault.disable(name, version).await {
        tracing::warn!(
            code = "version_not_disabled",
            error = %error,
            "a superseded secret version is still readable; the next refresh disables it"
        );
    }
}
