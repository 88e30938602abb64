//! Rows of the history: as a connect leaves them, written past the network.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider};
use nbhd::domain::refresh;
use nbhd::domain::scope::GrantedScopes;
use nbhd::flows::stored_token::StoredToken;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::Person;
use crate::connections::{HOUR, World};

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
    };
    let name = Integration::secret_name(person.tenant, Provider::Gmail);
    let row = Integration {
        secret_version: world.azure.vault.put(&name, token.to_secret().expose_secret()),
        granted: token.granted,
        account: token.account,
        expires_at: Some(token.expires_at),
        ..Integration::new(person.tenant, Provider::Gmail, now)
    };
    refresh::with_next_renewal(row, now)
}

/// Writes a row past the network.
pub(super) fn put(world: &World, sort: &str, row: &impl serde::Serialize, tenant: TenantId) {
    let Value::Object(fields) = serde_json::to_value(row).expect("serializable") else { panic!("a row is an object") };
    let mut item: Map<String, Value> = fields.into_iter().map(|(name, value)| (name, attribute(&value))).collect();
    item.insert("pk".to_owned(), json!({ "S": format!("TENANT#{tenant}") }));
    item.insert("sk".to_owned(), json!({ "S": sort }));
    world.table.put(json!({ "TableName": nbhd_sim::table::NAME, "Item": item })).expect("a writable table");
}

fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({ "NULL": true }),
        Value::Bool(flag) => json!({ "BOOL": flag }),
        Value::Number(number) => json!({ "N": number.to_string() }),
        Value::String(text) => json!({ "S": text }),
        Value::Array(items) => json!({ "L": items.iter().map(attribute).collect::<Vec<_>>() }),
        Value::Object(fields) => {
            json!({ "M": fields.iter().map(|(name, value)| (name.clone(), attribute(value))).collect::<Map<_, _>>() })
        }
    }
}
