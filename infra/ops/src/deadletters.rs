//! `nbhd deadletters`.

use clap::Subcommand;
use nbhd::queue::DeadLetters;
use serde_json::json;

use crate::{Operator, Shown};

/// What the queues hold, and the settings with the addresses of their dead letters and of themselves.
const QUEUES: [(&str, &str, &str); 3] = [
    ("inbound", "INBOUND_DLQ_URL", "INBOUND_QUEUE_URL"),
    ("refresh", "REFRESH_DLQ_URL", "REFRESH_QUEUE_URL"),
    ("lifecycle", "LIFECYCLE_DLQ_URL", "LIFECYCLE_QUEUE_URL"),
];

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Action {
    /// Send all of them back to the queues they came from
    Redrive,
}

pub(crate) async fn run(operator: &Operator, action: Option<Action>) -> anyhow::Result<Shown> {
    match action {
        None => look(operator).await,
        Some(Action::Redrive) => redrive(operator).await,
    }
}

fn dead_letters(operator: &Operator, setting: &str) -> anyhow::Result<DeadLetters> {
    let url = operator.env.required(setting, "the address of the queue of dead letters")?;
    Ok(operator.queues.dead_letters(url))
}

/// Ten of each queue at most; the count is of all.
async fn look(operator: &Operator) -> anyhow::Result<Shown> {
    let (mut counts, mut letters) = (Vec::new(), Vec::new());
    for (name, setting, _) in QUEUES {
        let queue = dead_letters(operator, setting)?;
        counts.push(vec![json!(name), json!(queue.waiting().await?)]);
        for letter in queue.look().await? {
            let sent_at = letter.sent_at.map(|at| at.rfc3339());
            letters.push(vec![
                json!(name),
                json!(letter.id),
                json!(sent_at),
                json!(letter.chat),
                json!(letter.update_id),
            ]);
        }
    }
    Ok(Shown::Parts(vec![
        ("waiting", Shown::Rows { head: vec!["queue", "messages"], rows: counts }),
        ("letters", Shown::Rows { head: vec!["queue", "message", "sent", "chat", "update"], rows: letters }),
    ]))
}

async fn redrive(operator: &Operator) -> anyhow::Result<Shown> {
    let mut rows = Vec::new();
    for (name, setting, back) in QUEUES {
        let queue = dead_letters(operator, setting)?;
        let waiting = queue.waiting().await?;
        if waiting > 0 {
            queue.redrive(operator.env.required(back, "the address of the queue they came from")?).await?;
        }
        rows.push(vec![json!(name), json!(waiting)]);
    }
    Ok(Shown::Rows { head: vec!["queue", "sent_back"], rows })
}
