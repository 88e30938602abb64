//! `nbhd orphans`: what bears our names at Azure and the model gateway and no row knows.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal as _, Write as _};

use anyhow::{bail, ensure};
use clap::Subcommand;
use nbhd::clock::Timestamp;
use nbhd::domain::inventory::{Inventory, Orphan};
use nbhd::domain::step_name::Part;
use nbhd::queue::LifecycleJob;
use serde_json::{Value, json};

use crate::{Operator, Output};

/// What is listed, and at which prices.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OrphansArgs {
    /// What a container app costs a month, in USD, as your bill has it
    #[arg(long, global = true, value_name = "USD")]
    app_price: Option<f64>,
    /// What a file share costs a month, in USD, as your bill has it
    #[arg(long, global = true, value_name = "USD")]
    share_price: Option<f64>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// Remove orphans that were known for six hours, after asking; all of them unless some are named
    Remove {
        /// The ids of those to remove
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(operator: &Operator, args: &OrphansArgs) -> anyhow::Result<Output> {
    let mut inventories = operator.store.list_inventories().await?;
    inventories.sort_by(|one, other| one.of.cmp(&other.of));
    match &args.action {
        None => Ok(list(args, &inventories, operator.clock.now())),
        Some(Action::Remove { ids, yes }) => remove(operator, args, &inventories, ids, *yes).await,
    }
}

fn list(args: &OrphansArgs, inventories: &[Inventory], now: Timestamp) -> Output {
    let taken = inventories.iter().map(|inventory| {
        let at = inventory.taken_at.map(Timestamp::rfc3339);
        vec![json!(inventory.of), json!(at), json!(inventory.orphans.len() + inventory.more)]
    });
    let orphans = inventories.iter().flat_map(|inventory| inventory.orphans.iter().map(move |it| (inventory, it)));
    Output::Parts(vec![
        ("inventories", Output::Rows { head: vec!["of", "taken", "orphans"], rows: taken.collect() }),
        ("orphans", show(args, orphans, now)),
    ])
}

fn show<'a>(args: &OrphansArgs, orphans: impl Iterator<Item = (&'a Inventory, &'a Orphan)>, now: Timestamp) -> Output {
    let row = |(inventory, orphan): (&Inventory, &Orphan)| {
        let parts = orphan.parts.iter().map(|part| part.description()).collect::<Vec<_>>().join(", ");
        let hours = now.since(orphan.first_seen).as_secs() / 3_600;
        vec![
            json!(orphan.id()),
            json!(parts),
            json!(inventory.of),
            json!(orphan.tenant),
            json!(hours),
            monthly_cost(args, orphan),
            json!(orphan.is_removable(now)),
        ]
    };
    let head = vec!["id", "what", "at", "tenant", "hours", "usd_a_month", "removable"];
    Output::Rows { head, rows: orphans.map(row).collect() }
}

/// What it may cost a month: of a model key its limit. Identities, roles, storages of an environment and secrets at
/// rest cost nothing; the price of what else there is an operator has to give, or the sum is unknown.
/// <https://azure.microsoft.com/pricing/details/key-vault/>
fn monthly_cost(args: &OrphansArgs, orphan: &Orphan) -> Value {
    let of_part = |part: &Part| match part {
        Part::App => args.app_price,
        Part::Share => args.share_price,
        Part::ModelKeys => orphan.limit_cents.map(|cents| f64::from(cents) / 100.0),
        Part::Storage | Part::Role | Part::Identity | Part::Secret | Part::Integrations | Part::Rows => Some(0.0),
    };
    let sum: Option<f64> = orphan.parts.iter().map(of_part).sum();
    sum.map_or(Value::Null, |usd| json!((usd * 100.0).round() / 100.0))
}

async fn remove(
    operator: &Operator,
    args: &OrphansArgs,
    inventories: &[Inventory],
    ids: &[String],
    yes: bool,
) -> anyhow::Result<Output> {
    let now = operator.clock.now();
    let all = || inventories.iter().flat_map(|inventory| inventory.orphans.iter().map(move |it| (inventory, it)));
    let known: BTreeSet<&str> = all().map(|(_, orphan)| orphan.id()).collect();
    if let Some(unknown) = ids.iter().find(|id| !known.contains(id.as_str())) {
        bail!("no inventory has an orphan `{unknown}`; `nbhd orphans` lists them");
    }
    let is_named = |orphan: &Orphan| ids.is_empty() || ids.iter().any(|id| id == orphan.id());
    let wanted: Vec<_> = all().filter(|(_, orphan)| is_named(orphan)).collect();
    let (old, young): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, orphan)| orphan.is_removable(now));
    if !old.is_empty() && !yes {
        ensure!(std::io::stdin().is_terminal(), "nobody can be asked here; `--yes` removes without asking");
        let question = format!(
            "{}\nThese {} are removed for good, files too. Type `yes`: ",
            show(args, old.iter().copied(), now).to_text(),
            old.len()
        );
        ensure!(is_confirmed(&question, &mut std::io::stdin().lock())?, "nothing was removed");
    }
    let queue = operator.lifecycle_jobs()?;
    for (inventory, orphan) in &old {
        let job = LifecycleJob::RemoveOrphan { inventory: inventory.of.clone(), orphan: orphan.id().to_owned() };
        queue.send(&job).await?;
    }
    Ok(Output::Parts(vec![
        ("removals_requested", Output::Value(json!(old.len()))),
        ("too_young", Output::Value(json!(young.len()))),
        ("next", Output::from_text("`nbhd orphans` shows what is left in a minute".to_owned())),
    ]))
}

/// Asks on the other stream than the outcome; only the whole word counts.
fn is_confirmed(question: &str, input: &mut impl BufRead) -> anyhow::Result<bool> {
    let mut screen = std::io::stderr().lock();
    write!(screen, "{question}")?;
    screen.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_removes_anything() {
        for (answer, expected) in [("yes\n", true), ("y\n", false), ("\n", false), ("", false), ("no yes\n", false)] {
            assert_eq!(is_confirmed("?", &mut answer.as_bytes()).expect("asked"), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_cost_is_shown_where_every_price_is_known() {
        let at = Timestamp::from_seconds(1_795_262_400);
        let orphan = |parts: &[Part]| Orphan {
            name: "t".to_owned(),
            parts: parts.to_vec(),
            tenant: None,
            role: None,
            key: None,
            limit_cents: Some(500),
            first_seen: at,
            last_seen: at,
        };
        let args = OrphansArgs { app_price: None, share_price: Some(0.3), action: None };
        assert_eq!(monthly_cost(&args, &orphan(&[Part::ModelKeys])), json!(5.0));
        assert_eq!(monthly_cost(&args, &orphan(&[Part::Share, Part::Role])), json!(0.3));
        assert_eq!(monthly_cost(&args, &orphan(&[Part::Share, Part::App])), Value::Null);
    }
}
