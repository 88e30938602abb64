//! What a new connection leaves of the one before: versions nobody needs, and perhaps a grant.

use std::time::Duration;

use nbhd::domain::integration::{Integration, Status};
use nbhd::flows::stored_token::StoredFields;

use crate::App;
use crate::save::{Consent, Version};

/// Tidying up must not keep a person waiting.
const PATIENCE: Duration = Duration::from_secs(4);

/// Ends the grants that nothing opens any more, and makes superseded versions unreadable. What is left of the versions
/// the rows remember, and the next refresh tries again; a grant that is left ends when its person or Google ends it.
pub(crate) async fn up(app: &App, consent: &Consent<'_>, former: &[Integration], lost: &[Version]) {
    let all = async {
        for row in consent.rows(former).filter(|row| is_abandoned(consent, former, row)) {
            end_grant(app, consent, row).await;
        }
        for row in consent.rows(former) {
            for version in row.superseded.iter().chain([&row.secret_version]) {
                disable(app, row.vault.as_deref(), &row.secret_name, version).await;
            }
        }
        for Version { vault, name, id, .. } in lost {
            disable(app, vault.as_deref(), name, id).await;
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("superseded versions were left readable, for want of time");
    }
}

/// Whether a former connection's account is surely another than the new one's, and no other connection uses it.
fn is_abandoned(consent: &Consent<'_>, rows: &[Integration], former: &Integration) -> bool {
    let now = Integration { account: consent.token.account.clone(), ..former.clone() };
    let mut others = rows.iter().filter(|row| !consent.providers.contains(&row.provider));
    !former.may_share_account(&now)
        && !others.any(|other| other.status == Status::Active && other.may_share_account(former))
}

/// Google's answer changes nothing: the person has what they came for.
async fn end_grant(app: &App, consent: &Consent<'_>, former: &Integration) {
    let Some(vault) = app.vaults.recorded(former.vault.as_deref()) else { return };
    let Ok(secret) = vault.version(&former.secret_name, &former.secret_version).await else { return };
    let tokens = StoredFields::parse(&secret.value);
    let Some(token) = tokens.refresh_token.or(tokens.access_token) else { return };
    if let Err(error) = consent.google.revoke(&token).await {
        tracing::warn!(error = %error, "the grant of a former account was not ended");
    }
}

async fn disable(app: &App, vault: Option<&str>, name: &str, version: &str) {
    let Some(vault) = app.vaults.recorded(vault).filter(|_| !version.is_empty()) else { return };
    if let Err(error) = vault.disable(name, version).await {
        tracing::warn!(error = %error, "a superseded version of a secret was left readable");
    }
}
