//! What a server tells by itself: logs, changed lists, changed resources.
//!
//! In a session it comes on the standalone stream; without one, logs come on the stream of the
//! call that asked for them and changes on a `subscriptions/listen` stream.

#![expect(
    deprecated,
    reason = "logging and legacy subscriptions are part of what is driven"
)]

use std::time::Duration;

use rmcp::model::{
    CallToolRequest, ClientRequest, LoggingLevel, RequestMetaObject, ServerNotification,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::{PeerRequestOptions, Subscription};
use serde_json::json;

use super::super::Session;
use super::super::client::Told;
use super::super::report::{StepError, expect};
use super::{Ended, call, called};
use crate::connect::Era;

const WATCHED: &str = "fixture://static/beta";

/// Long enough for a notification that should not come to come.
const QUIET: Duration = Duration::from_millis(300);

fn level(told: &Told) -> Option<LoggingLevel> {
    if let Told::Logged(message) = told {
        Some(message.level)
    } else {
        None
    }
}

fn changed(told: &Told) -> Option<()> {
    (*told == Told::ToolsChanged).then_some(())
}

fn updated(told: &Told) -> Option<String> {
    if let Told::Updated(uri) = told {
        Some(uri.clone())
    } else {
        None
    }
}

/// Asks for `info` and above, then for nothing (stateless) or for `error` and above (stateful).
pub(crate) async fn log(session: &Session) -> Ended {
    let info = ask_to_log(session, Some(LoggingLevel::Info)).await?;
    let heard = session.client.service();
    // rmcp hands notifications over in no particular order.
    let first = heard.hear_at_least(info, level).await;
    let less = match session.era {
        Era::Stateful => Some(LoggingLevel::Error),
        Era::Stateless => None,
    };
    let rest = ask_to_log(session, less).await?;
    let all = heard.hear_at_least(info + rest, level).await;
    tokio::time::sleep(QUIET).await;
    let late = heard.heard(level).len() - all.len();
    let good = first.len() == 2
        && first.contains(&LoggingLevel::Info)
        && first.contains(&LoggingLevel::Error)
        && rest == usize::from(less.is_some())
        && late == 0;
    expect(good, format!("{all:?}, {late} more than announced"))
}

/// Calls `log` with the level set as the revision has it; gives how many messages were announced.
async fn ask_to_log(session: &Session, level: Option<LoggingLevel>) -> Result<usize, StepError> {
    let mut options = PeerRequestOptions::no_options();
    match (session.era, level) {
        (Era::Stateful, Some(level)) => {
            session
                .client
                .set_level(SetLevelRequestParams::new(level))
                .await?;
        }
        (Era::Stateless, Some(level)) => {
            let mut meta = RequestMetaObject::new();
            meta.set_log_level(level);
            options = options.with_meta(meta);
        }
        (_, None) => {}
    }
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(call("log", json!({}))));
    let handle = session
        .client
        .send_request_with_option(request, options)
        .await?;
    let result = serde_json::to_value(handle.await_response().await?)
        .map_err(|error| StepError::Unexpected(error.to_string()))?;
    result
        .pointer("/structuredContent/sent")
        .and_then(serde_json::Value::as_u64)
        .and_then(|sent| usize::try_from(sent).ok())
        .ok_or_else(|| StepError::Unexpected(result.to_string()))
}

pub(crate) async fn list_changed(session: &Session) -> Ended {
    match session.era {
        Era::Stateful => {
            called(session, "change_list", json!({})).await?;
            let heard = session.client.service().hear_at_least(1, changed).await;
            expect(heard.len() == 1, format!("told {} times", heard.len()))
        }
        Era::Stateless => {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            let mut subscription = session.client.listen(filter).await?;
            called(session, "change_list", json!({})).await?;
            let told = next(&mut subscription).await?;
            subscription.cancel().await?;
            let good = matches!(told, ServerNotification::ToolListChangedNotification(_));
            expect(good, format!("{told:?}"))
        }
    }
}

/// Subscribes, is told, unsubscribes, is told no more.
pub(crate) async fn resource_updated(session: &Session) -> Ended {
    match session.era {
        Era::Stateful => updated_in_session(session).await,
        Era::Stateless => updated_on_stream(session).await,
    }
}

async fn updated_in_session(session: &Session) -> Ended {
    let client = &session.client;
    client
        .subscribe(SubscribeRequestParams::new(WATCHED))
        .await?;
    touch(session).await?;
    let told = client.service().hear_at_least(1, updated).await;
    client
        .unsubscribe(UnsubscribeRequestParams::new(WATCHED))
        .await?;
    touch(session).await?;
    tokio::time::sleep(QUIET).await;
    let after = client.service().heard(updated).len();
    expect(
        told == [WATCHED] && after == 1,
        format!("{told:?}, {after} in all"),
    )
}

async fn updated_on_stream(session: &Session) -> Ended {
    let filter = SubscriptionFilter::builder()
        .resource_subscription(WATCHED)
        .build();
    let mut subscription = session.client.listen(filter).await?;
    let accepted = subscription.acknowledged().clone();
    // A change outside the filter must not come before the one inside it.
    called(session, "touch", json!({ "uri": "fixture://static/gamma" })).await?;
    touch(session).await?;
    let told = next(&mut subscription).await?;
    subscription.cancel().await?;
    let good = matches!(
        &told,
        ServerNotification::ResourceUpdatedNotification(update) if update.params.uri == WATCHED
    );
    expect(good, format!("accepted {accepted:?}"))
}

async fn touch(session: &Session) -> Result<(), StepError> {
    called(session, "touch", json!({ "uri": WATCHED }))
        .await
        .map(drop)
}

async fn next(subscription: &mut Subscription) -> Result<ServerNotification, StepError> {
    subscription
        .next()
        .await?
        .ok_or_else(|| StepError::Unexpected(format!("stream ended: {:?}", subscription.end())))
}
