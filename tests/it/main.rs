//! The one integration binary: the real server over a real PostgreSQL and a real Redis.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and may wait"
)]

mod accounts;
mod api_keys;
mod architecture;
mod audit;
mod bad_input;
mod balancers;
mod browser;
mod cache;
mod caching;
mod catalog;
mod client_kit;
mod clients;
mod clusters;
mod connections;
mod database;
mod deployment;
mod door;
mod events;
mod figures;
mod http;
mod idempotency;
mod issuer;
mod keys;
mod limits;
mod mail;
mod oracle;
mod paging;
mod passwords;
mod permissions;
mod plans;
mod poolers;
mod processes;
mod protocol;
mod replicas;
mod schema;
mod services;
mod sessions;
mod sockets;
mod stores;
mod support;
mod tokens;
mod traces;
mod written;
