//! The one way in, for whatever arrives over HTTP, WebSocket or server-sent events: a request is admitted, paid for, and
//! executed in a task of its own, under a deadline.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, ServerError, Value};
use axum::body::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use tracing::field::{Empty, debug};
use tracing::{Instrument, Span, debug_span};

use crate::config::RateLimit;
use crate::domain::accounts::{Right, Viewer};
use crate::domain::reads::{Reads, Token};
use crate::graphql::catalog::written::Written;
use crate::graphql::context::{Asker, Notes, RequestContext};
use crate::graphql::error::{Audience, response_body};
use crate::infra::metrics::OTHER;
use crate::infra::rate_limit::Spent;
use crate::infra::telemetry::TRACES;
use crate::transport::admission::{Admitted, Document, admit};
use crate::transport::kept::{Known, Seeking};
use crate::transport::persisted::Unknown;
use crate::transport::refusal::{Code, Refusal};
use crate::transport::shape::Shape;
use crate::transport::{App, kept};

/// What a request costs that is refused for its document.
pub const REFUSED: u64 = 5;
/// In the `extensions` of a mutation's response, and of a request that is to see what that did.
pub const CONSISTENCY_TOKEN: &str = "consistencyToken";
/// A response of more values than this is large.
const LARGE: u64 = 1000;

/// A request that may run and is paid for.
pub struct Entered {
    pub kind: OperationType,
    pub notes: Arc<Notes>,
    pub viewer: Viewer,
    pub shape: Arc<Shape>,
    /// What it may cost.
    pub cost: u64,
    /// What is left of the budget, where there is one.
    pub spent: Option<Spent>,
    /// What it asks for, if it is a query.
    pub question: Option<Bytes>,
    /// Others wait for what it asks for.
    pub seeking: Option<Seeking>,
    /// The operation's name.
    name: Option<String>,
    reads: Option<Arc<Reads>>,
    is_large: bool,
    request: Request,
    document: Arc<Document>,
    /// The document is to be kept once it proved valid.
    is_new: bool,
    unknown: Option<Unknown>,
    subject: String,
}

/// What became of an operation.
enum Executed {
    /// Its document has a plan.
    Written(Written),
    Resolved(Response),
}

/// How an operation went.
pub struct Answer {
    pub given: Given,
    /// What it might have cost, and what it did cost.
    pub requested: u64,
    pub cost: u64,
    /// What is left of the budget, where there is one.
    pub spent: Option<Spent>,
    pub cache: Decision,
    /// After a mutation: whoever shows it sees what was changed.
    pub token: Option<Token>,
    /// What its operation is counted as.
    pub name: &'static str,
}

/// What became of an answer as a whole; the parts of one are remembered besides.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decision {
    /// It was remembered, and holds still.
    Hit,
    /// It was made now, and is remembered.
    Stored,
    /// It is for this viewer alone, or tells of an error or a change.
    Passed,
}

/// What is answered.
pub enum Given {
    /// The bytes of an answer without errors that anybody would get.
    Kept(Arc<kept::Response>),
    Made {
        response: Box<Response>,
        /// It was not executed: the document is not valid.
        refused: bool,
    },
}

/// What a transport lets in, beside queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrance {
    pub mutations: bool,
    /// One response can follow the other.
    pub subscriptions: bool,
}

/// Lets a request in. `id` names a trusted document, `key` is what makes its mutations happen once.
///
/// # Errors
/// Why not.
pub async fn enter(
    app: &App,
    mut request: Request,
    id: Option<&str>,
    key: Option<&str>,
    mut asker: Asker,
    entrance: Entrance,
) -> Result<Entered, Refusal> {
    if request.query.trim().is_empty() && id.is_none() && !request.extensions.contains_key("persistedQuery") {
        let message = "`query` is missing; send a JSON object with the document in `query`";
        return Err(Refusal::new(Code::BadRequest, message));
    }
    if app.places.are_crowded() {
        return Err(too_much());
    }
    let infra = &app.core.infra;
    let subject = match asker.viewer() {
        Viewer::User(user) => user.id.0.to_string(),
        Viewer::Anonymous => asker.subject(),
    };
    if let Some(spent) = infra.limiter.exhausted(infra.budgets.requests, &subject) {
        return Err(over_budget(spent));
    }
    let unknown = app.persisted.resolve(&mut request, id, infra.redis.as_deref()).await?;
    let known = app.documents.known(&request.query);
    let is_known = known.is_some();
    let is_signed_in = asker.viewer().id().is_some();
    let admitted = match admit(&mut request, known, is_signed_in, &app.facts, &app.settings.limits, &mut 0) {
        Ok(admitted) => admitted,
        Err(refused) => {
            // Looking at it was work, too.
            infra.limiter.spend(infra.budgets.requests, &subject, REFUSED).await;
            return Err(refused);
        }
    };
    let Admitted { kind, name, document, shape, estimate, question } = admitted;
    match kind {
        OperationType::Mutation if !entrance.mutations => {
            let message = "GET runs queries only; use POST";
            return Err(Refusal::new(Code::MethodNotAllowed { allowed: "POST" }, message));
        }
        OperationType::Subscription if !entrance.subscriptions => {
            let message = "subscriptions need a stream: accept text/event-stream, or use a WebSocket \
                           (graphql-transport-ws)";
            return Err(Refusal::new(Code::SubscriptionTransport, message));
        }
        _ => {}
    }
    if estimate.introspects && !app.shows_schema(asker.viewer()) {
        let message = "the schema is not shown here; sign in as one of the staff";
        return Err(Refusal::new(Code::IntrospectionDisabled, message));
    }
    let spent = pay(app, &subject, estimate.cost).await?;
    asker.spent = spent;
    if kind == OperationType::Subscription {
        // Whatever happens from now on is told, also what happens before the stream begins.
        let version = app.core.gate.latest().await;
        asker.since = Some(version.map_err(|error| Refusal::new(Code::Unavailable, error.to_string()))?);
    }
    if let (Some(key), OperationType::Mutation) = (key, kind) {
        let wish = (&request.query, &request.operation_name, &request.variables);
        let wish = serde_json::to_vec(&wish).map_err(|_| Refusal::new(Code::Internal, "internal error"))?;
        asker.once = Some((key.to_owned(), wish));
    }
    let viewer = *asker.viewer();
    // A socket has no header for each request.
    if let Some(Value::String(token)) = request.extensions.get(CONSISTENCY_TOKEN) {
        asker.seen = Some(seen(token)?);
    }
    let reads = (kind == OperationType::Query).then(|| Arc::new(Reads::after(asker.seen)));
    let core = reads.as_ref().map_or_else(|| Arc::clone(&app.core), |reads| app.core.noting(Arc::clone(reads)));
    let context = RequestContext::new(core, asker, app.settings.limits.max_response_values);
    let notes = Arc::clone(&context.notes);
    if estimate.introspects {
        // Others may not be shown the schema.
        notes.is_personal();
    }
    let request = request.data(context);
    let (cost, is_large) = (estimate.cost, estimate.values > LARGE);
    Ok(Entered {
        seeking: None,
        kind,
        notes,
        viewer,
        shape,
        cost,
        spent,
        question,
        name,
        reads,
        is_large,
        request,
        document,
        is_new: !is_known,
        unknown,
        subject,
    })
}

/// What is known of the answer to a body.
pub enum Recalled {
    Found(Found),
    /// It must be made, perhaps for all who ask meanwhile.
    Missing(Option<Seeking>),
}

/// An answer that is kept and holds still, to a body that came before.
pub struct Found {
    pub response: Arc<kept::Response>,
    known: Arc<Known>,
}

/// Looks for the answer to a body that came before, from those of whom nothing need be known.
pub async fn recall(app: &App, body: &Bytes, asker: &Asker) -> Recalled {
    let is_nobody = asker.viewer().id().is_none();
    let Some(known) = app.kept.known(body).filter(|_| is_nobody) else { return Recalled::Missing(None) };
    let Some(found) = app.kept.find(&app.core, &known.question) else { return Recalled::Missing(None) };
    let moment = app.core.gate.moment_since(asker.seen);
    match app.kept.response(&app.core, &known.question, Some(found), moment).await {
        Ok(response) => Recalled::Found(Found { response, known }),
        Err(seeking) => Recalled::Missing(seeking),
    }
}

impl Found {
    /// The answer, once it is paid for: the whole way in at one step.
    ///
    /// # Errors
    /// When the budget is spent.
    pub async fn answer(self, app: &Arc<App>, asker: &Asker, started: Instant) -> Result<Answer, Refusal> {
        let Self { response, known } = self;
        let (requested, cost) = (known.cost, response.cost);
        let (limiter, budget) = (&app.core.infra.limiter, app.core.infra.budgets.requests);
        let spent = if budget.limit == RateLimit::Off {
            // Nobody need be named.
            None
        } else {
            let subject = asker.subject();
            if let Some(spent) = limiter.exhausted(budget, &subject) {
                return Err(over_budget(spent));
            }
            let spent = pay(app, &subject, requested).await?;
            settle(app, &subject, spent, requested.saturating_sub(cost));
            spent
        };
        known.tally.count(started.elapsed());
        let (given, name) = (Given::Kept(response), known.name);
        Ok(Answer { given, requested, cost, spent, cache: Decision::Hit, token: None, name })
    }
}

/// What a consistency token says.
///
/// # Errors
/// When it is none.
pub fn seen(token: &str) -> Result<Token, Refusal> {
    let advice =
        "the consistency token is malformed; send what `extensions.consistencyToken` of a mutation's response says";
    token.parse().map_err(|()| Refusal::new(Code::BadRequest, advice))
}

/// Takes what a request may cost off the budget.
async fn pay(app: &App, subject: &str, cost: u64) -> Result<Option<Spent>, Refusal> {
    let infra = &app.core.infra;
    match infra.limiter.spend(infra.budgets.requests, subject, cost).await {
        Some(Spent { granted: false, burst, .. }) if cost > burst => {
            let message = format!("it costs {cost}, and nobody may spend more than {burst}; ask for less");
            Err(Refusal::new(Code::CostTooHigh, message))
        }
        Some(spent) if !spent.granted => Err(over_budget(spent)),
        spent => Ok(spent),
    }
}

/// Gives back what it did not cost.
fn settle(app: &Arc<App>, subject: &str, spent: Option<Spent>, unused: u64) {
    if unused > 0 && spent.is_some() {
        let (app, subject) = (Arc::clone(app), subject.to_owned());
        tokio::spawn(async move {
            let infra = &app.core.infra;
            infra.limiter.give_back(infra.budgets.requests, &subject, unused).await;
        });
    }
}

/// There is not enough left.
pub fn over_budget(spent: Spent) -> Refusal {
    let message = format!("the budget is spent; try again in {} s", seconds(spent.retry_after));
    Refusal { spent: Some(Box::new(spent)), ..Refusal::new(Code::RateLimited, message) }
}

/// There is no room for one more operation.
pub fn too_much() -> Refusal {
    Refusal::new(Code::Busy, "the server has too much to do; try again in a moment")
}

/// Whole seconds, at least one: what `Retry-After` can say.
pub fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

impl Entered {
    /// Executes a query or a mutation.
    ///
    /// # Errors
    /// When it takes too long, or a resolver panics.
    pub async fn execute(&mut self, app: &Arc<App>) -> Result<Answer, Refusal> {
        let started = Instant::now();
        let span = self.span();
        let answered = self.run(app, &Span::current(), &span).instrument(span.clone()).await;
        let metrics = &app.core.infra.metrics;
        let (name, outcome) = match &answered {
            Ok(answer) => (answer.name, answer.given.outcome()),
            Err(refused) => (metrics.name(self.name.as_deref()), refused.code.as_str()),
        };
        metrics.count_operation(name, outcome, started.elapsed());
        span.record("stockroom.outcome", outcome);
        if let Ok(answer) = &answered {
            span.record("stockroom.cache", debug(answer.cache));
        }
        answered
    }

    /// The operation's part of its request's trace.
    fn span(&self) -> Span {
        let name = self.name.as_deref().unwrap_or_default();
        debug_span!(
            target: TRACES,
            "operation",
            otel.name = format!("{} {name}", self.kind).trim_end(),
            graphql.operation.name = name,
            graphql.operation.type = %self.kind,
            stockroom.outcome = Empty,
            stockroom.cache = Empty,
        )
    }

    /// The log knows its request by the one span, traces know the operation by the other.
    async fn run(&mut self, app: &Arc<App>, logged: &Span, span: &Span) -> Result<Answer, Refusal> {
        let question = self.question.clone();
        let timeout = app.settings.request_timeout;
        let deadline = tokio::time::Instant::now() + timeout;
        let mut seeking =
            self.seeking.take().filter(|seeking| question.as_ref().is_some_and(|own| seeking.is_for(own)));
        if let (Some(question), Some(reads), None) = (&question, &self.reads, &seeking) {
            // It was public a moment ago and most likely is again, as what strangers ask is: one finds it for all who ask
            // meanwhile.
            let is_public = self.viewer.id().is_none() && !self.document.is_personal.load(Ordering::Relaxed);
            let found = app.kept.find(&app.core, question);
            if is_public || found.is_some() {
                match app.kept.response(&app.core, question, found, reads.moment(&app.core.gate)).await {
                    Ok(response) => return Ok(self.recalled(app, response)),
                    Err(own) => seeking = own,
                }
            }
        }
        let place = app.places.next().await.ok_or_else(too_much)?;
        app.core.infra.metrics.responses.get_or_create(&[("from", "resolvers")]).inc();
        let mut request = std::mem::replace(&mut self.request, Request::new(""));
        let text = (self.is_new || self.unknown.is_some()).then(|| request.query.clone());
        let schema = app.schemas.of(!self.is_new).clone();
        let (owned, is_large) = (Arc::clone(app), self.is_large);
        let (document, is_planned) = (Arc::clone(&self.document), self.is_planned());
        let work = async move {
            let _place = place;
            let plan = document.plan(request.operation_name.as_deref()).filter(|_| is_planned);
            if let Some(plan) = plan {
                let writing = plan.answer(&request);
                match if is_large { owned.turns.steps(writing).await } else { writing.await } {
                    Some(Ok(written)) => return Executed::Written(written),
                    Some(Err(failure)) => return Executed::Resolved(Response::from_errors(vec![failure])),
                    None => {}
                }
            }
            request.set_parsed_query(document.parsed());
            let execution = schema.execute(request);
            Executed::Resolved(if is_large { owned.turns.steps(execution).await } else { execution.await })
        };
        // Owned: a client who hangs up cannot stop a command between two statements, nor return a busy connection.
        // Boxed: the runtime moves a task several times before it runs.
        let task = tokio::spawn(Box::pin(work.instrument(span.clone()).instrument(logged.clone())));
        let executed = tokio::time::timeout_at(deadline, task).await.map_err(|_| {
            let message = match self.kind {
                OperationType::Mutation => {
                    format!("it takes longer than {timeout:?}, and goes on; look before you try again")
                }
                _ => format!("it took longer than {timeout:?}; ask for less, or try again"),
            };
            Refusal::new(Code::Timeout, message)
        })?;
        let executed = executed.map_err(|crash| {
            app.core.infra.metrics.panics.inc();
            tracing::error!(%crash, "a resolver panicked");
            Refusal::new(Code::Internal, "internal error")
        })?;
        let (given, cost) = match executed {
            Executed::Written(Written { body, cost, .. }) => (self.keep(app, body, cost), cost),
            Executed::Resolved(mut response) => {
                let _turn = if self.is_large { app.turns.next().await } else { None };
                let refused = was_refused(&response);
                if !refused {
                    self.shape.repair(&mut response.data, &response.errors);
                }
                let cost = self.shape.cost(&response.data).min(self.cost);
                let is_whole = !refused && response.errors.is_empty();
                if is_whole && self.viewer.id().is_none() && !self.notes.is_public() {
                    self.document.is_personal.store(true, Ordering::Relaxed);
                }
                let given = match is_whole && self.question.is_some() && self.notes.is_public() {
                    true => self.keep(app, response_body(&response, false, None, app.audience(&self.viewer), ""), cost),
                    false => Given::Made { response: Box::new(response), refused },
                };
                (given, cost)
            }
        };
        let refused = matches!(given, Given::Made { refused: true, .. });
        if let (false, Some(text)) = (refused, text) {
            if self.is_new {
                app.documents.keep(&text, Arc::clone(&self.document));
            }
            if let Some(unknown) = self.unknown.take() {
                app.persisted.keep(unknown, &text, app.core.infra.redis.as_deref()).await;
            }
        }
        drop(seeking);
        let cache = if matches!(given, Given::Kept(_)) { Decision::Stored } else { Decision::Passed };
        let token = match self.kind {
            OperationType::Mutation if !refused => app.core.gate.token().await.ok(),
            _ => None,
        };
        Ok(Answer { token, ..self.answer(app, given, cost, cache) })
    }

    fn recalled(&self, app: &Arc<App>, response: Arc<kept::Response>) -> Answer {
        app.core.infra.metrics.responses.get_or_create(&[("from", "kept")]).inc();
        let cost = response.cost;
        self.answer(app, Given::Kept(response), cost, Decision::Hit)
    }

    fn answer(&self, app: &Arc<App>, given: Given, cost: u64, cache: Decision) -> Answer {
        let (requested, spent) = (self.cost, self.spent);
        settle(app, &self.subject, spent, requested.saturating_sub(cost));
        // Names of what is not valid anybody may make up.
        let name = match given {
            Given::Made { refused: true, .. } => OTHER,
            _ => app.core.infra.metrics.name(self.name.as_deref()),
        };
        Answer { given, requested, cost, spent, cache, token: None, name }
    }

    /// Whether a plan of its document may answer it: the document is valid, and anybody would get the same.
    fn is_planned(&self) -> bool {
        !self.is_new && self.viewer.id().is_none() && self.question.is_some()
    }

    /// Keeps a response that anybody would get.
    fn keep(&mut self, app: &App, body: Vec<u8>, cost: u64) -> Given {
        let (question, reads) = (self.question.clone().unwrap_or_default(), self.reads.take().unwrap_or_default());
        Given::Kept(app.kept.keep(question, body.into(), cost, &reads))
    }

    /// Executes a subscription: each of its events is a response, and is paid for. It ends with a refusal when that cannot
    /// be, or when a resolver panics.
    pub fn watch(mut self, app: &Arc<App>) -> BoxStream<'static, Result<Response, Refusal>> {
        let mut request = std::mem::replace(&mut self.request, Request::new(""));
        let text = request.query.clone();
        request.set_parsed_query(self.document.parsed());
        let responses = app.schemas.of(!self.is_new).execute_stream(request);
        let span = self.span();
        let begun = Watching { app: Arc::clone(app), entered: self, text, responses, ended: false };
        futures_util::stream::unfold((begun, span), async |(mut watching, span)| {
            let next = watching.next().instrument(span.clone()).await;
            match &next {
                None if !watching.ended => span.record("stockroom.outcome", "ok"),
                Some(Err(refused)) => span.record("stockroom.outcome", refused.code.as_str()),
                Some(Ok(response)) if was_refused(response) => span.record("stockroom.outcome", "invalid"),
                _ => &span,
            };
            Some((next?, (watching, span)))
        })
        .boxed()
    }
}

/// A subscription under way.
struct Watching {
    app: Arc<App>,
    entered: Entered,
    text: String,
    responses: BoxStream<'static, Response>,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Response, Refusal>> {
        if self.ended {
            return None;
        }
        let infra = &self.app.core.infra;
        let Ok(next) = AssertUnwindSafe(self.responses.next()).catch_unwind().await else {
            self.ended = true;
            infra.metrics.panics.inc();
            tracing::error!("a resolver of a subscription panicked");
            return Some(Err(Refusal::new(Code::Internal, "internal error")));
        };
        let mut response = next?;
        let Entered { shape, subject, document, is_new, .. } = &mut self.entered;
        if !was_refused(&response) {
            shape.repair(&mut response.data, &response.errors);
            if std::mem::take(is_new) {
                self.app.documents.keep(&self.text, Arc::clone(document));
            }
        }
        let spent = infra.limiter.spend(infra.budgets.requests, subject, shape.cost(&response.data)).await;
        match spent {
            Some(spent) if !spent.granted => {
                self.ended = true;
                Some(Err(over_budget(spent)))
            }
            _ => Some(Ok(response)),
        }
    }
}

/// Nothing was executed: every root field is nullable, so what was has data, or an error with a path.
pub fn was_refused(response: &Response) -> bool {
    let is_whole = |error: &ServerError| error.path.is_empty();
    response.data == Value::Null && !response.errors.is_empty() && response.errors.iter().all(is_whole)
}

impl App {
    /// What this viewer is told of errors.
    pub fn audience(&self, viewer: &Viewer) -> Audience {
        Audience { max_errors: self.settings.limits.max_errors, suggestions: self.shows_schema(viewer) }
    }

    /// Whether this viewer may look at the schema, and be told names that they nearly knew.
    pub fn shows_schema(&self, viewer: &Viewer) -> bool {
        self.settings.introspection.unwrap_or(self.is_private) || viewer.may(Right::STAFF)
    }
}
