//! The accept loop: a bounded number of connections, none of which may dawdle, and an end that waits for what is under
//! way.
//!
//! Whoever connects must begin a request within five seconds and finish its head within five more; between requests a
//! connection may rest for thirty. When all places are taken, the connection that dawdles longest makes room, first among
//! those without a whole request; and where none dawdles, one of the address that has more than half of all. So nobody
//! locks others out by taking places.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use crate::infra::metrics::{Counted, Labels};
use crate::transport::address::Peer;
use crate::transport::{App, Stage, quick, stopped};

/// Longest time from connecting to the first byte, and from there to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest rest between requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time in which a client takes nothing of what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the rest of a request that was refused unread is read, so that the refusal arrives: a socket that closes with
/// something unread tells its client to forget what came before.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that the system keeps for a client that does not read.
const SEND_BUFFER: u32 = 256 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Bytes of the head of a request, at most.
const MAX_HEAD: usize = 32 * 1024;
/// Files that the process needs beside its connections.
const OTHER_FILES: u64 = 128;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Listens on an address.
///
/// # Errors
/// When the address is not to be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until it is time to stop, then waits for requests under way, `drain` at most.
///
/// Requests are answered by the router, but for those that the short way of an app answers ahead of it.
pub async fn serve(
    router: Router,
    app: Option<Arc<App>>,
    listener: TcpListener,
    max_connections: u32,
    stage: watch::Receiver<Stage>,
    drain: Duration,
) {
    let connections = affordable(max_connections);
    let places = Arc::new(Semaphore::new(connections as usize));
    let lobby = Arc::new(Lobby::counting(app.as_deref()));
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD);
    let welcome = |stream: TcpStream, peer, permit| {
        let place = Place { guest: Arc::new(lobby.enter(peer)), _permit: Arc::new(permit) };
        let _ = stream.set_nodelay(true);
        tokio::spawn(converse(http.clone(), app.clone(), router.clone(), stream, place, stage.clone()));
    };
    let mut stopping = std::pin::pin!(stopped(stage.clone()));
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stopping => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                Err(error) => {
                    // No file descriptors, say: try again when some may be free.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let permit = tokio::select! {
            biased;
            permit = permit(&places, &lobby, peer) => permit,
            () = &mut stopping => break,
        };
        // Without one it is closed at once.
        let Some(permit) = permit else { continue };
        welcome(stream, peer, permit);
    }
    for (stream, peer) in waiting(listener) {
        let Ok(permit) = Arc::clone(&places).try_acquire_owned() else { break };
        welcome(stream, peer, permit);
    }
    if tokio::time::timeout(drain, places.acquire_many(connections)).await.is_err() {
        tracing::warn!("requests were still under way after {drain:?}");
    }
}

/// Ends listening. Who is connected already, as far as they know, is not turned away: what the system has accepted is asked
/// of itself, not of the runtime, which hears of it later.
fn waiting(listener: TcpListener) -> Vec<(TcpStream, IpAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted: Vec<_> = std::iter::from_fn(|| listener.accept().ok()).collect();
    drop(listener);
    let ready = |(stream, peer): (std::net::TcpStream, SocketAddr)| {
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer.ip().to_canonical()))
    };
    accepted.into_iter().filter_map(ready).collect()
}

/// A connection's place among those that there may be; whoever takes the connection over takes this along.
#[derive(Clone)]
pub struct Place {
    guest: Arc<Guest>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Place {
    /// Ready when the connection is to make room for others.
    pub async fn evicted(&self) {
        self.guest.progress.evicted.notified().await;
    }
}

/// One connection, from its first byte to its last.
async fn converse(
    http: http1::Builder,
    app: Option<Arc<App>>,
    router: Router,
    stream: TcpStream,
    place: Place,
    stage: watch::Receiver<Stage>,
) {
    // One count for all of it, and that of this connection: what all connections count, cores take from each other.
    let own = Arc::new((app, TowerToHyperService::new(router), place.clone(), stage.clone()));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let own = Arc::clone(&own);
        async move {
            let (app, service, held, stage) = &*own;
            let progress = &held.guest.progress;
            progress.is_at(Phase::Answering);
            // A look that locks nothing: there is no way back to the first stage.
            let is_leaving = stage.has_changed().unwrap_or(true);
            let answered = match app {
                Some(app) => quick::answer(app, progress.peer, request).await,
                None => Err(request.map(Body::new)),
            };
            let mut request = match answered {
                Ok(mut response) => {
                    progress.is_now_at(Phase::Resting);
                    if is_leaving {
                        response.headers_mut().insert(CONNECTION, CLOSE);
                    }
                    return Ok(response);
                }
                Err(request) => request,
            };
            request.extensions_mut().insert(Peer(progress.peer));
            request.extensions_mut().insert(held.clone());
            let mut response = service.call(request).await?;
            let streams =
                response.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/event-"));
            let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            progress.is_now_at(if streams || is_upgraded { Phase::Streaming } else { Phase::Resting });
            if streams {
                let streaming = Streaming(Arc::clone(progress));
                response = response.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let _ = &streaming;
                        frame
                    }))
                });
            }
            if is_leaving && !is_upgraded {
                response.headers_mut().insert(CONNECTION, CLOSE);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let stream = Timed::new(TokioIo::new(stream), Arc::clone(&place.guest.progress));
    let mut connection = std::pin::pin!(http.serve_connection(stream, service).with_upgrades());
    // A connection that ends badly is the client's affair.
    tokio::select! {
        // One that was upgraded lives on, and with it the place.
        _ = connection.as_mut() => {}
        () = place.evicted() => {}
        () = stopped(stage) => {
            let progress = &place.guest.progress;
            if progress.was(Phase::Silent) || progress.was(Phase::Head) {
                // Its request is on the way, and ends the connection.
                let _ = tokio::time::timeout(LINGER, connection.as_mut()).await;
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// A permit for one more connection. If there is none, another makes room; or this one goes, if its address has most of
/// them already.
async fn permit(places: &Arc<Semaphore>, lobby: &Lobby, peer: IpAddr) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Some(permit);
        }
        if !lobby.make_room(peer) {
            return None;
        }
        // Whoever is to go needs a moment; should nobody be there to go, it may be that somebody ends.
        let patience = Duration::from_millis(20);
        if let Ok(Ok(permit)) = tokio::time::timeout(patience, Arc::clone(places).acquire_owned()).await {
            return Some(permit);
        }
    }
}

/// As many connections as were asked for, or as the limit on open files leaves room for.
fn affordable(connections: u32) -> u32 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        // Everything that is allowed; what is refused stays as it was.
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = u32::try_from(files.saturating_sub(OTHER_FILES).max(16)).unwrap_or(u32::MAX);
    if room < connections {
        tracing::warn!("the limit of {files} open files leaves room for {room} connections, not {connections}");
    }
    connections.min(room)
}

/// How far a connection has come with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing was said yet.
    Silent,
    /// The head of a request has begun.
    Head,
    Answering,
    /// The last request was answered.
    Resting,
    /// It is sent events, or speaks another protocol: the rest has time limits of its own.
    Streaming,
}

/// What is known of a connection from outside.
struct Progress {
    peer: IpAddr,
    started: Instant,
    phase: AtomicU8,
    /// Since when it is in that phase, in milliseconds after `started`.
    since: AtomicU64,
    evicted: Notify,
}

impl Progress {
    fn is_at(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// For phases that may not last for as long as they like.
    fn is_now_at(&self, phase: Phase) {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
        self.is_at(phase);
    }

    fn was(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) == phase as u8
    }

    fn since(&self) -> Instant {
        self.started + Duration::from_millis(self.since.load(Ordering::Relaxed))
    }

    /// Until when the client is to send something; `None` while it is not its turn.
    fn due(&self) -> Option<Instant> {
        let patience = if self.was(Phase::Silent) || self.was(Phase::Head) {
            HEAD_TIMEOUT
        } else if self.was(Phase::Resting) {
            IDLE_TIMEOUT
        } else {
            return None;
        };
        Some(self.since() + patience)
    }

    /// What dawdles can go: the sooner, the less it has done so far and the longer it waits.
    fn patience(&self) -> Option<(u8, Instant)> {
        let rank = match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Silent as u8 || phase == Phase::Head as u8 => 0,
            phase if phase == Phase::Resting as u8 && self.since().elapsed() > Duration::from_secs(1) => 1,
            _ => return None,
        };
        Some((rank, self.since()))
    }
}

/// A stream of events under way; the connection rests when it ends.
struct Streaming(Arc<Progress>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.is_now_at(Phase::Resting);
    }
}

/// All connections.
#[derive(Default)]
struct Lobby {
    guests: Mutex<HashMap<u64, Arc<Progress>>>,
    next: AtomicU64,
    open: Gauge,
    shed: Family<Labels<1>, Counter>,
}

/// A connection's entry in the lobby.
struct Guest {
    id: u64,
    progress: Arc<Progress>,
    lobby: Arc<Lobby>,
    _counted: Counted,
}

impl Lobby {
    /// Where an app is served its metrics count the connections.
    fn counting(app: Option<&App>) -> Self {
        match app.map(|app| &app.core.infra.metrics) {
            Some(metrics) => {
                let (open, shed) = (metrics.connections.clone(), metrics.connections_shed.clone());
                Self { open, shed, ..Self::default() }
            }
            None => Self::default(),
        }
    }

    fn enter(self: &Arc<Self>, peer: IpAddr) -> Guest {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(Progress {
            peer,
            started: Instant::now(),
            phase: AtomicU8::new(Phase::Silent as u8),
            since: AtomicU64::new(0),
            evicted: Notify::new(),
        });
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&progress));
        Guest { id, progress, _counted: Counted::by(&self.open), lobby: Arc::clone(self) }
    }

    /// Sends one away: who dawdles, else one of an address that has more than half of all. Returns whether the newcomer is
    /// to wait, which it is not if its own address is that one.
    fn make_room(&self, newcomer: IpAddr) -> bool {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let dawdles = guests.iter().filter_map(|(id, guest)| Some((guest.patience()?, *id))).min();
        let victim = dawdles.map(|(_, id)| id).or_else(|| {
            let mut of: HashMap<IpAddr, (usize, u64)> = HashMap::new();
            for (id, guest) in guests.iter() {
                let (count, last) = of.entry(guest.peer).or_default();
                (*count, *last) = (*count + 1, (*last).max(*id));
            }
            let greedy = of.into_iter().find(|(_, (count, _))| *count * 2 > guests.len());
            greedy.map(|(peer, (_, last))| if peer == newcomer { u64::MAX } else { last })
        });
        if let Some(guest) = victim.and_then(|id| guests.remove(&id)) {
            guest.evicted.notify_one();
            self.shed.get_or_create(&[("how", "evicted")]).inc();
        }
        let is_refused = victim == Some(u64::MAX);
        if is_refused {
            self.shed.get_or_create(&[("how", "refused")]).inc();
        }
        !is_refused
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lobby.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A stream that fails when a request does not begin, its head does not end, or an answer is not taken in time.
struct Timed {
    stream: TokioIo<TcpStream>,
    progress: Arc<Progress>,
    /// Fires when the client is overdue, or before: to set it anew for each request costs more than to look again.
    patience: Pin<Box<Sleep>>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs once everything is said.
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn new(stream: TokioIo<TcpStream>, progress: Arc<Progress>) -> Self {
        let patience = Box::pin(tokio::time::sleep(HEAD_TIMEOUT));
        Self { stream, progress, patience, stalled: None, lingers: None }
    }

    /// An error once the client should have sent something.
    fn overdue(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(due) = self.progress.due() else { return Poll::Pending };
        if self.patience.deadline() > due {
            self.patience.as_mut().reset(due);
        }
        loop {
            ready!(self.patience.as_mut().poll(context));
            if self.patience.deadline() == due {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.patience.as_mut().reset(due);
        }
    }

    /// The outcome of a write, or an error once the client has taken nothing for too long.
    fn timed<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() && self.progress.was(Phase::Resting) {
                // It had enough to do.
                self.progress.is_now_at(Phase::Resting);
            }
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                if this.progress.was(Phase::Silent) || this.progress.was(Phase::Resting) {
                    this.progress.is_now_at(Phase::Head);
                }
                Poll::Ready(read)
            }
            Poll::Pending => this.overdue(context),
        }
    }
}

impl Write for Timed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut unread = [std::mem::MaybeUninit::uninit(); 8 * 1024];
        while lingers.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::uninit(&mut unread);
            match Pin::new(&mut this.stream).poll_read(context, buffer.unfilled()) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Pending => return Poll::Pending,
                // That was all.
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.timed(context, written)
    }
}
