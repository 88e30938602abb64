//! Google accounts in the histories: two people share one, so that each may connect what the other has connected.

use std::time::Duration;

use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status, SubjectHash};
use nbhd::domain::scope::GrantedScopes;
use nbhd::flows::disconnect;
use nbhd::flows::stored_token::StoredToken;
use nbhd::queue::Queues;
use nbhd_sim::item;
use nbhd_sim::sqs::REFRESH;
use secrecy::ExposeSecret as _;

use super::history::Act;
use super::world::{PEOPLE, World};

const SERVICE: Provider = Provider::Gmail;

/// The account of a person and of the one beside them.
fn account(number: usize) -> String {
    format!("household-{}@example.com", number / 2)
}

/// The name of the vault secret with a tenant's tokens.
pub(super) fn tokens_of(tenant: TenantId) -> String {
    Integration::secret_name(tenant, SERVICE)
}

impl World {
    /// Whether the vault ought to hold a tenant's tokens: those of a connection that stands.
    pub(super) fn holds_tokens(&self, tenant: TenantId) -> bool {
        let row = self.table.item(&format!("TENANT#{tenant}"), &format!("INTEGRATION#{SERVICE}")).expect("a table");
        row.is_some_and(|row| item::to_plain(&row)["status"] == "active")
    }

    /// Every account that somebody may connect.
    pub(super) fn open_accounts(&self) {
        (0..PEOPLE)
            .step_by(2)
            .for_each(|number| self.google.has_account(&account(number), "Some people", "Europe/Zurich"));
    }

    pub(super) fn draw_google(&self, number: usize) -> Act {
        let is_connected = self.holds_tokens(self.with(number, |person| person.tenant));
        if is_connected && self.chance.percent(70) { Act::DisconnectsGoogle } else { Act::ConnectsGoogle }
    }

    /// As `oauth-callback` does it, at once.
    pub(super) async fn connect_google(&self, number: usize) {
        let (tenant, now) = (self.with(number, |person| person.tenant), self.clock.now());
        let row = self.store.tenant(tenant).await.expect("a calm table");
        let read = self.store.load_integration(tenant, SERVICE).await.expect("a calm table");
        let is_leased = read.as_ref().is_some_and(|row| row.is_leased(now));
        if row.is_none_or(|row| !row.may_connect()) || is_leased {
            return;
        }
        let account = account(number);
        let (access, refresh) = self.google.has_consented(&account, &[SERVICE.scope()]);
        let subject = SubjectHash::from_subject(&account);
        self.store.note_account_connection(&subject, tenant, SERVICE).await.expect("a calm table");
        let token = StoredToken {
            access_token: access.into(),
            expires_at: now + Duration::from_secs(3_599),
            refresh_token: refresh.into(),
            granted: GrantedScopes::parse(SERVICE.scope()),
            account: Some(account),
            subject: Some(subject.clone()),
        };
        let name = tokens_of(tenant);
        let vault = self.first_vault();
        let connected = Integration {
            granted: token.granted.clone(),
            account: token.account.clone(),
            subject: Some(subject),
            vault: Some(vault),
            secret_version: self.azure.vault.put(&name, token.to_secret().expose_secret()),
            ..Integration::new(tenant, SERVICE, now)
        };
        self.store.save_integration(&connected, read.map(|row| row.version)).await.expect("nobody else writes");
        self.check_google().await;
    }

    /// As `/disconnect` does it.
    pub(super) async fn disconnect_google(&self, number: usize) {
        let tenant = self.with(number, |person| person.tenant);
        let jobs = Queues::new(&self.env()).expect("complete settings").refresh_jobs(&self.sqs.url(REFRESH));
        disconnect::request(&self.store, &jobs, tenant, SERVICE, self.clock.now())
            .await
            .expect("table and queue are calm");
    }

    fn first_vault(&self) -> String {
        self.env().optional("KEY_VAULT_URLS").and_then(|urls| urls.split(',').next()).expect("a vault").to_owned()
    }

    /// No connection lost its grant because another one of the same account ended.
    pub(super) async fn check_google(&self) {
        for number in 0..PEOPLE {
            let tenant = self.with(number, |person| person.tenant);
            let Ok(Some(row)) = self.store.load_integration(tenant, SERVICE).await else { continue };
            if row.status == Status::Active && self.google.granted_scopes(&account(number)).is_empty() {
                self.observer.report_violation(tenant, "a connection lost its grant with another's", account(number));
            }
        }
    }

    /// At the end no account keeps a grant that nobody uses.
    pub(super) async fn check_left_grants(&self) {
        for number in (0..PEOPLE).step_by(2) {
            let mut is_used = false;
            for neighbour in [number, number + 1] {
                let tenant = self.with(neighbour, |person| person.tenant);
                let row = self.store.load_integration(tenant, SERVICE).await.expect("a calm table");
                is_used |= row.is_some_and(|row| row.status == Status::Active);
            }
            if !is_used && !self.google.granted_scopes(&account(number)).is_empty() {
                let tenant = self.with(number, |person| person.tenant);
                self.observer.report_violation(tenant, "a grant is left that no connection uses", account(number));
            }
        }
    }
}
