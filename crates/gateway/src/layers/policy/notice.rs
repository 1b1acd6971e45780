//! Notifications of clients: those the revision knows, with the members their method defines and no others.
//!
//! Nobody answers a notification, so nobody would notice what else it carries: a server that reads more than the
//! specification has in it would get it past every policy. What is not declared is left out; `_meta` passes.

use keepgate_call::{Changed, Code, Refusal};
use keepgate_mcp::{
    id::Id,
    json::{Kind, Raw},
    message::{Message, Notification},
    method::{Direction, Method},
};
use tracing::debug;

use super::{super::session::Bound, unknown_method};

/// The form of a member.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// An id or a token: a string or an integer.
    Id,
    Text,
    Number,
}

/// A member of `params`.
type Member = (&'static str, Shape);

const CANCELLED: &[Member] = &[("requestId", Shape::Id), ("reason", Shape::Text)];
const PROGRESS: &[Member] = &[
    ("progressToken", Shape::Id),
    ("progress", Shape::Number),
    ("total", Shape::Number),
    ("message", Shape::Text),
];
/// The members a notification of a client may have in addition to `_meta`; `None` for what is none.
fn members(method: &Method) -> Option<&'static [Member]> {
    // Nothing of tasks: they are passed on in neither direction.
    // Not by exhaustion: a method added to the specification has no members until they are written down here.
    [
        (Method::Initialized, &[][..]),
        (Method::RootsChanged, &[]),
        (Method::Cancelled, CANCELLED),
        (Method::Progress, PROGRESS),
    ]
    .into_iter()
    .find_map(|(known, members)| (known == *method).then_some(members))
}

/// Checks a notification, and leaves out of what is sent what its method does not define.
///
/// # Errors
/// `method_unknown` for a notification that the revision does not have, `params_invalid` for a member of another form,
/// `response_foreign` for progress that nobody asked this session for.
pub(super) fn check(bound: &Bound, notification: &Notification) -> Result<(), Refusal> {
    let call = &bound.call;
    let method = notification.method();
    let refused = || unknown_method(method.as_str());
    // A request without an id is a notification by form alone: it would be carried out unjudged.
    if !method.is_notification() || !call.revision.permits(method, Direction::ToServer) {
        return Err(refused());
    }
    let declared = members(method).ok_or_else(refused)?;
    let narrowed = narrowed(notification, declared)?;
    if *method == Method::Progress && !is_awaited(bound, notification) {
        return Err(Refusal::new(Code::ResponseForeign));
    }
    if let Some(narrowed) = narrowed {
        debug!(
            method = method.as_str(),
            "left out undeclared members of a notification"
        );
        call.carried.change(Changed {
            message: Message::Notification(narrowed),
            params: Vec::new(),
        });
    }
    Ok(())
}

/// Whether the server asked this session for progress under the token it is reported with.
fn is_awaited(bound: &Bound, notification: &Notification) -> bool {
    let token = notification.param("progressToken").and_then(Id::from_raw);
    let session = bound.session.session();
    session
        .zip(token)
        .is_some_and(|(session, token)| session.awaits_progress(&token))
}

/// The notification without what is not declared; `None` if nothing has to go. Members next to `params` were refused when it
/// was read.
fn narrowed(
    notification: &Notification,
    declared: &[Member],
) -> Result<Option<Notification>, Refusal> {
    let mut is_whole = true;
    let mut kept = Vec::new();
    for (name, value) in notification.params().into_iter().flat_map(Raw::members) {
        match declared.iter().find(|(key, _)| name.is_text(key)) {
            Some((key, shape)) if !shape.fits(value) => {
                let detail = format!("`{key}` of a notification has another form");
                return Err(Refusal::new(Code::ParamsInvalid).detail(detail));
            }
            None if !name.is_text("_meta") => {
                is_whole = false;
                continue;
            }
            Some(_) | None => {}
        }
        kept.push(format!("{}:{}", name.as_str(), value.as_str()));
    }
    if is_whole {
        return Ok(None);
    }
    let narrowed = notification.with_params(&format!("{{{}}}", kept.join(",")));
    narrowed
        .map(Some)
        .map_err(|error| Refusal::new(Code::Internal).source(error))
}

impl Shape {
    fn fits(self, value: Raw<'_>) -> bool {
        match self {
            Self::Id => Id::from_raw(value).is_some(),
            Self::Text => value.kind() == Kind::String,
            Self::Number => value.kind() == Kind::Number,
        }
    }
}
