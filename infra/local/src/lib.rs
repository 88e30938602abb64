//! Runs the whole system on one machine: the functions as they are deployed, between simulated vendors, with a page to
//! write to the bot and a story that plays in the terminal.

mod browser;
mod chat;
mod containers;
mod functions;
mod mail;
mod page;
mod show;
pub mod story;
mod subscriber;
mod trace;
mod wiring;
mod world;

pub use browser::{Browser, LoadedPage};
pub use chat::{Button, Chat, Line};
pub use mail::{Outcomes, Reading, read_mailbox};
pub use show::Show;
pub use subscriber::Subscriber;
pub use trace::{Invocation, Trace, Trigger};
pub use wiring::{ROUTES, build_router};
pub use world::{API, BOT_USERNAME, Options, World};

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use nbhd::clock::Clock;
use nbhd_sim::google::mailbox::TextForm;

use show::print_line;

/// The command line of `make run`.
#[derive(Debug, clap::Parser)]
#[command(name = "make run ARGS=…", about = "NBHD United's control plane on this machine, between simulated vendors")]
pub struct Args {
    /// End after the story; the exit status says whether every step ended as it should
    #[arg(long)]
    once: bool,
    /// Fill the mailbox from a folder of .eml files or a Maildir, and open every message
    #[arg(long, value_name = "DIR")]
    mail: Option<PathBuf>,
    /// Hand out the texts of the mailbox in their senders' character sets, and not in UTF-8 as Gmail mostly does
    #[arg(long)]
    raw_mail: bool,
    /// Keep the table in this folder between runs
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The port of the page and the API on 127.0.0.1
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

const FOLDER: &str = ".local";
const LOG: &str = ".local/functions.log";
const SETTINGS: &str = ".local/settings.env";

/// Starts the world, plays the story, and keeps running unless `--once` was given. Fails if something cannot be
/// started, or at the first step of the story that does not end as it should.
pub async fn run(args: Args) -> ExitCode {
    match play(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_line(&format!("\nFailed: {error:#}. The functions' log lines are in `{LOG}`."));
            ExitCode::FAILURE
        }
    }
}

async fn play(args: Args) -> anyhow::Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    nbhd::telemetry::init_file(File::create(LOG)?);
    let table = match &args.state {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            Some(folder.join("table.sqlite"))
        }
        None => None,
    };
    let settings = Some(PathBuf::from(SETTINGS));
    let options = Options { port: args.port, table, settings, ..Options::with_clock(Clock::offset()) };
    let world = World::start(options).await?;
    let form = if args.raw_mail { TextForm::Raw } else { TextForm::Utf8 };
    let count = story::fill_account(&world, args.mail.as_deref(), form)?;
    print_line(&format!("NBHD United, on this machine: {} (mailbox: {count} messages)", world.base_url()));

    let mut show = Show::new(&world.trace, print_line);
    let subscriber = story::begin(&world, &mut show).await?;
    if args.mail.is_some() {
        let reading = read_mailbox(&world, &subscriber).await?;
        print_line(&format!("\n{reading}"));
        ensure!(reading.failed() == 0, "not every message could be opened");
    }
    story::end(&world, &subscriber, &mut show).await?;
    print_line(&format!("\nThe story ended as it should. The functions' log lines are in `{LOG}`."));
    if args.once {
        return Ok(());
    }
    story::fill_calendar(&world);
    print_line(&format!("\nOpen {} to write to the bot yourself; Ctrl-C stops.", world.base_url()));
    print_line(&format!("`make ops ARGS=tenants` shows what an operator sees (settings: `{SETTINGS}`)."));
    match world.run().await {}
}
