//! The credentials of one server: a call gets all of them or none.

use std::{borrow::Cow, iter, sync::Arc};

use keepgate_call::Lease;

use crate::{
    error::{CredentialError, Fault},
    source::{Held, Source},
};

/// Times that several credentials are looked at until each may be used in the same moment.
const ROUNDS: usize = 3;

/// The credentials of one server, in the order of its configuration: one or more.
#[derive(Debug)]
pub struct CredentialSet {
    first: Arc<Source>,
    more: Box<[Arc<Source>]>,
    /// Made once, since each record of a call has it.
    text: Arc<str>,
}

/// A credential that may be used now, of each in a set and in its order.
#[derive(Debug, Clone)]
pub struct Acquired {
    first: Arc<Held>,
    /// Empty, and without memory of its own, for a server with one credential.
    more: Vec<Arc<Held>>,
}

impl CredentialSet {
    /// A set of these credentials; `None` without any.
    pub fn new(sources: impl IntoIterator<Item = Arc<Source>>) -> Option<Self> {
        let mut sources = sources.into_iter();
        let first = sources.next()?;
        let more: Box<[_]> = sources.collect();
        let mut text = first.wanted().reference.text();
        if !more.is_empty() {
            let all = iter::once(&first).chain(&more);
            let all: Vec<&str> = all.map(|it| it.wanted().reference.as_str()).collect();
            text = all.join(" ").into();
        }
        Some(Self { first, more, text })
    }

    /// The first of them.
    pub fn first(&self) -> &Arc<Source> {
        &self.first
    }

    /// All of them.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        iter::once(&self.first).chain(&self.more)
    }

    /// Their references as records have them: with spaces between, which no reference has.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether there is more than one.
    pub fn is_several(&self) -> bool {
        !self.more.is_empty()
    }

    /// The credential of each that may be used now. One after the other: that one is missing ends it.
    ///
    /// # Errors
    /// [`CredentialError`] of the first that cannot be had.
    pub async fn acquire(&self) -> Result<Acquired, CredentialError> {
        for _ in 0..ROUNDS {
            let first = self.first.acquire().await?;
            if self.more.is_empty() {
                return Ok(Acquired::from(first));
            }
            let mut more = Vec::with_capacity(self.more.len());
            for source in &self.more {
                more.push(source.acquire().await?);
            }
            let acquired = Acquired { first, more };
            // While one was fetched, another may have come to its end.
            if !acquired.iter().any(|it| it.remaining().is_zero()) {
                return Ok(acquired);
            }
        }
        Err(CredentialError {
            reference: self.first.wanted().reference.text(),
            fault: Fault::Ended,
        })
    }

    /// The credentials that may be used now without fetching anything; `None` if that is not so for each.
    pub fn held(&self) -> Option<Acquired> {
        Some(Acquired {
            first: self.first.held()?,
            more: self
                .more
                .iter()
                .map(|it| it.held())
                .collect::<Option<_>>()?,
        })
    }

    /// The server accepted none of this. It does not show which was wrong, so the next call fetches each again.
    pub fn reject(&self, acquired: &Acquired) {
        for (source, held) in self.sources().zip(acquired.iter()) {
            source.reject(held);
        }
    }

    /// The same with `chosen` instead of the one that the server gets in the same place; `None` without such a one.
    pub fn with(&self, chosen: &Arc<Source>) -> Option<Self> {
        let place = chosen.wanted().form.slots().next();
        let mut own = self.sources().map(|source| &source.wanted().form);
        let replaced = own.position(|form| form.slots().next() == place)?;
        let sources = self.sources().enumerate();
        Self::new(sources.map(|(at, source)| {
            let kept = if at == replaced { chosen } else { source };
            Arc::clone(kept)
        }))
    }
}

impl From<Arc<Held>> for Acquired {
    fn from(first: Arc<Held>) -> Self {
        Self {
            first,
            more: Vec::new(),
        }
    }
}

impl Acquired {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Held>> {
        iter::once(&self.first).chain(&self.more)
    }

    /// Grows whenever one of the secrets changes.
    pub fn generation(&self) -> u64 {
        self.iter().map(|held| held.material().generation()).sum()
    }

    /// Parameters that are added to the query of the server's URL.
    pub fn query(&self) -> Option<Cow<'_, str>> {
        let mut parts = self.iter().filter_map(|held| held.material().query());
        let first = Cow::Borrowed(parts.next()?);
        Some(parts.fold(first, |all, part| Cow::Owned(format!("{all}&{part}"))))
    }

    /// The ids of the leases; `None` without any.
    pub fn lease(&self) -> Option<Lease> {
        let lease = |held: &Arc<Held>| held.material().lease().cloned();
        if self.more.is_empty() {
            return lease(&self.first).map(Lease::One);
        }
        let all: Vec<Option<Arc<str>>> = self.iter().map(lease).collect();
        let is_leased = all.iter().any(Option::is_some);
        is_leased.then(|| Lease::Each(all.into()))
    }
}
