//! `nbhd integrations`: lists connections to Google.

use clap::ValueEnum;
use nbhd::domain::integration::{Integration, Status};
use nbhd::domain::refresh_failure::Failure;
use serde_json::{Value, json};

use crate::{Operator, Output};

/// A connection's state as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Active,
    Expired,
    Revoked,
}

impl State {
    const fn status(self) -> Status {
        match self {
            Self::Active => Status::Active,
            Self::Expired => Status::Expired,
            Self::Revoked => Status::Revoked,
        }
    }
}

pub(crate) async fn list(operator: &Operator, wanted: Option<State>) -> anyhow::Result<Output> {
    let mut found = operator.store.list_integrations().await?;
    found.retain(|row| wanted.is_none_or(|wanted| row.status == wanted.status()));
    found.sort_by_key(|row| (row.tenant_id, row.provider));
    Ok(to_output(&found))
}

/// Formats connections without their account: no operator needs a person's address. A row without a vault has its
/// secret in the first vault of the settings.
pub(crate) fn to_output(connections: &[Integration]) -> Output {
    let row = |row: &Integration| -> Vec<Value> {
        vec![
            json!(row.tenant_id),
            json!(row.provider),
            json!(row.status),
            json!(row.expires_at.map(|at| at.rfc3339())),
            json!(row.due.as_ref().map(|due| due.at.rfc3339())),
            json!(row.failures),
            json!(row.failure.map(Failure::as_str)),
            json!(row.vault),
            json!(row.connected_at.rfc3339()),
        ]
    };
    let head = vec!["tenant", "service", "state", "token_ends", "due", "failures", "failure", "vault", "connected"];
    Output::Rows { head, rows: connections.iter().map(row).collect() }
}
