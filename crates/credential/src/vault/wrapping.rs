//! Response wrapping: a login's secret that reaches us inside a token which can be opened once.
//!
//! The point of it is that theft shows: whoever opens the token first is the only one who can. So a token that does not open
//! is an alarm and no reason to try anything else, and what the token wraps is looked up before it is opened.

use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use zeroize::Zeroizing;

use super::{
    answer::{Auth, Wrapping, field, part, text},
    http::Way,
    token::quote,
};
use crate::{error::Fault, secret::Secret};

/// Expected content of a wrapping token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    /// A token of Vault, as `auth/token/create` issues it.
    Token,
    /// The secret id of an AppRole.
    SecretId,
}

/// Opens wrapping tokens and keeps what was in the last one: a token opens once, and a login needs its secret again.
#[derive(Clone)]
pub(super) struct Unwrapper {
    creation_path: Arc<str>,
    opened: Arc<Mutex<Option<Opened>>>,
}

/// A wrapping token and what was in it.
struct Opened {
    wrapping: Secret,
    content: Secret,
}

impl Unwrapper {
    pub(super) fn new(creation_path: &str) -> Self {
        Self {
            creation_path: creation_path.into(),
            opened: Arc::default(),
        }
    }

    /// Returns what `wrapping` holds; opens it unless that was done before. Without a wrapping token (its file is gone, as it
    /// may be once it is used) what was in the last one still counts.
    ///
    /// # Errors
    /// `wrapping`'s own; [`Fault::WrappingRefused`], [`Fault::WrappingPath`] and what a request can meet.
    pub(super) async fn content(
        &self,
        way: &Way,
        wrapping: Result<Secret, Fault>,
        content: Content,
    ) -> Result<Secret, Fault> {
        let wrapping = match (self.opened_before(wrapping.as_ref().ok()), wrapping) {
            (Some(known), _) => return Ok(known),
            (None, wrapping) => wrapping?,
        };
        let opened = self.open(way, &wrapping, content).await;
        if let Err(fault @ (Fault::WrappingRefused | Fault::WrappingPath)) = &opened {
            tracing::error!(
                fault = fault.word(),
                hint = fault.hint(),
                "the wrapping token of the vault login is not what it should be"
            );
        }
        let opened = opened?;
        let kept = Opened {
            wrapping,
            content: copy(&opened),
        };
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(opened)
    }

    fn opened_before(&self, wrapping: Option<&Secret>) -> Option<Secret> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_ref()?;
        let same = wrapping.is_none_or(|now| now.expose() == opened.wrapping.expose());
        same.then(|| copy(&opened.content))
    }

    async fn open(&self, way: &Way, wrapping: &Secret, content: Content) -> Result<Secret, Fault> {
        let mut body = Zeroizing::new(Vec::with_capacity(1024));
        body.extend_from_slice(b"{\"token\":");
        quote(wrapping, &mut body)?;
        body.push(b'}');
        let answer = way
            .send(Method::POST, "sys/wrapping/lookup", None, Some(body))
            .await?;
        answer.success().map_err(refused)?;
        let looked: Wrapping = part(answer.envelope()?.data)?;
        // No path is no match: what cannot be checked is not opened.
        if looked.creation_path.as_deref() != Some(&*self.creation_path) {
            return Err(Fault::WrappingPath);
        }
        let answer = way
            .send(Method::POST, "sys/wrapping/unwrap", Some(wrapping), None)
            .await?;
        answer.success().map_err(refused)?;
        let envelope = answer.envelope()?;
        match content {
            Content::Token => {
                let auth: Auth<'_> = part(envelope.auth)?;
                text(auth.client_token)
            }
            Content::SecretId => field(envelope.data, "secret_id"),
        }
        .map_err(|_| Fault::Invalid)
    }
}

fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_vec())
}

/// Refusals of a wrapping token. Vault answers 400 to one that was used, has expired or never was, and 403 to some.
fn refused(fault: Fault) -> Fault {
    let is_refusal = matches!(
        fault,
        Fault::Forbidden | Fault::NotFound | Fault::Unexpected { status: 400 | 401 }
    );
    if is_refusal {
        Fault::WrappingRefused
    } else {
        fault
    }
}
