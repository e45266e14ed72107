//! Responses as server-sent events, each operation on a connection of its own
//! (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md#distinct-connections-mode>). The id of an event is its
//! cursor: a browser that reconnects sends it in `Last-Event-ID`, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures_util::stream::{iter, once, unfold};
use futures_util::{FutureExt, Stream, StreamExt};

use crate::domain::accounts::Viewer;
use crate::graphql::error::{Audience, refusal, response_body};
use crate::transport::door::{Entered, was_refused};
use crate::transport::{App, stopped};

/// A comment is sent after this long without an event, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// One response and the end.
pub fn single(body: &[u8]) -> Response {
    streamed(iter([next(&String::from_utf8_lossy(body), None), COMPLETE.to_owned()]))
}

/// A response for each event.
///
/// # Errors
/// The body that says why there are none.
pub fn subscription(app: &Arc<App>, entered: Entered, audience: Audience, id: String) -> Result<Response, Vec<u8>> {
    let ended = until_ended(Arc::clone(app), entered.viewer);
    let notes = Arc::clone(&entered.notes);
    let mut responses = entered.watch(app);
    // What validation has to say it says at once.
    let first = responses.next().now_or_never().flatten();
    if let Some(Ok(first)) = &first
        && was_refused(first)
    {
        return Err(response_body(first, true, None, audience, &id));
    }
    let events = iter(first).chain(responses).map(move |response| match response {
        Ok(response) => {
            let body = response_body(&response, false, None, audience, &id);
            next(&String::from_utf8_lossy(&body), notes.cursor())
        }
        Err(refused) => next(&refusal(refused.code.as_str(), &refused.message, Some(&id)).to_string(), None),
    });
    // Without `complete` when the server ends or the token does: the client is to come again.
    let events = events.chain(once(async { COMPLETE.to_owned() })).take_until(ended);
    Ok(streamed(events))
}

/// Ready once the server is to end, or the viewer's token does.
async fn until_ended(app: Arc<App>, viewer: Viewer) {
    let stopped = stopped(app.stage.clone());
    let Viewer::User(user) = viewer else { return stopped.await };
    let expired = async {
        match user.expires_at {
            Some(end) => tokio::time::sleep((end - Utc::now()).to_std().unwrap_or_default()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stopped => {}
        () = expired => {}
        () = app.core.accounts.revocations.until_refused(user) => {}
    }
}

fn next(body: &str, id: Option<String>) -> String {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    // A body is one line: JSON escapes what would end it.
    format!("event: next\n{id}data: {body}\n\n")
}

/// The empty line of data matters: without one browsers take no notice.
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// A response of these events, with a comment now and then where there are none.
fn streamed(events: impl Stream<Item = String> + Send + 'static) -> Response {
    let lines = unfold(events.boxed(), async |mut events| {
        let next = tokio::time::timeout(KEEP_ALIVE, events.next()).await;
        let event = next.unwrap_or_else(|_| Some(":\n\n".to_owned()))?;
        Some((Ok::<_, std::convert::Infallible>(event), events))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-store, no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(lines)).into_response()
}
