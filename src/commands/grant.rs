//! `grant`: a role of PostgreSQL that can do what one service does.

use crate::commands::{place, say};
use crate::config::{Service, Settings};
use crate::infra::grants;

pub async fn run(settings: &Settings, service: Service, role: &str) -> anyhow::Result<()> {
    let place = place::open(settings).await?;
    place::migrated(settings, &place).await?;
    grants::give(settings, place.direct_url(), service, role).await?;
    say(&format!("The role {role} may do what the service needs, and no more."));
    tokio::task::spawn_blocking(move || drop(place)).await?;
    Ok(())
}
