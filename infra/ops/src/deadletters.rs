//! `nbhd deadletters`.

use clap::Subcommand;
use nbhd::queue::DeadLetters;
use serde_json::json;

use crate::{Operator, Shown};

/// The queues of dead letters, by setting and by what they hold.
const QUEUES: [(&str, &str); 3] =
    [("INBOUND_DLQ_URL", "inbound"), ("REFRESH_DLQ_URL", "refresh"), ("LIFECYCLE_DLQ_URL", "lifecycle")];

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Action {
    /// Send all of them back to the queues they came from
    Redrive,
}

pub(crate) async fn run(operator: &Operator, action: Option<Action>) -> anyhow::Result<Shown> {
    let mut queues = Vec::new();
    for (setting, name) in QUEUES {
        let url = operator.env.required(setting, "the address of the queue of dead letters")?;
        queues.push((name, operator.queues.dead_letters(url)));
    }
    match action {
        None => look(&queues).await,
        Some(Action::Redrive) => redrive(&queues).await,
    }
}

/// Ten of each queue at most; the count is of all.
async fn look(queues: &[(&str, DeadLetters)]) -> anyhow::Result<Shown> {
    let (mut counts, mut letters) = (Vec::new(), Vec::new());
    for (name, queue) in queues {
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

async fn redrive(queues: &[(&str, DeadLetters)]) -> anyhow::Result<Shown> {
    let mut rows = Vec::new();
    for (name, queue) in queues {
        let waiting = queue.waiting().await?;
        if waiting > 0 {
            queue.redrive().await?;
        }
        rows.push(vec![json!(name), json!(waiting)]);
    }
    Ok(Shown::Rows { head: vec!["queue", "sent_back"], rows })
}
