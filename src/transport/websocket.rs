//! `graphql-transport-ws` over a WebSocket
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>): queries, mutations and subscriptions, each through
//! the same [door] as over HTTP.
//!
//! What is sent waits in a bounded queue; operations wait for room in it, and a client who takes nothing for long is left.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_graphql::Response as GraphqlResponse;
use async_graphql::parser::types::OperationType;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures_util::future::BoxFuture;
use futures_util::stream::SplitSink;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;

use crate::domain::accounts::Viewer;
use crate::graphql::context::Asker;
use crate::graphql::error::{Audience, refusal, shown};
use crate::transport::accept::Place;
use crate::transport::address::address;
use crate::transport::door::{self, Entered, Entrance, Given, was_refused};
use crate::transport::graphql::extensions;
use crate::transport::negotiation::MediaType;
use crate::transport::refusal::Refusal;
use crate::transport::viewer::{asker, credentials};
use crate::transport::{App, stopped};

const PROTOCOL: &str = "graphql-transport-ws";
/// Bytes of a message, at most.
const MAX_MESSAGE: usize = 16 * 1024;
/// Operations at once on one socket, at most.
const MAX_OPERATIONS: usize = 20;
/// Messages that wait to be sent, at most.
const MAX_QUEUED: usize = 256;
/// Longest time until the client introduces itself.
const INIT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the client must show that it is there.
const PING: Duration = Duration::from_secs(15);
/// Longest time in which a client takes nothing of what is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the reason of a close, at most (RFC 6455, section 5.5).
const MAX_REASON: usize = 123;

/// The server ends (RFC 6455, section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// Why a socket is closed: a code and words for it.
type Closing = (u16, String);

fn closing(code: u16, reason: &str) -> Closing {
    (code, reason.to_owned())
}

/// Whether the request wants a WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Opens a socket.
pub async fn upgrade(app: Arc<App>, peer: IpAddr, id: String, request: Request) -> Response {
    let refuse = |status: StatusCode, code: &str, message: &str| {
        (status, axum::Json(refusal(code, message, Some(&id)))).into_response()
    };
    let (mut parts, _) = request.into_parts();
    let headers = &parts.headers;
    if !is_from_here(headers, &app) {
        return refuse(StatusCode::FORBIDDEN, "FORBIDDEN", "pages of this origin may not connect here");
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !offered.flat_map(|value| value.split(',')).any(|offered| offered.trim() == PROTOCOL) {
        let message = format!("offer the sub-protocol {PROTOCOL}");
        return refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST", &message);
    }
    let address = address(peer, headers, &app.settings.trusted_proxies);
    let asker = match asker(&app, headers, address).await {
        Ok(asker) => asker,
        Err(Refusal { code, message, .. }) => {
            let status = code.status(MediaType::Json, app.settings.status_codes);
            return refuse(status, code.as_str(), &message);
        }
    };
    let place = parts.extensions.get::<Place>().cloned();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        // A message that is a little too long is still read, to say so.
        Ok(upgrade) => upgrade
            .protocols([PROTOCOL])
            .read_buffer_size(4 * 1024)
            .write_buffer_size(0)
            .max_message_size(4 * MAX_MESSAGE)
            .max_frame_size(4 * MAX_MESSAGE)
            .on_upgrade(move |socket| {
                let span = tracing::info_span!("socket", id);
                async move {
                    converse(app, socket, asker, id, place).await;
                }
                .instrument(span)
            }),
        Err(rejected) => rejected.into_response(),
    }
}

/// Browsers say which site's script connects: it must be this one, or one of those that are allowed.
fn is_from_here(headers: &HeaderMap, app: &App) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    (own.is_some() && own == host) || app.settings.allowed_origins.contains(origin)
}

#[derive(Deserialize)]
struct Incoming {
    r#type: String,
    id: Option<String>,
    payload: Option<Value>,
}

/// Something to send; of an operation only as long as the client wants it.
struct Outgoing {
    message: Message,
    operation: Option<Arc<AtomicBool>>,
}

/// An operation that is under way.
struct Running {
    /// It goes on for as long as the client likes.
    watches: bool,
    is_wanted: Arc<AtomicBool>,
    task: AbortHandle,
}

type Operations = Arc<Mutex<HashMap<String, Running>>>;

/// What a socket's operations need.
#[derive(Clone)]
struct Socket {
    app: Arc<App>,
    asker: Asker,
    audience: Audience,
    request_id: String,
    out: Sender<Outgoing>,
    operations: Operations,
}

async fn converse(app: Arc<App>, socket: WebSocket, asker: Asker, request_id: String, place: Option<Place>) {
    let (sink, mut incoming) = socket.split();
    let (out, queue) = channel(MAX_QUEUED);
    let mut writer = tokio::spawn(write(sink, queue));
    let audience = app.audience(asker.viewer());
    let mut socket = Socket { app, asker, audience, request_id, out, operations: Operations::default() };

    let evicted = async {
        match &place {
            Some(place) => place.evicted().await,
            None => std::future::pending().await,
        }
    };
    let (code, reason) = tokio::select! {
        closing = socket.read(&mut incoming) => closing,
        () = evicted => closing(1013, "there are too many connections; come again later"),
    };
    if code == GOING_AWAY {
        socket.finish().await;
    }
    for (_, running) in socket.operations.lock().unwrap_or_else(PoisonError::into_inner).drain() {
        running.is_wanted.store(false, Ordering::Relaxed);
        running.task.abort();
    }
    let reason: String = reason
        .chars()
        .scan(0, |bytes, character| {
            *bytes += character.len_utf8();
            (*bytes <= MAX_REASON).then_some(character)
        })
        .collect();
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    let closed = async {
        let _ = socket.out.send(Outgoing { message: close, operation: None }).await;
        drop(socket);
        // The other side has the last word.
        let _ = (&mut writer).await;
        while let Some(Ok(_)) = incoming.next().await {}
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), closed).await;
    writer.abort();
}

/// Sends what is queued, as fast as the client takes it.
async fn write(mut sink: SplitSink<WebSocket, Message>, mut queue: Receiver<Outgoing>) {
    while let Some(Outgoing { message, operation }) = queue.recv().await {
        if operation.is_some_and(|is_wanted| !is_wanted.load(Ordering::Relaxed)) {
            continue;
        }
        match tokio::time::timeout(SEND_TIMEOUT, sink.send(message)).await {
            Ok(Ok(())) => {}
            // Gone, or as good as gone.
            _ => return,
        }
    }
}

impl Socket {
    /// Reads messages until there is a reason to close.
    async fn read(&mut self, incoming: &mut (impl StreamExt<Item = Result<Message, axum::Error>> + Unpin)) -> Closing {
        let mut introduced = false;
        let stopped = stopped(self.app.stage.clone());
        let mut ended = std::pin::pin!(tokio::time::sleep(INIT_TIMEOUT));
        let mut stopped = std::pin::pin!(stopped);
        let mut revoked: BoxFuture<'static, ()> = std::future::pending().boxed();
        let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = true;
        loop {
            let message = tokio::select! {
                message = incoming.next() => message,
                () = &mut ended => return match introduced {
                    true => closing(4403, "Forbidden: the access token has expired"),
                    false => closing(4408, "Connection initialisation timeout"),
                },
                () = &mut revoked => return closing(4403, "Forbidden: the access token was revoked"),
                () = &mut stopped => return closing(GOING_AWAY, "the server is going away; connect again"),
                _ = pings.tick() => {
                    if !std::mem::take(&mut heard) {
                        return closing(1002, "nothing was heard for too long");
                    }
                    if self.send(Message::Ping(Bytes::new())).await.is_err() {
                        return closing(1013, "too slow");
                    }
                    continue;
                }
                () = self.out.closed() => return closing(1013, "too slow; go on after the last event"),
            };
            heard = true;
            let text = match message {
                Some(Ok(Message::Text(text))) if text.len() > MAX_MESSAGE => {
                    return (1009, format!("messages may have {MAX_MESSAGE} bytes"));
                }
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_))) => return closing(4400, "Invalid message: send text"),
                Some(Ok(Message::Close(_))) | None => return closing(1000, ""),
                Some(Err(_)) => return closing(1009, "not a message, or too long a one"),
            };
            let Ok(message) = serde_json::from_str::<Incoming>(&text) else {
                return closing(4400, "Invalid message: send JSON with a `type`");
            };
            match (message.r#type.as_str(), message.id) {
                ("connection_init", _) if introduced => return closing(4429, "Too many initialisation requests"),
                ("connection_init", _) => {
                    if let Err(closing) = self.introduce(message.payload.as_ref()).await {
                        return closing;
                    }
                    introduced = true;
                    let (until, watched) = match self.asker.viewer() {
                        Viewer::Anonymous => (None, None),
                        Viewer::User(user) => {
                            let left = user.expires_at.map(|end| (end - Utc::now()).to_std().unwrap_or_default());
                            (left, Some(*user))
                        }
                    };
                    // Far away, for those whose time does not end.
                    ended.as_mut().reset(Instant::now() + until.unwrap_or(Duration::from_hours(24 * 365)));
                    if let Some(user) = watched {
                        let core = Arc::clone(&self.app.core);
                        revoked = async move { core.accounts.revocations.until_refused(user).await }.boxed();
                    }
                    if self.say(&json!({ "type": "connection_ack" })).await.is_err() {
                        return closing(1013, "too slow");
                    }
                }
                ("ping", _) => {
                    let pong = match message.payload {
                        Some(payload) => json!({ "type": "pong", "payload": payload }),
                        None => json!({ "type": "pong" }),
                    };
                    if self.say(&pong).await.is_err() {
                        return closing(1013, "too slow");
                    }
                }
                ("pong", _) => {}
                ("subscribe", _) if !introduced => return closing(4401, "Unauthorized"),
                ("subscribe", Some(id)) if !id.is_empty() => {
                    if let Err(closing) = self.subscribe(id, message.payload.unwrap_or_default()) {
                        return closing;
                    }
                }
                ("complete", Some(id)) => {
                    if let Some(running) = self.operations().remove(&id) {
                        running.is_wanted.store(false, Ordering::Relaxed);
                        running.task.abort();
                    }
                }
                _ => return closing(4400, "Invalid message: unknown type, or `id` is missing"),
            }
        }
    }

    /// Who the client says that it is.
    async fn introduce(&mut self, payload: Option<&Value>) -> Result<(), Closing> {
        let given = match payload {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => fields.get("Authorization").or_else(|| fields.get("authorization")),
            Some(_) => return Err(closing(4400, "Invalid message: `payload` must be an object")),
        };
        let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(()) };
        let forbidden = || closing(4403, "Forbidden: the access token is not valid, or not any more");
        let given = given.as_str().ok_or_else(forbidden)?;
        self.asker.is(credentials(&self.app, given, &self.asker).await.map_err(|_| forbidden())?);
        self.audience = self.app.audience(self.asker.viewer());
        Ok(())
    }

    /// Waits for queries and mutations that are under way: their answers are owed.
    async fn finish(&self) {
        let deadline = Instant::now() + self.app.settings.drain_timeout.mul_f32(0.8);
        while self.operations().values().any(|running| !running.watches) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts an operation.
    fn subscribe(&self, id: String, payload: Value) -> Result<(), Closing> {
        let document_id = payload.get("documentId").and_then(Value::as_str).map(str::to_owned);
        let Ok(request) = serde_json::from_value::<async_graphql::Request>(payload) else {
            return Err(closing(4400, "Invalid message: `payload` must be a GraphQL request"));
        };
        let mut operations = self.operations();
        if operations.contains_key(&id) {
            return Err((4409, format!("Subscriber for {id} already exists")));
        }
        if operations.len() >= MAX_OPERATIONS {
            return Err((4429, format!("Too many operations: at most {MAX_OPERATIONS} at once")));
        }
        let is_wanted = Arc::new(AtomicBool::new(true));
        let (socket, wanted, name) = (self.clone(), Arc::clone(&is_wanted), id.clone());
        let operation = async move {
            // Whoever cannot be told is gone.
            let _ = socket.run(&name, &wanted, request, document_id.as_deref()).await;
        };
        let task = tokio::spawn(operation.in_current_span()).abort_handle();
        operations.insert(id, Running { watches: false, is_wanted, task });
        Ok(())
    }

    /// Runs an operation to its end.
    async fn run(
        &self,
        id: &str,
        wanted: &Arc<AtomicBool>,
        request: async_graphql::Request,
        document_id: Option<&str>,
    ) -> Result<(), Gone> {
        let entrance = Entrance { mutations: true, subscriptions: true };
        let entered = door::enter(&self.app, request, document_id, None, self.asker.clone(), entrance).await;
        let outcome = match entered {
            Err(refused) => Err(self.refused(&refused)),
            Ok(entered) if entered.kind == OperationType::Subscription => {
                return self.watch(id, wanted, entered).await;
            }
            Ok(mut entered) => match entered.execute(&self.app).await {
                Err(refused) => Err(self.refused(&refused)),
                Ok(answer) => match &answer.given {
                    Given::Kept(kept) => Ok(serde_json::from_slice(&kept.body).unwrap_or_default()),
                    Given::Made { response, refused: true } => Err(self.errors(response, true)),
                    Given::Made { response, .. } => {
                        let mut payload = self.payload(response);
                        if let (Some(payload), Some(extensions)) = (payload.as_object_mut(), extensions(&answer, None))
                        {
                            payload.insert("extensions".to_owned(), extensions);
                        }
                        Ok(payload)
                    }
                },
            },
        };
        self.count(outcome.is_ok());
        match outcome {
            Ok(payload) => {
                self.tell(wanted, &json!({ "id": id, "type": "next", "payload": payload })).await?;
                self.complete(id, wanted).await
            }
            Err(errors) => self.fail(id, wanted, &errors).await,
        }
    }

    async fn watch(&self, id: &str, wanted: &Arc<AtomicBool>, entered: Entered) -> Result<(), Gone> {
        if let Some(running) = self.operations().get_mut(id) {
            running.watches = true;
        }
        let mut responses = entered.watch(&self.app);
        let mut is_first = true;
        while let Some(response) = responses.next().await {
            let response = match response {
                Ok(response) => response,
                Err(refused) => {
                    self.count(false);
                    return self.fail(id, wanted, &self.refused(&refused)).await;
                }
            };
            // Nothing was watched so far: the document or an argument of it is at fault.
            if std::mem::take(&mut is_first) && response.errors.iter().any(|error| error.path.len() <= 1) {
                self.count(false);
                return self.fail(id, wanted, &self.errors(&response, was_refused(&response))).await;
            }
            let payload = self.payload(&response);
            self.tell(wanted, &json!({ "id": id, "type": "next", "payload": payload })).await?;
        }
        self.count(true);
        self.complete(id, wanted).await
    }

    /// From now on the id is free, unless another operation has it already.
    fn free(&self, id: &str, wanted: &Arc<AtomicBool>) {
        let mut operations = self.operations();
        if operations.get(id).is_some_and(|running| Arc::ptr_eq(&running.is_wanted, wanted)) {
            operations.remove(id);
        }
    }

    async fn complete(&self, id: &str, wanted: &Arc<AtomicBool>) -> Result<(), Gone> {
        self.free(id, wanted);
        self.tell(wanted, &json!({ "id": id, "type": "complete" })).await
    }

    async fn fail(&self, id: &str, wanted: &Arc<AtomicBool>, errors: &Value) -> Result<(), Gone> {
        self.free(id, wanted);
        self.tell(wanted, &json!({ "id": id, "type": "error", "payload": errors })).await
    }

    fn payload(&self, response: &GraphqlResponse) -> Value {
        match response.errors.is_empty() {
            true => json!({ "data": response.data }),
            false => json!({ "data": response.data, "errors": self.errors(response, false) }),
        }
    }

    fn errors(&self, response: &GraphqlResponse, refused: bool) -> Value {
        shown(&response.errors, refused, self.audience, &self.request_id)
    }

    fn refused(&self, refused: &Refusal) -> Value {
        let mut body = refusal(refused.code.as_str(), &refused.message, Some(&self.request_id));
        body.get_mut("errors").map_or(Value::Null, Value::take)
    }

    fn count(&self, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "errors" };
        let metrics = &self.app.core.infra.metrics;
        metrics.requests.get_or_create(&[("operation", "socket"), ("outcome", outcome)]).inc();
    }

    fn operations(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message of an operation.
    async fn tell(&self, wanted: &Arc<AtomicBool>, message: &Value) -> Result<(), Gone> {
        let message = Message::Text(message.to_string().into());
        let outgoing = Outgoing { message, operation: Some(Arc::clone(wanted)) };
        self.out.send(outgoing).await.map_err(|_| Gone)
    }

    async fn say(&self, message: &Value) -> Result<(), Gone> {
        self.send(Message::Text(message.to_string().into())).await
    }

    async fn send(&self, message: Message) -> Result<(), Gone> {
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.out.send(Outgoing { message, operation: None })).await;
        sent.ok().and_then(Result::ok).ok_or(Gone)
    }
}

/// Nobody is there to be told.
struct Gone;
