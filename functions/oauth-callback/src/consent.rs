//! What a person consented to, and the tenant that it is for.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::refresh;
use nbhd::domain::sign_in::SignInId;
use nbhd::domain::tenant::{Tenant, TimeZone};
use nbhd::flows::stored_token::StoredToken;
use nbhd::providers::google::oauth;
use nbhd::store::{ConsentResult, TenantView};

use crate::App;
use crate::failure::Failure;
use crate::outcome::{Outcome, RecordedOutcome};

/// A person's consent, after its code was exchanged for tokens.
pub(crate) struct Consent<'a> {
    pub(crate) google: &'a oauth::Client,
    pub(crate) jti: &'a str,
    pub(crate) sign_in: &'a SignInId,
    /// The services that the granted scopes let us read.
    pub(crate) providers: Vec<Provider>,
    pub(crate) token: StoredToken,
    /// The zone of the person's calendar; `None` when the person set one in the chat, or it could not be read.
    pub(crate) time_zone: Option<TimeZone>,
    pub(crate) at: Timestamp,
}

/// A version of a vault secret.
pub(crate) struct SecretVersion {
    pub(crate) provider: Provider,
    pub(crate) vault: Option<String>,
    pub(crate) name: String,
    pub(crate) id: String,
}

/// Reads the tenant and its integrations. A removed tenant fails like a state that never was ours.
pub(crate) async fn load_tenant(app: &App, tenant_id: TenantId) -> Result<TenantView, Failure> {
    let view = app.store.tenant_view(tenant_id).await.map_err(Failure::from_store)?;
    view.filter(|view| view.tenant.may_connect()).ok_or(Failure::InvalidState)
}

impl Consent<'_> {
    /// Those of `rows` that the consent is for.
    pub(crate) fn select<'a>(&self, rows: &'a [Integration]) -> impl Iterator<Item = &'a Integration> {
        rows.iter().filter(|row| self.providers.contains(&row.provider))
    }

    /// What to save: each row names its version in `written`, and remembers the former one and `orphans` as superseded.
    pub(crate) fn to_result<'a>(
        &'a self,
        tenant: &'a Tenant,
        rows: &[Integration],
        written: &[SecretVersion],
        orphans: &[SecretVersion],
    ) -> ConsentResult<'a, RecordedOutcome> {
        let integrations = written.iter().map(|secret| {
            let former = rows.iter().find(|row| row.provider == secret.provider);
            // They are disabled once the row is written; should that fail, the next refresh does it.
            let known =
                former.map(|row| [row.superseded.as_slice(), std::slice::from_ref(&row.secret_version)].concat());
            let orphans = orphans.iter().filter(|orphan| orphan.provider == secret.provider);
            let superseded = known.into_iter().flatten().chain(orphans.map(|orphan| orphan.id.clone())).collect();
            let row = self.to_integration(tenant.tenant_id, secret).with_superseded(superseded);
            (row, former.map(|row| row.version))
        });
        let changes = |zone: &TimeZone| tenant.time_zone.as_ref().is_none_or(|known| !known.chosen && known != zone);
        let time_zone = self.time_zone.clone().filter(changes);
        ConsentResult {
            tenant,
            changed_tenant: time_zone.map(|zone| Tenant { time_zone: Some(zone), ..tenant.clone() }),
            integrations: integrations.collect(),
            jti: self.jti,
            outcome: RecordedOutcome {
                sign_in: self.sign_in.clone(),
                outcome: Outcome::Connected { providers: self.providers.clone(), at: self.at },
            },
        }
    }

    fn to_integration(&self, tenant_id: TenantId, secret: &SecretVersion) -> Integration {
        let row = Integration {
            granted: self.token.granted.clone(),
            account: self.token.account.clone(),
            subject: self.token.subject.clone(),
            expires_at: Some(self.token.expires_at),
            vault: secret.vault.clone(),
            secret_name: secret.name.clone(),
            secret_version: secret.id.clone(),
            ..Integration::new(tenant_id, secret.provider, self.at)
        };
        refresh::with_next_renewal(row, self.at)
    }
}
