//! Rows of the history: as a connect leaves them, written past the network.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, SubjectHash};
use nbhd::domain::refresh;
use nbhd::domain::scope::GrantedScopes;
use nbhd::flows::stored_token::StoredToken;
use nbhd_sim::item;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::Person;
use crate::refresh::world::{HOUR, World};

/// A person's new connection: Google's consent and the vault; the row is to be written.
pub(super) fn connected(world: &World, person: &Person) -> Integration {
    let (access, refresh_token) = world.google.has_consented(&person.account, &[Provider::Gmail.scope()]);
    let now: Timestamp = world.clock.now();
    let token = StoredToken {
        access_token: access.into(),
        expires_at: now + HOUR,
        refresh_token: refresh_token.into(),
        granted: GrantedScopes::parse(Provider::Gmail.scope()),
        account: Some(person.account.clone()),
        subject: Some(SubjectHash::from_subject(&person.account)),
    };
    let name = Integration::secret_name(person.tenant, Provider::Gmail);
    let row = Integration {
        secret_version: world.azure.vault.put(&name, token.to_secret().expose_secret()),
        granted: token.granted,
        account: token.account,
        subject: token.subject,
        expires_at: Some(token.expires_at),
        ..Integration::new(person.tenant, Provider::Gmail, now)
    };
    refresh::with_next_renewal(row, now)
}

/// Writes a row past the network.
pub(super) fn put(world: &World, sort: &str, row: &impl serde::Serialize, tenant: TenantId) {
    let item = item::from_row(row, &format!("TENANT#{tenant}"), sort).expect("a row");
    world.table.put(json!({ "TableName": nbhd_sim::table::NAME, "Item": item })).expect("a writable table");
}
