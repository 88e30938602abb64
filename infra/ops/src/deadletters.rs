//! `nbhd deadletters`: lists the dead letters of each queue, and redrives them.

use clap::Subcommand;
use nbhd::queue::DeadLetters;
use serde_json::json;

use crate::{Operator, Output};

/// Each queue's name, and the settings with the addresses of its dead-letter queue and of itself.
const QUEUES: [(&str, &str, &str); 3] = [
    ("inbound", "INBOUND_DLQ_URL", "INBOUND_QUEUE_URL"),
    ("refresh", "REFRESH_DLQ_URL", "REFRESH_QUEUE_URL"),
    ("lifecycle", "LIFECYCLE_DLQ_URL", "LIFECYCLE_QUEUE_URL"),
];

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Action {
    /// Move all of them back to the queues they came from
    Redrive,
}

pub(crate) async fn run(operator: &Operator, action: Option<Action>) -> anyhow::Result<Output> {
    match action {
        None => list(operator).await,
        Some(Action::Redrive) => redrive(operator).await,
    }
}

fn dead_letters(operator: &Operator, setting: &str) -> anyhow::Result<DeadLetters> {
    let url = operator.env.required(setting, "the address of the queue of dead letters")?;
    Ok(operator.queues.dead_letters(url))
}

/// Lists at most ten dead letters of each queue, and counts all of them.
async fn list(operator: &Operator) -> anyhow::Result<Output> {
    let (mut counts, mut letters) = (Vec::new(), Vec::new());
    for (name, setting, _) in QUEUES {
        let queue = dead_letters(operator, setting)?;
        counts.push(vec![json!(name), json!(queue.count().await?)]);
        for letter in queue.peek().await? {
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
    Ok(Output::Parts(vec![
        ("waiting", Output::Rows { head: vec!["queue", "messages"], rows: counts }),
        ("letters", Output::Rows { head: vec!["queue", "message", "sent", "chat", "update"], rows: letters }),
    ]))
}

async fn redrive(operator: &Operator) -> anyhow::Result<Output> {
    let mut rows = Vec::new();
    for (name, setting, back) in QUEUES {
        let queue = dead_letters(operator, setting)?;
        let waiting = queue.count().await?;
        if waiting > 0 {
            queue.redrive(operator.env.required(back, "the address of the queue they came from")?).await?;
        }
        rows.push(vec![json!(name), json!(waiting)]);
    }
    Ok(Output::Rows { head: vec!["queue", "sent_back"], rows })
}
