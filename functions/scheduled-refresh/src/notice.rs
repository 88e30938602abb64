//! Telling a person, once, that a connection ended, with a link that renews it.
//!
//! An Expired row is due while its person was not told: the last word and this mark are one write, so nothing that
//! dies in between loses the message. The mark is taken off before the message is sent, so none is sent twice: a worker
//! that dies at that very point leaves a person untold, who then hears it from their assistant. A refusal of Telegram's
//! that is not its last word puts the mark back.

use nbhd::clock::Timestamp;
use nbhd::domain::ids::TenantId;
use nbhd::domain::integration::{Integration, Provider, Status};
use nbhd::domain::refresh::{self, Class};
use nbhd::domain::tenant::Tenant;
use nbhd::domain::update::display_name;
use nbhd::flows::connect_link::Services;
use nbhd::flows::refresh::{By, Refreshed};
use nbhd::providers;
use nbhd::providers::telegram::{Button, MessageOptions};
use nbhd::store;
use nbhd::telemetry::metric;
use serde_json::{Value, json};

use crate::{App, Report};

/// Tells the person of `tenant` what ended, in one message.
pub(crate) async fn tell(app: &App, tenant: TenantId) -> Result<Report, store::Error> {
    let mut report = Report::default();
    let Some((_, rows)) = app.store.runtime_view(tenant).await? else { return forget(app, tenant).await };
    report.add(ask_about_others(app, &rows).await);
    let Some((tenant, rows)) = app.store.runtime_view(tenant).await? else { return Ok(report) };
    let untold: Vec<Integration> = untold(&rows, app.clock.now()).into_iter().cloned().collect();
    if untold.is_empty() {
        return Ok(report);
    }
    if tenant.may_connect() {
        report.add(send(app, &tenant, untold).await?);
    } else {
        marks_off(app, &untold).await?;
    }
    Ok(report)
}

/// A tenant that is gone has nobody to tell: its rows are due no more.
async fn forget(app: &App, tenant: TenantId) -> Result<Report, store::Error> {
    for provider in Provider::ALL {
        let row = app.store.integration(tenant, provider).await?;
        if let Some(row) = row.filter(|row| row.status == Status::Expired && row.due.is_some()) {
            marks_off(app, &[row]).await?;
        }
    }
    Ok(Report::default())
}

/// Takes the marks off; `None` when another worker is telling, or the person has connected again.
async fn marks_off(app: &App, rows: &[Integration]) -> Result<Option<Vec<Integration>>, store::Error> {
    let told: Vec<Integration> = rows.iter().map(|row| Integration { due: None, ..row.clone() }).collect();
    save(app, &told).await
}

async fn save(app: &App, rows: &[Integration]) -> Result<Option<Vec<Integration>>, store::Error> {
    match app.store.save_integrations(rows).await {
        Ok(saved) => Ok(Some(saved)),
        Err(store::Error::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Google ends a whole grant: what shares the account ended too, and belongs into the same message.
async fn ask_about_others(app: &App, rows: &[Integration]) -> Report {
    let mut report = Report::default();
    let ended = untold(rows, app.clock.now());
    let is_doubtful =
        |row: &&Integration| row.status == Status::Active && ended.iter().any(|ended| ended.may_share_account(row));
    for row in rows.iter().filter(is_doubtful) {
        match app.refresher.refresh(row, None, By::Schedule).await {
            Ok(Refreshed::Token { .. }) => report.refreshed += 1,
            Ok(Refreshed::Elsewhere) => report.skipped_leased += 1,
            Err(failed) if failed.failure.class() == Class::Final => report.expired += 1,
            Err(_) => report.failed += 1,
        }
    }
    report
}

fn untold(rows: &[Integration], now: Timestamp) -> Vec<&Integration> {
    rows.iter().filter(|row| row.status == Status::Expired && row.is_due(now)).collect()
}

/// Sends the message, and reports whether it was, or is put off.
async fn send(app: &App, tenant: &Tenant, untold: Vec<Integration>) -> Result<Report, store::Error> {
    // Whose assistant it is: the link's page says so, and we keep nobody's name.
    let person = match app.bot.call::<Value>("getChat", &json!({ "chat_id": tenant.chat_id })).await {
        Ok(chat) => display_name(&chat),
        Err(error) => return put_off(app, &untold, &error, false).await,
    };
    let Some(ended) = marks_off(app, &untold).await? else { return Ok(Report::default()) };
    let services = match ended.as_slice() {
        [one] if one.provider == Provider::Gmail => Services::Gmail,
        [_] => Services::GoogleCalendar,
        _ => Services::Google,
    };
    let url = app.links.reconnect_url(services, tenant.tenant_id, &person, app.clock.now());
    let label = if ended.len() == 1 { "Connect it again" } else { "Connect them again" };
    let options = MessageOptions { button: Some(Button { text: label, url: &url }), ..MessageOptions::default() };
    match app.bot.send_message(tenant.chat_id, &message(&ended), options).await {
        Ok(_) => Ok(Report { told: 1, ..Report::default() }),
        Err(error) => put_off(app, &ended, &error, true).await,
    }
}

/// What Telegram's error means: another time, or never. A message that may have arrived is not sent again.
async fn put_off(
    app: &App,
    rows: &[Integration],
    error: &providers::Error,
    is_sent: bool,
) -> Result<Report, store::Error> {
    tracing::warn!(error = %error, "a person was not told that a connection ended");
    let retry_after = match error {
        providers::Error::RateLimited { retry_after } => *retry_after,
        // There is nobody to tell.
        providers::Error::Refused { status, reason } if is_final(*status, reason) => {
            marks_off(app, rows).await?;
            return Ok(Report::default());
        }
        // Something of ours is wrong: an alarm tells, and once it is mended the person is told.
        providers::Error::Refused { .. } | providers::Error::NotFound | providers::Error::Unauthorized => None,
        providers::Error::Failed { .. } | providers::Error::Unreachable { .. } | providers::Error::Malformed { .. } => {
            if is_sent && !error.is_unsent() {
                metric("NoticesUncertain", 1);
                return Ok(Report::default());
            }
            None
        }
    };
    metric("NoticesPutOff", 1);
    let now = app.clock.now();
    let again: Vec<Integration> = rows.iter().map(|row| refresh::untold(row, retry_after, now)).collect();
    save(app, &again).await?;
    Ok(Report { failed: rows.len(), ..Report::default() })
}

/// Whether Telegram says that the person blocked the bot, or that there is no such chat (any more).
/// <https://core.telegram.org/bots/api#making-requests>
fn is_final(status: u16, reason: &str) -> bool {
    status == 403 || reason.contains("chat not found")
}

fn message(ended: &[Integration]) -> String {
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
