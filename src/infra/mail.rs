//! Mails: handed over, and sent in the background, one after the other. By SMTP where it is configured; a private place
//! writes them into a folder instead.
//!
//! No address and no text is logged, and nothing falls back to plaintext by itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chrono::Utc;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use url::Url;
use uuid::Uuid;

use crate::config::Settings;
use crate::infra::metrics::Metrics;
use crate::infra::postgres::write_secret;

/// Mails that may wait; further ones are turned away.
const QUEUE: u32 = 1_000;
/// Longest time to hand one mail to a server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pauses before the second try and those after it; who fails after the last has failed.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// Bytes of a line that every server takes, less its end.
const MAX_LINE: usize = 998;

/// A mail to one person, in plain text.
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// Why a mail was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    #[error("mails are not sent until SMTP_URL is set")]
    NotConfigured,
    #[error("too many mails wait to be sent")]
    Busy,
    /// Of its address, subject or text.
    #[error("a mail cannot have this {0}")]
    Unfit(&'static str),
}

/// Takes mails.
pub struct Mailer {
    /// Where they go.
    pub route: Arc<Route>,
    from: Mailbox,
    public_url: Url,
    queue: UnboundedSender<Letter>,
    /// One for each mail that waits, between its tries too.
    places: Arc<Semaphore>,
    /// True once the process is to end.
    ending: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// A mail on its way.
struct Letter {
    message: Message,
    failures: usize,
    _place: OwnedSemaphorePermit,
}

impl Mailer {
    /// A mailer that goes on sending until it is dropped; an outbox is for mails that no server is configured for. Needs
    /// a runtime.
    ///
    /// # Errors
    /// When `SMTP_URL` is malformed, or asks for what is not safe.
    pub fn new(settings: &Settings, outbox: Option<PathBuf>, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let route = Arc::new(Route::new(settings, outbox)?);
        let (queue, letters) = unbounded_channel();
        let (ending, ends) = watch::channel(false);
        let postman =
            Postman { route: Arc::clone(&route), again: queue.downgrade(), ends, metrics: Arc::clone(&metrics) };
        tokio::spawn(postman.work(letters));
        Ok(Self {
            route,
            from: settings.mail_from.clone(),
            public_url: settings.public_url()?,
            queue,
            places: Arc::new(Semaphore::new(QUEUE as usize)),
            ending,
            metrics,
        })
    }

    /// Whether mails go anywhere.
    pub fn is_configured(&self) -> bool {
        !matches!(*self.route, Route::Nowhere)
    }

    /// Takes a mail, to be sent in the background.
    pub fn send(&self, mail: Mail) -> Result<(), MailError> {
        if !self.is_configured() {
            return Err(MailError::NotConfigured);
        }
        let message = self.message(&mail)?;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            count(&self.metrics, "refused");
            return Err(MailError::Busy);
        };
        self.queue.send(Letter { message, failures: 0, _place: place }).map_err(|_| MailError::Busy)
    }

    /// Where a page of the shop is, with a token for it.
    pub fn link(&self, page: &str, token: &str) -> String {
        let mut url = self.public_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(page);
        }
        url.query_pairs_mut().append_pair("token", token);
        url.into()
    }

    /// Waits until all that was taken is sent or has failed, with no more pauses, and until `deadline` at most.
    pub async fn finish(&self, deadline: Instant) {
        self.ending.send_replace(true);
        if timeout_at(deadline, self.places.acquire_many(QUEUE)).await.is_err() {
            let left = (QUEUE as usize).saturating_sub(self.places.available_permits());
            tracing::error!(left, "mails were not sent before the end");
        }
    }

    fn message(&self, mail: &Mail) -> Result<Message, MailError> {
        let to = address(&mail.to).ok_or(MailError::Unfit("address"))?;
        if mail.subject.contains(char::is_control) {
            return Err(MailError::Unfit("subject"));
        }
        let body = body(&mail.text).ok_or(MailError::Unfit("text"))?;
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        Message::builder()
            .message_id(Some(format!("<{}@{}>", Uuid::new_v4(), self.from.email.domain())))
            .from(self.from.clone())
            .to(to.into())
            .subject(mail.subject.as_str())
            .raw_header(automatic)
            .header(ContentType::TEXT_PLAIN)
            .body(body)
            .map_err(|_| MailError::Unfit("address"))
    }
}

/// The address with its domain in ASCII, which more servers take.
fn address(text: &str) -> Option<Address> {
    let (local, domain) = text.rsplit_once('@')?;
    if text.contains(char::is_control) {
        return None;
    }
    Address::new(local, idna::domain_to_ascii(domain).ok()?).ok()
}

/// Text as it is, where every server takes it so: links stay whole.
fn body(text: &str) -> Option<Body> {
    if text.contains(|character: char| character.is_control() && !matches!(character, '\n' | '\t')) {
        return None;
    }
    if !text.is_ascii() || text.lines().any(|line| line.len() > MAX_LINE) {
        return Some(Body::new(text.to_owned()));
    }
    let lines = text.replace('\n', "\r\n").into_bytes();
    Some(Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit))
}

/// Sends mails, one after the other.
struct Postman {
    route: Arc<Route>,
    again: WeakUnboundedSender<Letter>,
    ends: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

impl Postman {
    async fn work(self, mut letters: UnboundedReceiver<Letter>) {
        while let Some(letter) = letters.recv().await {
            let sent = timeout(PATIENCE, self.route.send(&letter.message)).await;
            let Err(failure) = sent.unwrap_or_else(|_| Err(Failure::passing("it took too long"))) else {
                count(&self.metrics, "sent");
                continue;
            };
            match PAUSES.get(letter.failures) {
                Some(pause) if failure.passes => {
                    tracing::warn!(reason = failure.reason, "a mail was not sent yet; it is tried again");
                    self.try_again(Letter { failures: letter.failures + 1, ..letter }, *pause);
                }
                _ => {
                    tracing::error!(reason = failure.reason, "a mail was not sent");
                    count(&self.metrics, "failed");
                }
            }
        }
    }

    /// Puts the letter into the queue once more, after a pause that keeps no other waiting.
    fn try_again(&self, letter: Letter, pause: Duration) {
        let (again, mut ends) = (self.again.clone(), self.ends.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(pause) => {}
                _ = ends.wait_for(|ends| *ends) => {}
            }
            if let Some(again) = again.upgrade() {
                let _ = again.send(letter);
            }
        });
    }
}

fn count(metrics: &Metrics, outcome: &'static str) {
    metrics.mails.get_or_create(&[("outcome", outcome)]).inc();
}

/// Why a mail was not sent, in words that tell nothing of it.
struct Failure {
    reason: String,
    /// Whether it may go better the next time.
    passes: bool,
}

impl Failure {
    fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), passes: true }
    }
}

impl From<smtp::Error> for Failure {
    fn from(error: smtp::Error) -> Self {
        // What a server says often repeats the address.
        let reason = match error.status() {
            Some(code) => format!("the server answered {code}"),
            None if error.is_response() => "the server does not speak SMTP".to_owned(),
            None => error.to_string(),
        };
        Self { reason, passes: !error.is_permanent() && !error.is_client() }
    }
}

/// Where mails go.
pub enum Route {
    Smtp {
        transport: AsyncSmtpTransport<Tokio1Executor>,
        /// Host, port, and whether there is TLS.
        place: String,
    },
    /// A folder, one file each.
    Outbox(PathBuf),
    Nowhere,
}

impl Route {
    /// What the settings say, and the folder for where they say nothing.
    ///
    /// # Errors
    /// When `SMTP_URL` is malformed, or asks for what is not safe.
    pub fn new(settings: &Settings, outbox: Option<PathBuf>) -> anyhow::Result<Self> {
        match (&settings.smtp_url, outbox) {
            (Some(url), _) => smtp(url),
            (None, Some(folder)) => Ok(Self::Outbox(folder)),
            (None, None) => Ok(Self::Nowhere),
        }
    }

    /// Whether mails can be sent, as far as can be told without sending one.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not let us in.
    pub async fn test(&self) -> anyhow::Result<()> {
        let Self::Smtp { transport, place } = self else { return Ok(()) };
        let tested = timeout(Duration::from_secs(10), transport.test_connection()).await;
        match tested.with_context(|| format!("{place} does not answer"))? {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{place} does not answer"),
            Err(error) => bail!("{place} cannot be used: {}", Failure::from(error).reason),
        }
    }

    async fn send(&self, message: &Message) -> Result<(), Failure> {
        match self {
            Self::Smtp { transport, .. } => {
                transport.send_raw(message.envelope(), &message.formatted()).await?;
                Ok(())
            }
            Self::Outbox(folder) => {
                let (folder, message) = (folder.clone(), message.clone());
                let kept = tokio::task::spawn_blocking(move || keep(&folder, &message)).await;
                kept.map_err(anyhow::Error::from)
                    .and_then(|kept| kept)
                    .map_err(|error| Failure::passing(format!("the outbox: {error:#}")))
            }
            Self::Nowhere => Ok(()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smtp { place, .. } => write!(f, "sent through {place}"),
            Self::Outbox(folder) => write!(f, "written to {}; set SMTP_URL to send it", folder.display()),
            Self::Nowhere => f.write_str("not sent; set SMTP_URL to send it"),
        }
    }
}

/// Writes a file whose name begins with the time and tells the subject; only its owner may read it, since links in mails
/// let people in.
fn keep(folder: &Path, message: &Message) -> anyhow::Result<()> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let subject = message.headers().get_raw("Subject").unwrap_or_default();
    let words: Vec<String> = subject
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(8)
        .map(str::to_ascii_lowercase)
        .collect();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number:04}-{}.eml", Utc::now().format("%Y-%m-%dT%H-%M-%S%.6fZ"), words.join("-"));
    std::fs::create_dir_all(folder)?;
    // Whoever looks into the folder finds whole mails.
    let unfinished = folder.join(format!("{name}.part"));
    write_secret(&unfinished, &String::from_utf8(message.formatted())?)?;
    Ok(std::fs::rename(unfinished, folder.join(name))?)
}

/// An SMTP server by its URL: `smtps` is TLS from the start; `smtp` is STARTTLS or nothing, but on this host and where
/// `tls=none` says so.
fn smtp(url: &SecretString) -> anyhow::Result<Route> {
    const ADVICE: &str = "use smtps://user:password@host or smtp://user:password@host:587?tls=required";
    let url = Url::parse(url.expose_secret()).map_err(|error| anyhow!("SMTP_URL is malformed ({error}); {ADVICE}"))?;
    let host = url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']')).unwrap_or_default();
    if host.is_empty() || !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        bail!("SMTP_URL is malformed; {ADVICE}");
    }
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let (tls, usual_port, told) = match (url.scheme(), url.query()) {
        ("smtps", None | Some("tls=required")) => (Tls::Wrapper(TlsParameters::new(host.to_owned())?), 465, "with TLS"),
        ("smtp", None) if local => (Tls::None, 25, "in plaintext"),
        ("smtp", Some("tls=none")) => (Tls::None, 25, "in plaintext"),
        ("smtp", None | Some("tls=required")) => {
            (Tls::Required(TlsParameters::new(host.to_owned())?), 587, "with STARTTLS")
        }
        ("smtp" | "smtps", Some(_)) => {
            bail!("SMTP_URL may have `tls=required` or `tls=none` after its `?`, and no more")
        }
        _ => bail!("SMTP_URL is malformed; {ADVICE}"),
    };
    let port = url.port().unwrap_or(usual_port);
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port);
    match (url.username(), url.password()) {
        ("", None) => {}
        (_, Some(_)) if matches!(tls, Tls::None) && !local => {
            bail!("SMTP_URL would send its password in plaintext; use tls=required, or no password")
        }
        (user, Some(password)) if !user.is_empty() => {
            let decoded = |text| Ok::<_, anyhow::Error>(percent_decode_str(text).decode_utf8()?.into_owned());
            transport = transport.credentials(Credentials::new(decoded(user)?, decoded(password)?));
        }
        _ => bail!("SMTP_URL needs both user and password, or neither"),
    }
    Ok(Route::Smtp { transport: transport.tls(tls).build(), place: format!("{host}:{port}, {told}") })
}
