//! What the binary can be told to do.

mod client_kit;
mod config;
mod doctor;
mod grant;
mod keys;
mod place;
mod schema;
mod seed;
pub mod serve;
mod user;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Service, Settings};
use crate::infra::{migrations, telemetry};

/// Exit code for settings and arguments that cannot be worked with.
const MISUSED: u8 = 2;

/// Stockroom: a GraphQL API server for users and a product catalogue
#[derive(Parser)]
#[command(version, max_term_width = 120, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (what is done without a command)
    Serve,
    /// Run the migrations that are missing
    Migrate {
        /// Only tell which are missing, and fail if any is
        #[arg(long)]
        check: bool,
    },
    /// Print the API in GraphQL's schema language; with `--services`, one service's as composition takes it
    Schema {
        /// Only compare it with `schema.graphql` in this folder, and fail if it differs
        #[arg(long)]
        check: bool,
    },
    /// Write what clients of this API need: the schema in all its forms, cache policies, sign-in for Apollo and urql
    ClientKit {
        /// The folder to write it to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Only compare it with what is there, and fail if it differs
        #[arg(long)]
        check: bool,
        /// Write over files that others changed
        #[arg(long, conflicts_with = "check")]
        force: bool,
    },
    /// Add products and users that might be, the same ones each time
    Seed {
        /// How many products
        #[arg(long, default_value_t = 0)]
        products: u64,
        /// How many users
        #[arg(long, default_value_t = 0)]
        users: u64,
    },
    /// Open accounts, give roles, list them
    #[command(subcommand)]
    User(user::UserCommand),
    /// Make, rotate, list and retire signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Let a role of PostgreSQL do exactly what one service needs
    Grant {
        /// `accounts` or `catalog`
        service: Service,
        /// The role, which exists
        role: String,
    },
    /// Check settings, PostgreSQL, migrations, Redis, keys and mail
    Doctor,
    /// Show the settings in force
    Config {
        /// Each value with its source, secrets masked
        #[arg(long, required = true)]
        explain: bool,
    },
}

/// Settings that cannot be worked with: what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Misused(pub anyhow::Error);

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let mut arguments = Cli::command();
    let matches = match arguments.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            // clap says what to do on its first line.
            let told = error.to_string();
            let first: Vec<&str> = told.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
            let told = first.join(" ");
            complain(told.trim_start_matches("error: "));
            return ExitCode::from(MISUSED);
        }
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let done = Cli::from_arg_matches(&matches).map_err(anyhow::Error::from).and_then(|cli| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(run(cli, &arguments, &matches));
        // What still runs, such as a password being hashed, has no one to answer to any more.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            if error.downcast_ref::<Misused>().is_some() { ExitCode::from(MISUSED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(cli: Cli, arguments: &clap::Command, matches: &ArgMatches) -> anyhow::Result<()> {
    let settings = cli.settings;
    match cli.command {
        None | Some(Command::Serve) => {
            let traces = telemetry::start(&settings).map_err(Misused)?;
            let served = serve::run(settings).await;
            traces.finish().await;
            served
        }
        Some(Command::Migrate { check }) => migrate(&settings, check).await,
        Some(Command::Schema { check }) => schema::run(&settings, check),
        Some(Command::ClientKit { folder, check, force }) => client_kit::run(&folder, check, force),
        Some(Command::Seed { products, users }) => seed::run(&settings, products, users).await,
        Some(Command::User(command)) => user::run(&settings, command).await,
        Some(Command::Keys(command)) => keys::run(&settings, command),
        Some(Command::Grant { service, role }) => grant::run(&settings, service, &role).await,
        Some(Command::Doctor) => doctor::run(&settings).await,
        Some(Command::Config { .. }) => {
            config::run(arguments, matches);
            Ok(())
        }
    }
}

async fn migrate(settings: &Settings, check: bool) -> anyhow::Result<()> {
    let place = place::open(settings).await?;
    let missing = migrations::missing(settings, place.direct_url()).await?;
    if missing.is_empty() {
        say("All migrations have run.");
        return Ok(());
    }
    if check {
        anyhow::bail!("missing: {}; run `stockroom migrate`", missing.join(", "));
    }
    for done in migrations::run(settings, place.direct_url()).await? {
        say(&format!("Ran {done}."));
    }
    Ok(())
}

/// Tells people something, on standard output. Who closed it does not want to know.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "stockroom: {}", text.trim_end());
}
