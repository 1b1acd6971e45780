//! Calls that take time: progress, cancellation, several at once.

use std::time::Duration;

use rmcp::model::{CallToolRequest, ClientRequest, ProgressToken, ServerResult};
use rmcp::service::{PeerRequestOptions, RequestHandle};
use rmcp::{RoleClient, ServiceError};
use serde_json::{Value, json};

use super::super::Session;
use super::super::client::Told;
use super::super::report::{Outcome, StepError, expect};
use super::{Ended, call, called, member, text};

const STEPS: usize = 4;

async fn start(
    session: &Session,
    arguments: Value,
) -> Result<RequestHandle<RoleClient>, ServiceError> {
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(call("slow", arguments)));
    session
        .client
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await
}

/// Waits for `count` pieces of progress under `token` and gives them, least first: rmcp hands
/// notifications over in no particular order.
async fn progress_heard(session: &Session, count: usize, token: &ProgressToken) -> Vec<f64> {
    let mut heard = session
        .client
        .service()
        .hear_at_least(count, progress_of(token))
        .await;
    heard.sort_by(f64::total_cmp);
    heard
}

/// Picks the progress told under `token`.
fn progress_of(token: &ProgressToken) -> impl Fn(&Told) -> Option<f64> {
    move |told| {
        if let Told::Progress(progress) = told
            && progress.progress_token == *token
        {
            Some(progress.progress)
        } else {
            None
        }
    }
}

pub(crate) async fn progress(session: &Session) -> Ended {
    let handle = start(session, json!({ "steps": STEPS, "delay_ms": 30 })).await?;
    let token = handle.progress_token.clone();
    let ServerResult::CallToolResult(result) = handle.await_response().await? else {
        return Err(StepError::Unexpected("another kind of result".to_owned()));
    };
    let seen = progress_heard(session, STEPS, &token).await;
    expect(
        seen == [1.0, 2.0, 3.0, 4.0],
        format!("{seen:?}, then: {}", text(&result)),
    )
}

async fn cancelled_count(session: &Session) -> Result<u64, StepError> {
    let result = called(session, "cancelled_count", json!({})).await?;
    member(&result, "count")
        .and_then(|count| count.as_u64())
        .ok_or_else(|| StepError::Unexpected(text(&result)))
}

pub(crate) async fn cancel(session: &Session) -> Ended {
    let before = cancelled_count(session).await?;
    let handle = start(session, json!({ "steps": 400, "delay_ms": 40 })).await?;
    let token = handle.progress_token.clone();
    session
        .client
        .service()
        .hear_at_least(1, progress_of(&token))
        .await;
    handle.cancel(Some("seen enough".to_owned())).await?;
    for _ in 0..100 {
        let now = cancelled_count(session).await?;
        if now > before {
            return Ok(Outcome::Done(format!("cut off: {before} -> {now}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(StepError::Silence("the server to notice"))
}

/// Three slow calls side by side take about as long as one, and each hears only its own progress.
pub(crate) async fn parallel(session: &Session) -> Ended {
    let arguments = json!({ "steps": 2, "delay_ms": 300 });
    let started = tokio::time::Instant::now();
    let mut handles = Vec::new();
    for _ in 0..3 {
        handles.push(start(session, arguments.clone()).await?);
    }
    let mut tokens = Vec::new();
    for handle in handles {
        tokens.push(handle.progress_token.clone());
        handle.await_response().await?;
    }
    let took = started.elapsed();
    for token in &tokens {
        let seen = progress_heard(session, 2, token).await;
        if seen != [1.0, 2.0] {
            return Err(StepError::Unexpected(format!("{seen:?}")));
        }
    }
    expect(
        took < Duration::from_millis(1500),
        format!("three calls of 600 ms in {} ms", took.as_millis()),
    )
}
