//! `config --explain`: what is in force, and why.

use clap::{ArgMatches, Command};

use crate::commands::say;
use crate::config;

pub fn run(command: &Command, matches: &ArgMatches) {
    let all = config::explain(command, matches);
    let width = all.iter().map(|setting| setting.variable.len()).max().unwrap_or(0);
    for setting in all {
        say(&format!("{:width$}  {:8}  {}", setting.variable, setting.source, setting.value));
    }
}
