//! `schema`: the API in GraphQL's schema language.

use anyhow::Context;

use crate::commands::say;
use crate::config::Settings;
use crate::graphql;

/// The file that reviews see.
const FILE: &str = "schema.graphql";

pub fn run(settings: &Settings, check: bool) -> anyhow::Result<()> {
    let sdl = graphql::published_sdl(settings.services);
    if !check {
        say(sdl.trim_end());
        return Ok(());
    }
    let kept = std::fs::read_to_string(FILE).with_context(|| format!("reading {FILE}"))?;
    if kept == sdl {
        say(&format!("{FILE} is current."));
        return Ok(());
    }
    let line = kept.lines().zip(sdl.lines()).position(|(kept, now)| kept != now);
    let line = line.unwrap_or_else(|| kept.lines().count().min(sdl.lines().count())) + 1;
    anyhow::bail!("{FILE} differs from line {line} on; run `stockroom schema > {FILE}` and review it")
}
