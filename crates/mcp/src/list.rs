//! Lists in replies: what they hold, and the same list with items cut out.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::json::{Kind, Raw};
use crate::method::ListKind;
use crate::{DecodeError, Response, Revision};

/// The items of a list result.
#[derive(Debug, Clone)]
pub struct Listing<'a> {
    response: &'a Response,
    member: &'static str,
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

/// The member of the result that holds the list, and the member of an item that says which one it is.
fn members(kind: ListKind) -> (&'static str, &'static str) {
    match kind {
        ListKind::Tools => ("tools", "name"),
        ListKind::Prompts => ("prompts", "name"),
        ListKind::Resources => ("resources", "uri"),
        ListKind::ResourceTemplates => ("resourceTemplates", "uriTemplate"),
        ListKind::Tasks => ("tasks", "taskId"),
        ListKind::Roots => ("roots", "uri"),
    }
}

impl<'a> Listing<'a> {
    /// The list in the result of a request of that kind; nothing if the response is an error or has no such list of objects
    /// with a string key each. A list that cannot be read cannot be judged: do not pass it on.
    pub fn read(response: &'a Response, kind: ListKind) -> Option<Self> {
        let (member, key) = members(kind);
        let list = response.result_member(member)?;
        if list.kind() != Kind::Array {
            return None;
        }
        let items: Option<Vec<_>> = list
            .items()
            .map(|raw| {
                let key = raw.member(key)?.string()?;
                Some(Item { key, raw })
            })
            .collect();
        Some(Self {
            response,
            member,
            items: items?,
        })
    }

    /// The items, in order.
    pub fn items(&self) -> &[Item<'a>] {
        &self.items
    }

    /// The response with only those items left whose place in `mask` is true (a place `mask` does not have counts as
    /// false). Order, cursor and the text of all other members stay; space between members does not. `cacheScope` becomes
    /// `private` where it is present or the revision has caching hints: what one caller may see is nobody else's to cache.
    ///
    /// # Errors
    /// If the spliced response does not pass our own rules.
    pub fn keep(&self, mask: &[bool], revision: Revision) -> Result<Response, DecodeError> {
        let kept = |place: usize| mask.get(place).copied().unwrap_or(false);
        let scope = self.response.result_member("cacheScope");
        let private = match scope {
            Some(raw) => raw.as_bytes() == PRIVATE.as_bytes(),
            None => !revision.facts().caching_hints,
        };
        if private && (0..self.items.len()).all(kept) {
            return Ok(self.response.clone());
        }
        let result = self.response.result();
        let mut out = String::with_capacity(result.map_or(2, |raw| raw.as_bytes().len() + 32));
        out.push('{');
        for (key, value) in result.into_iter().flat_map(Raw::members) {
            separate(&mut out, '{');
            out.push_str(key.as_str());
            out.push(':');
            if key.is_text(self.member) {
                out.push('[');
                for (_, item) in self
                    .items
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| kept(*place))
                {
                    separate(&mut out, '[');
                    out.push_str(item.raw.as_str());
                }
                out.push(']');
            } else if key.is_text("cacheScope") {
                out.push_str(PRIVATE);
            } else {
                out.push_str(value.as_str());
            }
        }
        if scope.is_none() && revision.facts().caching_hints {
            separate(&mut out, '{');
            out.push_str(r#""cacheScope":"#);
            out.push_str(PRIVATE);
        }
        out.push('}');
        self.response.with_result(&out)
    }
}

const PRIVATE: &str = r#""private""#;

/// A comma, unless the list or object was just opened.
fn separate(out: &mut String, open: char) {
    if !out.ends_with(open) {
        out.push(',');
    }
}
