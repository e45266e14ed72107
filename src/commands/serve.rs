//! `serve`: the server, from its settings to its end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::commands::place::{self, Place};
use crate::commands::{Misused, say, seed};
use crate::config::{Freshness, Service, Services, Settings};
use crate::domain::Core;
use crate::domain::accounts::commands::RegisterError;
use crate::domain::accounts::{self, AccountDraft, Revocations, Role};
use crate::graphql::service::ServiceInfo;
use crate::graphql::{self, Schemas};
use crate::infra::mail::Route;
use crate::infra::migrations;
use crate::infra::postgres::write_secret;
use crate::transport::{self, App, Stage};

/// Products of the demo.
const DEMO_PRODUCTS: u64 = 540;
/// The demo's accounts.
const DEMO_ACCOUNTS: [(&str, &str, Role); 2] =
    [("staff@stockroom.test", "Sam Staff", Role::Staff), ("admin@stockroom.test", "Ada Admin", Role::Admin)];

/// Serves until the process is told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    // First, so that Ctrl-C while the private PostgreSQL starts also stops it.
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    migrations::check_clock(Utc::now()).map_err(Misused)?;
    let listener = transport::listen(settings.listen_addr).map_err(|error| {
        let address = settings.listen_addr;
        Misused(anyhow::anyhow!("cannot listen on {address}: {error}; set LISTEN_ADDR to a free address"))
    })?;
    let place = place::open_alone(&settings).await?;
    let db = place::database(&settings, &place)?;
    let core = place::core(&settings, &place, db, place::keys(&settings)?)?;
    if let Some(redis) = core.infra.redis.clone() {
        // Nothing waits for it, as no request does.
        tokio::spawn(async move {
            if let Err(error) = redis.check().await {
                tracing::warn!("going on without Redis, which cannot be used: {error:#}");
            }
        });
    }
    place::ready(&settings, &place, &core.infra.db).await?;
    core.gate.version().await.context("the database cannot be read")?;
    Revocations::follow(&core).await.context("revocations cannot be read")?;
    core.infra.db.warm().await;
    let demo = if place.is_private() { demo_accounts(&core, &settings.data_dir).await? } else { Vec::new() };
    greet(&settings, &place, &core.infra.mailer.route, listener.local_addr()?, &demo);

    // One of two services is enough for what both leave behind.
    if settings.services.include(Service::Accounts) {
        core.keep_tidy(settings.change_retention);
    }
    core.infra.tokens.keep_reading();
    let (drain, connections) = (settings.drain_timeout, settings.max_connections);
    let delay = settings.shutdown_delay;
    let (proceeding, stage) = watch::channel(Stage::Serving);
    tokio::spawn(async move {
        tokio::select! {
            // Somebody waits for it.
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {
                tracing::info!("not ready any more; stopping in {delay:?}");
                proceeding.send_replace(Stage::Leaving);
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    _ = interrupted.recv() => {}
                    _ = terminated.recv() => {}
                }
            }
        }
        tracing::info!("stopping");
        proceeding.send_replace(Stage::Stopping);
        std::future::pending::<()>().await;
    });
    let service = ServiceInfo::new(&settings);
    let schemas = Schemas::new(|| graphql::builder(settings.services).data(service.clone()));
    let app = App::new(Arc::clone(&core), schemas, settings, place.is_private(), stage.clone()).map_err(Misused)?;
    let told = tokio::spawn(stopped_at(stage.clone()));
    let app = Arc::new(app);
    let router = transport::router(Arc::clone(&app));
    transport::serve(router, Some(app), listener, connections, stage, drain).await;
    core.infra.mailer.finish(told.await? + drain).await;
    // Stops a private PostgreSQL.
    tokio::task::spawn_blocking(move || drop(place)).await?;
    Ok(())
}

/// When the server was told to stop.
async fn stopped_at(mut stage: watch::Receiver<Stage>) -> Instant {
    let _ = stage.wait_for(|stage| *stage == Stage::Stopping).await;
    Instant::now()
}

/// Fills an empty private database, and tells its accounts' passwords, which are made once and kept beside it.
async fn demo_accounts(core: &Arc<Core>, folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let (file, done) = (folder.join("demo-accounts"), folder.join("demo-done"));
    if !file.exists() && accounts::queries::user_count(core).await? > 0 {
        return Ok(Vec::new());
    }
    if !file.exists() {
        let mut lines = String::new();
        for (email, ..) in DEMO_ACCOUNTS {
            let mut bytes = [0_u8; 9];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no random numbers"))?;
            lines += &[email, " ", &URL_SAFE_NO_PAD.encode(bytes), "\n"].concat();
        }
        write_secret(&file, &lines)?;
    }
    let kept = std::fs::read_to_string(&file)?;
    let accounts: Vec<(String, String)> = kept
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(email, password)| (email.into(), password.into()))
        .collect();
    // What was interrupted is done again, which changes nothing that is there.
    if !done.exists() {
        let mut creator = None;
        for ((email, password), (_, name, role)) in accounts.iter().zip(DEMO_ACCOUNTS) {
            let password = password.clone().into();
            let draft = AccountDraft { email: email.clone(), password, name: Some(name.to_owned()) };
            match accounts::commands::create_user(core, draft, role).await {
                Ok(user) => creator = creator.or(Some(user.id)),
                Err(RegisterError::EmailTaken) => {}
                Err(error) => anyhow::bail!("the demo account {email}: {error:?}"),
            }
        }
        seed::products(core, DEMO_PRODUCTS, creator, |_| ()).await?;
        std::fs::write(&done, "")?;
    }
    Ok(accounts)
}

fn greet(settings: &Settings, place: &Place, mail: &Route, address: SocketAddr, demo: &[(String, String)]) {
    let url = format!("http://{address}");
    say(&format!("Stockroom {} is ready.", env!("CARGO_PKG_VERSION")));
    match settings.services {
        Services::All if transport::pages_are_built() => say(&format!("  Shop       {url}/")),
        Services::All => {}
        Services::Only(Service::Accounts) => say("  Services   accounts, as a subgraph"),
        Services::Only(Service::Catalog) => say("  Services   catalog, as a subgraph"),
    }
    say(&format!("  Explore    {url}/graphiql"));
    if !transport::pages_are_built() {
        say("             (from a CDN, and without the shop: they were not built, for want of Node.js)");
    }
    say(&format!("  API        {url}/graphql"));
    match place {
        Place::Private(postgres) => {
            say(&format!("  Database   private PostgreSQL {} in {}", postgres.version(), settings.data_dir.display()));
        }
        _ => say("  Database   as DATABASE_URL says"),
    }
    match &settings.redis_url {
        Some(_) => say("  Cache      in process, and in Redis as REDIS_URL says"),
        None => say("  Cache      in process; set REDIS_URL to share it between instances"),
    }
    say(&format!("  Mail       {mail}"));
    if let Freshness::Bounded(bound) = settings.freshness {
        say(&format!("  Freshness  answers may be {bound:?} old"));
    }
    for (email, password) in demo {
        say(&format!("  Demo       {email}  password {password}"));
    }
    say("  Stop       Ctrl-C");
}
