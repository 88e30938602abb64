//! The operator's command: what there is, why it is so, and the few things a person may ask for.
//!
//! It changes nothing by itself but the rows that say what is wanted, and nudges the functions that make it so.

mod deadletters;
mod integrations;
mod shown;
mod tenant;
mod tenants;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use nbhd::clock::Clock;
use nbhd::config::Env;
use nbhd::domain::ids::TenantId;
use nbhd::queue::{Jobs, LifecycleJob, Queues};
use nbhd::store::Store;

pub use shown::Shown;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "nbhd", about = "NBHD United's tenants, from an operator's chair")]
pub struct Args {
    /// Read the settings from a file of `NAME=value` lines instead of the environment; `make run` writes
    /// `.local/settings.env`
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every tenant, with its state and what it is entitled to
    Tenants {
        /// Only those in this state: pending, provisioning, active, suspended, deprovisioning or deleted
        #[arg(long)]
        state: Option<tenants::State>,
    },
    /// One tenant: state, entitlement, last steps, last error, connections, resources
    Tenant { id: TenantId },
    /// Look at a tenant now, instead of when it is due
    Reconcile { id: TenantId },
    /// Suspend a tenant whatever Stripe says, until `resume`
    Suspend { id: TenantId },
    /// End a suspension; Stripe's word counts again
    Resume { id: TenantId },
    /// Give a tenant's runtime new keys; the old ones stay valid until it has them
    RotateKeys { id: TenantId },
    /// Every connection to Google
    Integrations {
        /// Only those in this state: active, expired or revoked
        #[arg(long)]
        state: Option<integrations::State>,
    },
    /// What could not be done, without anyone's words
    Deadletters {
        #[command(subcommand)]
        action: Option<deadletters::Action>,
    },
}

/// What a command works with.
struct Operator {
    clock: Clock,
    env: Env,
    store: Store,
    queues: Queues,
}

/// Does what the command line asks for.
///
/// # Errors
/// With a sentence that says what could not be done, and why.
pub async fn run(args: Args) -> anyhow::Result<String> {
    let env = match &args.settings {
        Some(file) => Env::from_file(file).with_context(|| format!("`{}` cannot be read", file.display()))?,
        None => Env::load().await?,
    };
    let (store, queues) = (Store::new(&env)?, Queues::new(&env)?);
    let operator = Operator { clock: Clock::System, env, store, queues };
    let shown = match args.command {
        Command::Tenants { state } => tenants::list(&operator, state).await?,
        Command::Tenant { id } => tenant::show(&operator, id).await?,
        Command::Reconcile { id } => tenant::reconcile(&operator, id).await?,
        Command::Suspend { id } => tenant::hold(&operator, id, true).await?,
        Command::Resume { id } => tenant::hold(&operator, id, false).await?,
        Command::RotateKeys { id } => tenant::rotate_keys(&operator, id).await?,
        Command::Integrations { state } => integrations::list(&operator, state).await?,
        Command::Deadletters { action } => deadletters::run(&operator, action).await?,
    };
    Ok(if args.json { shown.json() } else { shown.text() })
}

impl Operator {
    fn lifecycle(&self) -> anyhow::Result<Jobs<LifecycleJob>> {
        Ok(self.queues.lifecycle(self.env.required("LIFECYCLE_QUEUE_URL", "the address of the lifecycle queue")?))
    }
}
