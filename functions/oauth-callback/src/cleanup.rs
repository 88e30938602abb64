//! What a new consent makes superfluous: superseded secret versions, and perhaps the grant of a former account.

use std::time::Duration;

use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider};
use nbhd::flows::stored_token::StoredFields;
use nbhd::queue::RefreshJob;

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
        for row in consent.select(former) {
            leave_account(app, consent, row).await;
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

/// Revokes the grant of a former connection's account, if that is surely another one than the new connection's and no
/// connection of any tenant uses it any more.
async fn leave_account(app: &App, consent: &Consent<'_>, former: &Integration) {
    let (Some(account), Some(new)) = (&former.subject, &consent.token.subject) else { return };
    if account == new {
        return;
    }
    match app.store.is_account_in_use(account).await {
        Ok(false) => revoke_grant(app, consent, former).await,
        Ok(true) => {}
        Err(error) => {
            tracing::warn!(
                code = "grant_not_revoked",
                error = %error,
                "who else uses a former account is not known; its grant stays until its person or Google ends it"
            );
            return;
        }
    }
    // An item too many costs a read later.
    if let Err(error) = app.store.forget_account_connection(account, former.tenant_id, former.provider).await {
        tracing::info!(error = %error, "the item of a former account's connection was not deleted");
    }
}

/// Queues the removal of tokens that may be in the vault without a row, after connecting failed: the person was told
/// that nothing is connected.
pub(crate) async fn queue_removal(app: &App, tenant_id: TenantId, providers: &[Provider]) {
    for provider in providers {
        let job = RefreshJob::Disconnect { tenant_id, provider: *provider };
        if let Err(error) = app.disconnects.send(&job).await {
            tracing::error!(
                code = "tokens_not_removed",
                error = %error,
                provider = %provider,
                "removal was not queued; tokens of a failed sign-in may remain in the vault"
            );
        }
    }
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
