//! Arguments against what is declared: names only.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{InputSchema, Node};
use crate::fold::{folded, twin};
use crate::json::{Kind, Raw};

/// Most parts of a composed schema that one object is held against.
const MAX_PARTS: usize = 16;

/// Arguments that some reader takes for others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentFault {
    /// `arguments` is something else than an object.
    #[error("`arguments` is not an object")]
    NotAnObject,
    /// A name equals another one, or a declared one, for a reader that ignores case.
    #[error("an argument differs from `{0}` in letter case or form only")]
    Twin(Box<str>),
}

/// The keys of arguments that the schema does not declare.
pub type Undeclared<'a> = SmallVec<[Raw<'a>; 4]>;

type Parts<'s> = SmallVec<[&'s Node; 4]>;

impl InputSchema {
    /// Holds arguments against the schema: at the top, and in nested objects for which it declares properties.
    ///
    /// # Errors
    /// The first name that can be taken for another, or arguments that are no object.
    pub fn check<'a>(&self, arguments: Raw<'a>) -> Result<Undeclared<'a>, ArgumentFault> {
        if arguments.kind() != Kind::Object {
            return Err(ArgumentFault::NotAnObject);
        }
        let root: Parts<'_> = self.nodes.first().into_iter().collect();
        let mut undeclared = Undeclared::new();
        self.object(arguments, &root, &mut undeclared)?;
        Ok(undeclared)
    }

    /// One object that the schema speaks of.
    fn object<'a>(
        &self,
        object: Raw<'a>,
        parts: &[&Node],
        undeclared: &mut Undeclared<'a>,
    ) -> Result<(), ArgumentFault> {
        // Where nothing declares a name, or two declared ones are twins, the names of the call are compared with each other.
        let mut compare = parts.iter().any(|part| part.has_twins);
        for (key, value) in object.members() {
            let name = key.string().unwrap_or_default();
            let mut declared = false;
            let mut inner = Parts::new();
            for part in parts {
                match part.find(&name) {
                    Some(nodes) => {
                        declared = true;
                        self.push(&mut inner, nodes);
                    }
                    None => self.push(&mut inner, &part.others),
                }
            }
            if !declared {
                compare = true;
                let folded = folded(&name);
                if parts.iter().any(|part| part.has_folded(&folded)) {
                    return Err(ArgumentFault::Twin(folded.as_ref().into()));
                }
                undeclared.push(key);
            }
            self.value(value, &inner)?;
        }
        if compare {
            let names: Vec<Cow<'a, str>> = object
                .members()
                .filter_map(|(key, _)| key.string())
                .collect();
            if let Some(name) = twin(names.iter().map(|name| &**name)) {
                return Err(ArgumentFault::Twin(name.as_ref().into()));
            }
        }
        Ok(())
    }

    /// A value below: an object only if it has declared names.
    fn value(&self, value: Raw<'_>, parts: &[&Node]) -> Result<(), ArgumentFault> {
        if parts.is_empty() {
            return Ok(());
        }
        match value.kind() {
            Kind::Object if parts.iter().any(|part| !part.declared.is_empty()) => {
                self.object(value, parts, &mut Undeclared::new())
            }
            Kind::Object => {
                let mut inner = Parts::new();
                for part in parts {
                    self.push(&mut inner, &part.others);
                }
                let mut members = value.members();
                members.try_for_each(|(_, member)| self.value(member, &inner))
            }
            Kind::Array => {
                let mut inner = Parts::new();
                for part in parts {
                    self.push(&mut inner, &part.items);
                }
                value.items().try_for_each(|item| self.value(item, &inner))
            }
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => Ok(()),
        }
    }

    fn push<'s>(&'s self, parts: &mut Parts<'s>, nodes: &[u32]) {
        for node in nodes {
            let Some(node) = self.nodes.get(*node as usize) else {
                continue;
            };
            if parts.len() < MAX_PARTS && !parts.iter().any(|part| std::ptr::eq(*part, node)) {
                parts.push(node);
            }
        }
    }
}

impl Node {
    fn find(&self, name: &str) -> Option<&[u32]> {
        let at = self
            .declared
            .binary_search_by(|declared| (*declared.name).cmp(name));
        at.ok()
            .and_then(|at| self.declared.get(at))
            .map(|declared| &*declared.nodes)
    }

    fn has_folded(&self, name: &str) -> bool {
        self.folded
            .binary_search_by(|folded| (**folded).cmp(name))
            .is_ok()
    }
}
