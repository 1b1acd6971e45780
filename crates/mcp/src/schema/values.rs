//! Validation of arguments against the whole of a tool's `inputSchema`, for servers whose operator asks for it.
//!
//! JSON Schema 2020-12 and draft 7, assertions only: `format` and other annotations assert nothing (2020-12 §7). Our own,
//! although the crate `jsonschema` is at hand, because the schema is the server's: a reference in a circle ends a
//! recursive validator's stack, and nested alternatives cost it an exponential time. Here every look is charged to a
//! budget that grows with the arguments, and what the budget does not cover is refused.

mod decimal;
mod equal;
mod evaluate;
mod pattern;
mod read;
#[cfg(test)]
mod tests;

use self::{decimal::Decimal, pattern::Pattern};
use crate::json::{Kind, Raw};

/// A schema that cannot be used for validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the schema cannot be used for validation: {reason} in `{keyword}`")]
pub struct Unusable {
    /// The keyword at fault.
    pub keyword: &'static str,
    /// Its fault, in words.
    pub reason: &'static str,
}

/// Arguments that a schema does not admit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// The value at this place breaks this keyword.
    #[error("{}", violation(.pointer, .keyword))]
    Violated {
        /// The place in `arguments`: a JSON pointer (RFC 6901), cut after 128 characters.
        pointer: Box<str>,
        /// The keyword of the schema.
        keyword: &'static str,
    },
    /// The schema asks for more looks than arguments of this size are worth.
    #[error("validation takes too many steps")]
    TooCostly,
}

/// The fault in words: a client's author has no schema at hand.
fn violation(pointer: &str, keyword: &str) -> String {
    match (pointer, keyword) {
        (missing, "required" | "dependentRequired") => {
            format!("`{missing}` is missing (`{keyword}`)")
        }
        (pointer, "false") => format!("`{pointer}` is not allowed by the schema"),
        ("", keyword) => format!("the arguments violate `{keyword}`"),
        (pointer, keyword) => format!("`{pointer}` violates `{keyword}`"),
    }
}

/// A schema, read for validation. The first node is its root's.
#[derive(Debug)]
pub struct ValueRules {
    nodes: Box<[Node]>,
    size: usize,
}

/// The assertions of one schema within the schema.
#[derive(Debug, Default)]
struct Node {
    checks: Box<[Check]>,
}

/// A place among the nodes.
type Place = u32;

/// One assertion.
#[derive(Debug)]
enum Check {
    Own(Own),
    Parts(Parts),
    Same(Same),
}

/// An assertion about a value by itself.
#[derive(Debug)]
enum Own {
    /// The schema `false`.
    Nothing,
    /// `type`.
    Type(Types),
    /// `enum`, `const`: the values, in the form of [`equal::form`], sorted.
    Listed(&'static str, Box<[Box<str>]>),
    /// `minimum` and its like.
    Compare(Comparison, Decimal),
    /// `multipleOf`.
    Multiple(Decimal),
    /// `minLength` and its like.
    Count(Counted, Bound, u64),
    /// `pattern`.
    Pattern(Pattern),
    /// `uniqueItems`.
    Unique,
}

/// An assertion about a value's members or items.
#[derive(Debug)]
enum Parts {
    /// `required`.
    Required(Box<[Box<str>]>),
    /// `dependentRequired`: with the first name, the others.
    RequiredWith(Box<str>, Box<[Box<str>]>),
    /// `dependentSchemas`: with this name, that schema.
    AppliedWith(Box<str>, Place),
    /// `properties`, `patternProperties`, `additionalProperties`, `propertyNames`.
    Members(Box<Members>),
    /// `prefixItems`, `items`.
    Elements(Box<[Place]>, Option<Place>),
    /// `contains`, with how many at least and at most.
    Contains(Place, u64, Option<u64>),
}

/// Schemas that apply to the same value.
#[derive(Debug)]
enum Same {
    /// `allOf`, `$ref`.
    All(Box<[Place]>),
    /// `anyOf`.
    Any(Box<[Place]>),
    /// `oneOf`.
    One(Box<[Place]>),
    /// `not`.
    Not(Place),
    /// `if`, `then`, `else`.
    If(Place, Option<Place>, Option<Place>),
}

/// The schemas of an object's members.
#[derive(Debug, Default)]
struct Members {
    /// Sorted by name.
    declared: Box<[(Box<str>, Place)]>,
    patterns: Box<[(Pattern, Place)]>,
    others: Option<Place>,
    names: Option<Place>,
}

/// A set of types, a bit for each.
#[derive(Debug, Clone, Copy, Default)]
struct Types(u8);

impl Types {
    const NAMES: [(&'static str, u8); 7] = [
        ("null", 1),
        ("boolean", 2),
        ("string", 4),
        ("array", 8),
        ("object", 16),
        ("number", 32),
        ("integer", 64),
    ];

    /// With the type of this name; none if there is no such type.
    fn with(self, name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name)?;
        Some(Self(self.0 | known.1))
    }

    fn have(self, value: Raw<'_>) -> bool {
        let bits = match value.kind() {
            Kind::Null => 1,
            Kind::Bool => 2,
            Kind::String => 4,
            Kind::Array => 8,
            Kind::Object => 16,
            Kind::Number if Decimal::of(value).is_some_and(|number| number.is_integer()) => 32 | 64,
            Kind::Number => 32,
        };
        self.0 & bits != 0
    }
}

/// Bounds of a number.
#[derive(Debug, Clone, Copy)]
enum Comparison {
    Minimum,
    Above,
    Maximum,
    Below,
}

impl Comparison {
    const ALL: [Self; 4] = [Self::Minimum, Self::Above, Self::Maximum, Self::Below];

    fn keyword(self) -> &'static str {
        match self {
            Self::Minimum => "minimum",
            Self::Above => "exclusiveMinimum",
            Self::Maximum => "maximum",
            Self::Below => "exclusiveMaximum",
        }
    }

    fn admits(self, value: &Decimal, bound: &Decimal) -> bool {
        let order = value.cmp(bound);
        match self {
            Self::Minimum => order.is_ge(),
            Self::Above => order.is_gt(),
            Self::Maximum => order.is_le(),
            Self::Below => order.is_lt(),
        }
    }
}

/// Values whose parts are counted.
#[derive(Debug, Clone, Copy)]
enum Counted {
    Characters,
    Items,
    Members,
}

/// The direction of a bound.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Least,
    Most,
}

/// The keywords that count.
const COUNTS: [(&str, Counted, Bound); 6] = [
    ("minLength", Counted::Characters, Bound::Least),
    ("maxLength", Counted::Characters, Bound::Most),
    ("minItems", Counted::Items, Bound::Least),
    ("maxItems", Counted::Items, Bound::Most),
    ("minProperties", Counted::Members, Bound::Least),
    ("maxProperties", Counted::Members, Bound::Most),
];

impl ValueRules {
    /// Reads a schema; none, and what is no object, admits any arguments.
    ///
    /// # Errors
    /// A schema with a keyword that cannot be evaluated, or one over a limit.
    pub fn read(schema: Option<Raw<'_>>) -> Result<Self, Unusable> {
        match schema.filter(|schema| schema.is_object()) {
            Some(schema) => read::schema(schema),
            None => Ok(Self {
                nodes: Box::default(),
                size: size_of::<Self>(),
            }),
        }
    }

    /// Validates arguments.
    ///
    /// # Errors
    /// The first place that violates the schema, or a schema that costs too much.
    pub fn check(&self, arguments: Raw<'_>) -> Result<(), ValueFault> {
        evaluate::check(&self.nodes, arguments)
    }

    /// Bytes of memory it holds, about.
    pub fn size(&self) -> usize {
        self.size
    }
}
