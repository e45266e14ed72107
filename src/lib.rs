//! Stockroom: a GraphQL API server for users and a product catalogue. PostgreSQL holds the truth, Redis makes it cheap,
//! JWTs say who asks.
//!
//! Four floors, of which each knows only those below it:
//!
//! - [`transport`]: HTTP in, HTTP out. Routes, the GraphQL-over-HTTP handler, the viewer, health, pages.
//! - [`graphql`]: names and shapes of the API. Resolvers, inputs, payloads, ids, pages, batching, errors.
//! - [`domain`]: what the business does. A folder a feature; the change log; what is remembered of reads.
//! - [`infra`]: what the process talks to. Pools, Redis, mail, keys, passwords, metrics, the private PostgreSQL.
//!
//! [`commands`] stands on top: what the binary can be told to do. [`config`] lies below: every setting, read once.
//!
//! A feature, such as `catalog`, has one folder in `graphql` and one in `domain`. Features of the domain never meet; the
//! graph links them, since linking is its job. What does not exist, on purpose: SQL outside the `store` files,
//! transactions outside `commands` files, errors for clients made outside `graphql::error`, environment variables read
//! outside `config`, and truth in a process between two requests.

pub mod commands;
pub mod config;
pub mod domain;
pub mod graphql;
pub mod infra;
pub mod transport;
