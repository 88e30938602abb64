//! The operator's command `nbhd`: shows tenants, connections and dead letters, and takes a few requests.
//!
//! It only writes the rows that say what is wanted, and queues a job for the function that brings it about.

mod customer;
mod deadletters;
mod grant;
mod integrations;
mod orphans;
mod output;
mod rotation;
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

pub use output::Output;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "nbhd", about = "Shows an operator NBHD United's tenants, and takes requests for them")]
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
    /// List every tenant with its state and its entitlement
    Tenants {
        /// Only those in this state: pending, provisioning, active, suspended, deprovisioning or deleted
        #[arg(long)]
        state: Option<tenants::State>,
    },
    /// Show one tenant: state, entitlement, last steps, last error, connections, resources
    Tenant { id: TenantId },
    /// Reconcile a tenant now, instead of when it is due
    Reconcile { id: TenantId },
    /// Suspend a tenant, whatever its subscription says, until `resume`
    Suspend { id: TenantId },
    /// End a suspension; the subscription at Stripe counts again
    Resume { id: TenantId },
    /// Rotate the keys of a tenant's runtime, or of all; the old ones stay valid until it has the new ones
    RotateKeys {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<TenantId>,
        /// Every tenant whose secrets are not of the first of `RUNTIME_KEYS`; can be stopped and run again
        #[arg(long)]
        all: bool,
        /// How many tenants a minute, since each container is stopped and started anew
        #[arg(long, conflicts_with = "id", value_name = "TENANTS", default_value_t = 10,
            value_parser = clap::value_parser!(u32).range(1..=6_000))]
        per_minute: u32,
    },
    /// Give a person an assistant without a payment until a date, whatever Stripe says; makes the tenant if need be
    Grant(grant::GrantArgs),
    /// Take a customer who is gone at Stripe off its tenant, whose person can then subscribe as a new customer
    ForgetCustomer {
        /// Stripe's id of the customer, `cus_…`
        customer: String,
        /// Even though Stripe still knows the customer, or cannot be asked; what they pay for then counts for nobody
        #[arg(long)]
        force: bool,
    },
    /// List every connection to Google
    Integrations {
        /// Only those in this state: active, expired or revoked
        #[arg(long)]
        state: Option<integrations::State>,
    },
    /// List what bears our names at Azure and the model gateway and no row knows, with its age and what it costs
    Orphans(orphans::OrphansArgs),
    /// List the dead letters of each queue, without their content
    Deadletters {
        #[command(subcommand)]
        action: Option<deadletters::Action>,
    },
}

/// The clients that a command uses.
struct Operator {
    clock: Clock,
    env: Env,
    store: Store,
    queues: Queues,
}

/// Runs the command and returns its output.
///
/// # Errors
/// A sentence for the operator that says what failed, and why.
pub async fn run(args: Args, clock: Clock) -> anyhow::Result<String> {
    let env = match &args.settings {
        Some(file) => Env::from_file(file).with_context(|| format!("`{}` cannot be read", file.display()))?,
        None => Env::load().await?,
    };
    let (store, queues) = (Store::from_env(&env)?, Queues::new(&env)?);
    let operator = Operator { clock, env, store, queues };
    let output = match args.command {
        Command::Tenants { state } => tenants::list(&operator, state).await?,
        Command::Tenant { id } => tenant::show_tenant(&operator, id).await?,
        Command::Reconcile { id } => tenant::request_reconcile(&operator, id).await?,
        Command::Suspend { id } => tenant::set_hold(&operator, id, true).await?,
        Command::Resume { id } => tenant::set_hold(&operator, id, false).await?,
        Command::RotateKeys { id: Some(id), .. } => tenant::request_rotation(&operator, id).await?,
        Command::RotateKeys { id: None, per_minute, .. } => rotation::rotate_all(&operator, per_minute).await?,
        Command::Grant(grant) => grant::run(&operator, &grant).await?,
        Command::ForgetCustomer { customer, force } => customer::forget(&operator, &customer, force).await?,
        Command::Integrations { state } => integrations::list(&operator, state).await?,
        Command::Orphans(orphans) => orphans::run(&operator, &orphans).await?,
        Command::Deadletters { action } => deadletters::run(&operator, action).await?,
    };
    Ok(if args.json { output.to_json() } else { output.to_text() })
}

impl Operator {
    fn lifecycle_jobs(&self) -> anyhow::Result<Jobs<LifecycleJob>> {
        Ok(self.queues.lifecycle_jobs(self.env.required("LIFECYCLE_QUEUE_URL", "the address of the lifecycle queue")?))
    }
}
