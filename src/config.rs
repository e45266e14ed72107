//! Every setting, read once: each is a variable and a flag with one default, and this file is the only one that
//! knows the environment. `stockroom --help` lists them, `stockroom config --explain` shows what is in force.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use ipnet::IpNet;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// The settings of a process, as the flags and the environment give them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings (flag or variable)")]
pub struct Settings {
    /// What is served: `accounts`, `catalog`, or both; one alone is a subgraph behind a gateway (Apollo Federation 2)
    #[arg(long, env, global = true, default_value = "accounts,catalog")]
    pub services: Services,
    /// Address to serve on
    #[arg(long, env, global = true, default_value = "127.0.0.1:8000")]
    pub listen_addr: SocketAddr,
    /// Folder of the private PostgreSQL and the private signing keys, used where nothing is configured
    #[arg(long, env, global = true, default_value = ".stockroom")]
    pub data_dir: PathBuf,
    /// PostgreSQL 15 or newer, such as `postgres://user:password@host/db?sslmode=require`; without it a private one runs
    #[arg(long, env, global = true, hide_env_values = true, value_parser = secret)]
    pub database_url: Option<SecretString>,
    /// The same database past any pooler: for migrations and the version register [default: the same URL]
    #[arg(long, env, global = true, hide_env_values = true, value_parser = secret)]
    pub database_direct_url: Option<SecretString>,
    /// Replicas that queries are read from, with commas between; those that are behind or gone are passed over
    #[arg(long, env, global = true, hide_env_values = true, value_delimiter = ',', value_parser = secret)]
    pub database_replica_urls: Vec<SecretString>,
    /// Most connections of each pool: reading, writing, and each replica
    #[arg(long, env, global = true, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_pool_size: u32,
    /// Longest wait for a free connection
    #[arg(long, env, global = true, default_value = "300ms", value_parser = duration)]
    pub database_wait: Duration,
    /// Longest run of one statement
    #[arg(long, env, global = true, default_value = "5s", value_parser = duration)]
    pub statement_timeout: Duration,
    /// Whether `serve` first runs the migrations that are missing
    #[arg(long, env, global = true, default_value_t = true, action = clap::ArgAction::Set)]
    pub auto_migrate: bool,
    /// Authorities that the certificates of PostgreSQL and Redis come from, in PEM [default: those the machine trusts]
    #[arg(long, env, global = true)]
    pub tls_ca_file: Option<PathBuf>,
    /// Redis 6.2 or newer, such as `rediss://user:password@host:6379`, or a cluster by some of its nodes, such as
    /// `rediss-cluster://user:password@host:6379,host2:6379`; without it the cache is in process
    #[arg(long, env, global = true, hide_env_values = true, value_parser = secret)]
    pub redis_url: Option<SecretString>,
    /// Longest wait for Redis, before a request goes on without it
    #[arg(long, env, global = true, default_value = "25ms", value_parser = duration)]
    pub redis_timeout: Duration,
    /// What every key in Redis begins with
    #[arg(long, env, global = true, default_value = "stockroom")]
    pub redis_prefix: String,
    /// Longest life of a cached answer; a write ends it sooner
    #[arg(long, env, global = true, default_value = "60s", value_parser = duration)]
    pub cache_ttl: Duration,
    /// Most memory for cached answers in process, in MiB
    #[arg(long, env, global = true, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub cache_memory_mib: u64,
    /// Most memory for whole responses that anybody may get, in MiB; 0 keeps none
    #[arg(long, env, global = true, default_value_t = 16, value_parser = clap::value_parser!(u64).range(..=65_536))]
    pub response_memory_mib: u64,
    /// `strict`: no answer is older than its request; `bounded:100ms`: none is older than that
    #[arg(long, env, global = true, default_value = "strict")]
    pub freshness: Freshness,
    /// Ed25519 private keys as PEM (`stockroom keys generate` prints one): the first signs access tokens, all verify
    #[arg(long, env, global = true, hide_env_values = true, allow_hyphen_values = true, value_parser = secret)]
    pub jwt_private_key: Option<SecretString>,
    /// File with those keys, instead; or a folder of them, where `stockroom keys` rotates. Read again when it changes
    #[arg(long, env, global = true, conflicts_with = "jwt_private_key")]
    pub jwt_private_key_file: Option<PathBuf>,
    /// For `--services catalog`: where the accounts service publishes the keys that verify access tokens, such as
    /// `https://accounts.internal/.well-known/jwks.json`
    #[arg(long, env, global = true, value_parser = key_set)]
    pub accounts_jwks_url: Option<Url>,
    /// `iss` of access tokens
    #[arg(long, env, global = true, default_value = "stockroom")]
    pub issuer: String,
    /// `aud` of access tokens
    #[arg(long, env, global = true, default_value = "stockroom")]
    pub audience: String,
    /// An outside issuer whose tokens count as well: their `iss`
    #[arg(long, env, global = true, requires_all = ["oidc_audience", "oidc_jwks_url"])]
    pub oidc_issuer: Option<String>,
    /// `aud` of its tokens
    #[arg(long, env, global = true, requires = "oidc_issuer")]
    pub oidc_audience: Option<String>,
    /// Where its public keys are, such as `https://shop.eu.auth0.com/.well-known/jwks.json`
    #[arg(long, env, global = true, requires = "oidc_issuer", value_parser = key_set)]
    pub oidc_jwks_url: Option<Url>,
    /// Life of an access token
    #[arg(long, env, global = true, default_value = "5m", value_parser = duration)]
    pub access_token_ttl: Duration,
    /// How long a session goes on that is not used
    #[arg(long, env, global = true, default_value = "7d", value_parser = duration)]
    pub session_idle: Duration,
    /// How long a session goes on at most
    #[arg(long, env, global = true, default_value = "30d", value_parser = duration)]
    pub session_life: Duration,
    /// Whether accounts must have verified their e-mail address before they may change anything but themselves
    #[arg(long, env, global = true, default_value_t = false, action = clap::ArgAction::Set)]
    pub require_verified_email: bool,
    /// Passwords hashed at once [default: one less than the cores, at least one]
    #[arg(long, env, global = true, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub password_hashes: Option<u32>,
    /// Passwords that may wait for their turn; more are told to come back
    #[arg(long, env, global = true, default_value_t = 64)]
    pub password_queue: u32,
    /// Server that sends mails, such as `smtps://user:password@host` or `smtp://user:password@host:587` (STARTTLS)
    #[arg(long, env, global = true, hide_env_values = true, value_parser = secret)]
    pub smtp_url: Option<SecretString>,
    /// Whom mails are from
    #[arg(long, env, global = true, default_value = "Stockroom <stockroom@localhost>", value_parser = mailbox)]
    pub mail_from: Mailbox,
    /// Where links in mails lead, such as `https://shop.example` [default: the server itself]
    #[arg(long, env, global = true, value_parser = site)]
    pub public_url: Option<Url>,
    /// Largest request body, in bytes
    #[arg(long, env, global = true, default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1_024..))]
    pub body_limit: u32,
    #[command(flatten)]
    pub limits: Limits,
    /// What one user, or one address of a stranger, may spend: `200000/20s` is 200000 of cost, restored in 20 s; or `off`
    #[arg(long, env, global = true, default_value = "200000/20s")]
    pub rate_limit: RateLimit,
    /// Attempts to sign in or to register, for one account; sign-ins that succeed do not count
    #[arg(long, env, global = true, default_value = "10/5m")]
    pub login_limit: RateLimit,
    /// The same, for one address
    #[arg(long, env, global = true, default_value = "100/5m")]
    pub login_address_limit: RateLimit,
    /// Mails with links that anybody may ask for, to one account
    #[arg(long, env, global = true, default_value = "5/1h")]
    pub mail_limit: RateLimit,
    /// Proxies whose `X-Forwarded-For` is believed: addresses or networks, with commas between
    #[arg(long, env, global = true, value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether strangers may look at the schema; the staff always may [default: only on a private database]
    #[arg(long, env, global = true)]
    pub introspection: Option<bool>,
    /// Sites that browsers may call from, such as `https://shop.example`, with commas between
    #[arg(long, env, global = true, value_delimiter = ',', value_parser = origin)]
    pub allowed_origins: Vec<HeaderValue>,
    /// Which statuses refused requests have: as the GraphQL-over-HTTP audit asks, or as the draft has it since
    #[arg(long, env, global = true, value_enum, default_value_t = StatusCodes::Audit)]
    pub status_codes: StatusCodes,
    /// How long browsers and caches may show a public answer unasked; without it they ask each time
    #[arg(long, env, global = true, value_parser = duration)]
    pub http_max_age: Option<Duration>,
    /// Which documents may run: any, any and those of the folder by their ids, or only those
    #[arg(long, env, global = true, value_enum, default_value_t = TrustedDocuments::Off)]
    pub trusted_documents: TrustedDocuments,
    /// Folder of trusted documents (`*.graphql`), or the JSON file that a code generator wrote
    #[arg(long, env, global = true, required_if_eq_any([("trusted_documents", "allow"), ("trusted_documents", "only")]))]
    pub trusted_documents_path: Option<PathBuf>,
    /// How long the change log is kept: events can be resumed within this time
    #[arg(long, env, global = true, default_value = "30d", value_parser = retention)]
    pub change_retention: Duration,
    /// Connections at once; fewer where the system allows fewer files
    #[arg(long, env, global = true, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Longest time to execute an operation
    #[arg(long, env, global = true, default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,
    /// How long a server that is told to end (SIGTERM) goes on without being ready, so that balancers send nobody any more
    #[arg(long, env, global = true, default_value = "3s", value_parser = delay)]
    pub shutdown_delay: Duration,
    /// Longest wait after that for requests under way
    #[arg(long, env, global = true, default_value = "12s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Who collects traces, by OTLP over HTTP, such as `http://collector:4318`; without one there are none. What its
    /// headers are `OTEL_EXPORTER_OTLP_HEADERS` says
    #[arg(long, env, global = true, value_parser = collector)]
    pub otel_exporter_otlp_endpoint: Option<Url>,
    /// What this service is called in traces
    #[arg(long, env, global = true, default_value = "stockroom")]
    pub otel_service_name: String,
    /// Share of the requests that are traced, from 0 to 1, where their senders did not decide it
    #[arg(long, env, global = true, default_value_t = 1.0, value_parser = share)]
    pub otel_traces_sampler_arg: f64,
    /// How log lines look
    #[arg(long, env, global = true, value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,
    /// What is logged, as in `info`, `debug` or `info,sql=debug`
    #[arg(long, env, global = true, default_value = "info")]
    pub log: String,
}

/// What a request may ask for at most, whoever asks.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// Bytes of a document
    #[arg(long, env, global = true, default_value_t = 16_384)]
    pub max_document_bytes: usize,
    /// Tokens of a document
    #[arg(long, env, global = true, default_value_t = 2_000)]
    pub max_tokens: usize,
    /// Brackets in one another
    #[arg(long, env, global = true, default_value_t = 32, value_parser = nesting)]
    pub max_nesting: usize,
    /// Fields below one another
    #[arg(long, env, global = true, default_value_t = 12)]
    pub max_depth: usize,
    /// Aliases of an operation
    #[arg(long, env, global = true, default_value_t = 30)]
    pub max_aliases: usize,
    /// Fields at the top of a query
    #[arg(long, env, global = true, default_value_t = 20)]
    pub max_root_fields: usize,
    /// Fields at the top of a mutation; one of them may test credentials
    #[arg(long, env, global = true, default_value_t = 5)]
    pub max_mutations: usize,
    /// Directives of an operation
    #[arg(long, env, global = true, default_value_t = 30)]
    pub max_directives: usize,
    /// Directives in one place
    #[arg(long, env, global = true, default_value_t = 3)]
    pub max_directives_in_place: usize,
    /// Fragments of a document
    #[arg(long, env, global = true, default_value_t = 50)]
    pub max_fragments: usize,
    /// Operations of a document
    #[arg(long, env, global = true, default_value_t = 10)]
    pub max_operations: usize,
    /// Fields of a document, with its fragments in place
    #[arg(long, env, global = true, default_value_t = 5_000)]
    pub max_fields: usize,
    /// Variables in one another
    #[arg(long, env, global = true, default_value_t = 32, value_parser = nesting)]
    pub max_variables_depth: usize,
    /// Values of all variables
    #[arg(long, env, global = true, default_value_t = 4_000)]
    pub max_variables_nodes: usize,
    /// Cost of an operation, as `@cost` and `@listSize` in the schema have it
    #[arg(long, env, global = true, default_value_t = 1_000)]
    pub max_cost: u64,
    /// Values in a response, as far as can be told beforehand
    #[arg(long, env, global = true, default_value_t = 20_000)]
    pub max_response_values: u64,
    /// Errors in a response
    #[arg(long, env, global = true, default_value_t = 10)]
    pub max_errors: usize,
}

impl Settings {
    /// The settings that these flags give, whatever the environment says; for tests and benchmarks.
    ///
    /// # Errors
    /// What clap says of a flag.
    pub fn from_flags(flags: &[&str]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(Command::new("stockroom").args_override_self(true))
            .mut_args(|argument| argument.env(Resettable::Reset));
        let matches = command.try_get_matches_from(std::iter::once("stockroom").chain(flags.iter().copied()))?;
        Self::from_arg_matches(&matches)
    }

    /// Where migrations and the version register connect.
    pub fn direct_url(&self) -> Option<&SecretString> {
        self.database_direct_url.as_ref().or(self.database_url.as_ref())
    }

    /// The outside issuer, if there is one.
    pub fn outside_issuer(&self) -> Option<OutsideIssuer> {
        let (issuer, audience) = (self.oidc_issuer.clone()?, self.oidc_audience.clone()?);
        Some(OutsideIssuer { issuer, audience, jwks_url: self.oidc_jwks_url.clone()? })
    }

    /// Where the signing keys are; nowhere for a configured database without any.
    pub fn key_source(&self) -> Option<KeySource> {
        match (&self.jwt_private_key, &self.jwt_private_key_file) {
            // Variables often carry PEM on one line.
            (Some(pem), _) => Some(KeySource::Text(pem.expose_secret().replace("\\n", "\n").into())),
            (None, Some(path)) => Some(KeySource::Path(path.clone())),
            (None, None) => self.database_url.is_none().then(|| KeySource::Private(self.data_dir.join("keys"))),
        }
    }

    /// Where links in mails lead.
    ///
    /// # Errors
    /// Never: every socket's address fits into a URL.
    pub fn public_url(&self) -> anyhow::Result<Url> {
        match &self.public_url {
            Some(url) => Ok(url.clone()),
            None => Ok(Url::parse(&format!("http://{}", self.listen_addr))?),
        }
    }

    /// How many passwords are hashed at once.
    pub fn password_hashes(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.password_hashes.map_or(cores.saturating_sub(1).max(1), |hashes| hashes as usize)
    }
}

/// Who else issues tokens that count.
#[derive(Clone, Debug)]
pub struct OutsideIssuer {
    pub issuer: String,
    pub audience: String,
    pub jwks_url: Url,
}

/// Where the signing keys are.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In PEM text.
    Text(SecretString),
    /// In a file or a folder.
    Path(PathBuf),
    /// In a folder of our own, made when it is missing.
    Private(PathBuf),
}

/// A part of the API that can be served alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Users, and who they are
    Accounts,
    /// Products and categories
    Catalog,
}

/// What a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Services {
    All,
    Only(Service),
}

impl Services {
    /// Whether this one is among them.
    pub fn include(self, service: Service) -> bool {
        self == Self::All || self == Self::Only(service)
    }
}

impl FromStr for Services {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split(',').map(str::trim).collect::<Vec<_>>()[..] {
            ["accounts"] => Ok(Self::Only(Service::Accounts)),
            ["catalog"] => Ok(Self::Only(Service::Catalog)),
            ["accounts", "catalog"] | ["catalog", "accounts"] => Ok(Self::All),
            _ => Err("use `accounts`, `catalog`, or both with a comma between".to_owned()),
        }
    }
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Every answer contains all that was acknowledged before its request arrived.
    Strict,
    /// Every answer contains all that was acknowledged this long before its request arrived.
    Bounded(Duration),
}

impl FromStr for Freshness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "strict" => Ok(Self::Strict),
            Some(("bounded", bound)) => duration(bound).map(Self::Bounded),
            _ => Err("use `strict`, or a bound as in `bounded:100ms`".to_owned()),
        }
    }
}

/// So many, restored evenly over some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RateLimit {
    Off,
    Of { burst: u64, restored_in: Duration },
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limit = text.split_once('/').and_then(|(burst, time)| {
            let (burst, restored_in) = (burst.parse().ok()?, duration(time).ok()?);
            // More than this would not fit the arithmetic of scripts in Redis.
            ((1..=1_000_000_000_000).contains(&burst) && restored_in <= Duration::from_hours(24 * 366))
                .then_some(Self::Of { burst, restored_in })
        });
        match limit {
            None if text == "off" => Ok(Self::Off),
            limit => limit.ok_or_else(|| "use a number and a time, as in `100/5m`, or `off`".to_owned()),
        }
    }
}

/// Which statuses refused requests have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusCodes {
    /// 400, and 200 for those who accept only JSON
    Audit,
    /// 422 for what is well-formed and cannot be run, 294 for data with errors
    Draft,
}

/// Which documents may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrustedDocuments {
    /// Any
    Off,
    /// Any, and the trusted ones by their ids
    Allow,
    /// Only the trusted ones, by their ids
    Only,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
}

#[expect(clippy::unnecessary_wraps, reason = "clap's parsers return results")]
fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}

/// A time that may be none at all.
pub fn delay(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "use a time with its unit, as in `0s`, `60s` or `10m`".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("use a time with its unit, as in `250ms`, `5s` or `2m`".to_owned()),
    }
}

fn collector(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    url.ok_or_else(|| "use an address such as `http://collector:4318`".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "use a number from 0 to 1, such as `0.1`".to_owned())
}

/// No shorter than anything that relies on the log.
fn retention(text: &str) -> Result<Duration, String> {
    let retention = duration(text)?;
    match retention >= Duration::from_mins(10) {
        true => Ok(retention),
        false => Err("use at least `10m`".to_owned()),
    }
}

/// What the parsers and the walks behind the limit are known to bear.
fn nesting(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|depth| (1..=64).contains(depth)).ok_or_else(|| "use a number from 1 to 64".to_owned())
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(alone).ok_or_else(|| "use an address or a network, as in `10.0.0.0/8`".to_owned())
}

/// An address that nobody can answer for but its owner.
fn key_set(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(host))) => host.is_loopback(),
        ("http", Some(Host::Ipv6(host))) => host.is_loopback(),
        ("http", Some(Host::Domain(host))) => host == "localhost",
        _ => false,
    });
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    url.ok_or_else(|| "use https, as in `https://issuer.example/.well-known/jwks.json`".to_owned())
}

/// A site as browsers name it: scheme, host, and port unless it is the usual one.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let given = Url::parse(text).ok().filter(|url| url.origin().ascii_serialization() == text);
    let value = given.and_then(|_| HeaderValue::from_str(text).ok());
    value.ok_or_else(|| "use scheme and host alone, as in `https://shop.example`".to_owned())
}

/// An address, with or without a name before it.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let given = text.parse().ok().filter(|_| !text.contains(char::is_control));
    given.ok_or_else(|| "use an address, as in `Stockroom <shop@example.com>`".to_owned())
}

/// Where a path can be added.
fn site(text: &str) -> Result<Url, String> {
    let given = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    given.ok_or_else(|| "use an address without `?` and `#`, as in `https://shop.example`".to_owned())
}

/// One setting as `config --explain` shows it.
pub struct Explained {
    /// The variable's name; the flag is the same in lower case with dashes.
    pub variable: String,
    /// The value in force, secrets masked.
    pub value: String,
    /// `default`, `variable`, `flag` or `not set`.
    pub source: &'static str,
}

/// Each setting with its value and where that came from.
pub fn explain(command: &Command, matches: &ArgMatches) -> Vec<Explained> {
    let settings = command.get_arguments().filter_map(|argument| Some((argument, argument.get_env()?)));
    settings
        .map(|(argument, variable)| {
            let id = argument.get_id().as_str();
            let raw = matches.try_get_raw(id).ok().flatten().and_then(|mut values| values.next());
            let value = match raw.map(std::ffi::OsStr::to_string_lossy) {
                None => String::new(),
                Some(value) if argument.is_hide_env_values_set() => mask(&value),
                Some(value) => value.into_owned(),
            };
            let source = match matches.value_source(id) {
                Some(ValueSource::EnvVariable) => "variable",
                Some(ValueSource::CommandLine) => "flag",
                Some(_) => "default",
                None => "not set",
            };
            Explained { variable: variable.to_string_lossy().into_owned(), value, source }
        })
        .collect()
}

/// A URL keeps what tells where it leads; anything else secret keeps nothing.
fn mask(secret: &str) -> String {
    match (secret.split_once("://"), secret.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => {
            format!("{scheme}://***@{}", place.split('?').next().unwrap_or_default())
        }
        (Some(_), None) => secret.split('?').next().unwrap_or_default().to_owned(),
        (None, _) => "***".to_owned(),
    }
}

/// The folders of the search path, for finding PostgreSQL's programs.
pub fn search_path() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}
