//! Notifies a person, once, that an integration ended, with a link to connect it again.
//!
//! An Expired row is due until its person was notified. The same write makes the row Expired and due, so a worker that
//! dies does not lose the notice. The due time is cleared before the message is sent, so no notice is sent twice; a
//! worker that dies in between leaves a person without a notice, who then hears it from their assistant. If Telegram
//! refuses the message and may accept it later, the row is made due again.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::person::Person;
use nbhd::domain::refresh;
use nbhd::domain::refresh_failure::Class;
use nbhd::domain::tenant::Tenant;
use nbhd::flows::connect_link::Services;
use nbhd::flows::refresh::{RefreshOutcome, Trigger};
use nbhd::providers;
use nbhd::providers::telegram::{Button, MessageOptions, refusal};
use nbhd::store::{self, TenantView};
use nbhd::telemetry::metric;
use serde_json::{Value, json};

use crate::{App, Report};

/// Notifies the person of `tenant` of all integrations that ended, in one message.
pub(crate) async fn notify_person(app: &App, tenant: TenantId) -> Result<Report, store::Error> {
    let mut report = Report::default();
    let Some(view) = app.store.tenant_view(tenant).await? else { return clear_orphaned_rows(app, tenant).await };
    report.add(refresh_shared_accounts(app, &view.integrations).await);
    let Some(TenantView { tenant, integrations, .. }) = app.store.tenant_view(tenant).await? else {
        return Ok(report);
    };
    let pending: Vec<Integration> = pending_notice(&integrations, app.clock.now()).into_iter().cloned().collect();
    if pending.is_empty() {
        return Ok(report);
    }
    if tenant.may_connect() {
        report.add(send_notice(app, &tenant, pending).await?);
    } else {
        clear_due(app, &pending).await?;
    }
    Ok(report)
}

/// Clears the due rows of a tenant that no longer exists: there is nobody to notify.
async fn clear_orphaned_rows(app: &App, tenant: TenantId) -> Result<Report, store::Error> {
    for provider in Provider::ALL {
        let row = app.store.load_integration(tenant, provider).await?;
        if let Some(row) = row.filter(|row| row.status == Status::Expired && row.due.is_some()) {
            clear_due(app, &[row]).await?;
        }
    }
    Ok(Report::default())
}

/// Clears the due times; `None` when another worker sends the notice, or the person has connected again.
async fn clear_due(app: &App, rows: &[Integration]) -> Result<Option<Vec<Integration>>, store::Error> {
    let cleared: Vec<Integration> = rows.iter().map(|row| Integration { due: None, ..row.clone() }).collect();
    save_rows(app, &cleared).await
}

async fn save_rows(app: &App, rows: &[Integration]) -> Result<Option<Vec<Integration>>, store::Error> {
    match app.store.save_integrations(rows).await {
        Ok(saved) => Ok(Some(saved)),
        Err(store::Error::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refreshes Active integrations that may share a Google account with one that ended: Google ends a whole grant, so
/// they have probably ended too and belong in the same message.
async fn refresh_shared_accounts(app: &App, rows: &[Integration]) -> Report {
    let mut report = Report::default();
    let ended = pending_notice(rows, app.clock.now());
    let may_have_ended =
        |row: &&Integration| row.status == Status::Active && ended.iter().any(|ended| ended.may_share_account(row));
    for row in rows.iter().filter(may_have_ended) {
        match app.refresher.refresh(row, None, Trigger::Schedule).await {
            Ok(RefreshOutcome::Token { .. }) => report.refreshed += 1,
            Ok(RefreshOutcome::Superseded) => report.skipped_leased += 1,
            Err(failed) if failed.failure.class() == Class::Final => report.expired += 1,
            Err(_) => report.failed += 1,
        }
    }
    report
}

fn pending_notice(rows: &[Integration], now: Timestamp) -> Vec<&Integration> {
    rows.iter().filter(|row| row.status == Status::Expired && row.is_due(now)).collect()
}

/// Sends the notice, or postpones it.
async fn send_notice(app: &App, tenant: &Tenant, pending: Vec<Integration>) -> Result<Report, store::Error> {
    // The link's page shows whose assistant it is. That is asked for, because no row keeps it.
    let person = match app.bot.call::<Value>("getChat", &json!({ "chat_id": tenant.chat_id })).await {
        Ok(chat) => Person::from_json(&chat),
        Err(error) => return postpone_notice(app, &pending, &error, false).await,
    };
    let Some(ended) = clear_due(app, &pending).await? else { return Ok(Report::default()) };
    let services = match ended.as_slice() {
        [one] if one.provider == Provider::Gmail => Services::Gmail,
        [_] => Services::GoogleCalendar,
        _ => Services::Google,
    };
    let url = app.links.reconnect_url(services, tenant.tenant_id, &person, app.clock.now());
    let label = if ended.len() == 1 { "Connect it again" } else { "Connect them again" };
    let options = MessageOptions { button: Some(Button { text: label, url: &url }), ..MessageOptions::default() };
    match app.bot.send_message(tenant.chat_id, &notice_text(&ended), options).await {
        Ok(_) => Ok(Report { notified: 1, ..Report::default() }),
        Err(error) => postpone_notice(app, &ended, &error, true).await,
    }
}

/// Decides by Telegram's error whether the notice is retried or given up. One that may have arrived is not sent again.
async fn postpone_notice(
    app: &App,
    rows: &[Integration],
    error: &providers::Error,
    is_sent: bool,
) -> Result<Report, store::Error> {
    tracing::warn!(
        code = "notice_not_sent", error = %error,
        "Notice of an ended integration was not sent; it is retried unless it may have arrived or the chat is closed"
    );
    let retry_after = match error {
        providers::Error::RateLimited { retry_after } => *retry_after,
        // There is nobody to notify.
        refused if refusal::is_chat_closed(refused) => {
            clear_due(app, rows).await?;
            return Ok(Report::default());
        }
        // Our token or our request is wrong: an alarm is raised, and the notice is retried until that is corrected.
        providers::Error::Refused { .. } | providers::Error::NotFound | providers::Error::Unauthorized => None,
        providers::Error::Failed { .. } | providers::Error::Unreachable { .. } | providers::Error::Malformed { .. } => {
            if is_sent && !error.is_unsent() {
                metric("NoticesUncertain", 1);
                return Ok(Report::default());
            }
            None
        }
    };
    metric("NoticesPostponed", 1);
    let now = app.clock.now();
    let postponed: Vec<Integration> =
        rows.iter().map(|row| refresh::with_notice_retry(row, retry_after, now)).collect();
    save_rows(app, &postponed).await?;
    Ok(Report { failed: rows.len(), ..Report::default() })
}

fn notice_text(ended: &[Integration]) -> String {
    let services: Vec<String> = ended
        .iter()
        .map(|row| match &row.account {
            Some(account) => format!("{} ({account})", row.provider.display_name()),
            None => row.provider.display_name().to_owned(),
        })
        .collect();
    let them = if ended.len() == 1 { "it" } else { "them" };
    format!(
        "⚠️ Google ended your assistant's access to {}, so it cannot read {them} any more. The button connects {them} \
         again; everything else stays as it is.\n\nIt works for a week and connects to your assistant, whoever presses \
         it: do not pass it on.",
        services.join(" and ")
    )
}
