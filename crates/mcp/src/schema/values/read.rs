//! From a schema's text to its assertions.
//!
//! Sibling keywords of a `$ref` hold, as in 2020-12; draft 7 ignores them, so a server of that draft may admit more. What cannot
//! be evaluated makes the schema unusable: half a validation would be taken for a whole one.

use std::collections::HashMap;

use super::{
    Bound, COUNTS, Check, Comparison, Members, Node, Own, Parts, Place, Same, Types, Unusable,
    ValueRules, decimal::Decimal, equal, pattern::Pattern,
};
use crate::json::{Kind, Raw};
use crate::schema::{MAX_BYTES, MAX_NODES, reference::References};

/// Memory of all patterns of one schema.
const MAX_PATTERNS: usize = 4 << 20;

/// Keywords that change what others mean, and are not evaluated.
const UNKNOWN: [&str; 4] = [
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedItems",
    "divisibleBy",
];

struct Reader<'a> {
    references: References<'a>,
    /// The place of each schema, by the address of its text: references may lead in circles.
    places: HashMap<usize, Place>,
    /// Schemas in the order of their places.
    schemas: Vec<Raw<'a>>,
    patterns: usize,
    size: usize,
}

/// The keywords of one object that are read together.
#[derive(Default)]
struct Joint<'a> {
    properties: Option<Raw<'a>>,
    patterns: Option<Raw<'a>>,
    others: Option<Raw<'a>>,
    names: Option<Raw<'a>>,
    items: Option<Raw<'a>>,
    prefix: Option<Raw<'a>>,
    additional_items: Option<Raw<'a>>,
    contains: Option<Raw<'a>>,
    contained: (Option<Raw<'a>>, Option<Raw<'a>>),
    condition: Option<Raw<'a>>,
    branches: (Option<Raw<'a>>, Option<Raw<'a>>),
}

fn unusable(keyword: &'static str, reason: &'static str) -> Unusable {
    Unusable { keyword, reason }
}

const MALFORMED: &str = "a malformed value";
const NOT_READ: &str = "a meaning that is not evaluated";
const TOO_MUCH: &str = "too much";

/// Reads a schema that is an object.
pub(super) fn schema(root: Raw<'_>) -> Result<ValueRules, Unusable> {
    if root.as_bytes().len() > MAX_BYTES {
        return Err(unusable("inputSchema", TOO_MUCH));
    }
    let mut reader = Reader {
        references: References::new(root),
        places: HashMap::new(),
        schemas: Vec::new(),
        patterns: 0,
        size: 0,
    };
    reader.place(root)?;
    let mut nodes = Vec::new();
    while let Some(schema) = reader.schemas.get(nodes.len()).copied() {
        nodes.push(reader.node(schema, nodes.is_empty())?);
    }
    // The texts of values and names are in the schema too, so its length bounds them.
    let size = reader.size + reader.patterns + 3 * root.as_bytes().len();
    Ok(ValueRules {
        nodes: nodes.into(),
        size,
    })
}

impl<'a> Reader<'a> {
    /// The place of a schema; it is read when its turn comes.
    fn place(&mut self, schema: Raw<'a>) -> Result<Place, Unusable> {
        let address = schema.as_bytes().as_ptr().addr();
        if let Some(place) = self.places.get(&address) {
            return Ok(*place);
        }
        if self.schemas.len() >= MAX_NODES {
            return Err(unusable("inputSchema", TOO_MUCH));
        }
        let place =
            Place::try_from(self.schemas.len()).map_err(|_| unusable("inputSchema", TOO_MUCH))?;
        self.places.insert(address, place);
        self.schemas.push(schema);
        Ok(place)
    }

    fn node(&mut self, schema: Raw<'a>, is_root: bool) -> Result<Node, Unusable> {
        let mut checks = Vec::new();
        match (schema.kind(), schema.bool()) {
            (Kind::Object, _) => {
                let mut joint = Joint::default();
                for (key, value) in schema.members() {
                    let keyword = key.string().unwrap_or_default();
                    if keyword == "$id" && !is_root {
                        return Err(unusable("$id", NOT_READ));
                    }
                    self.keyword(&keyword, value, &mut joint, &mut checks)?;
                }
                self.joint(&joint, &mut checks)?;
            }
            (_, Some(true)) => {}
            (_, Some(false)) => checks.push(Check::Own(Own::Nothing)),
            _ => return Err(unusable("inputSchema", MALFORMED)),
        }
        self.size += size_of::<Node>() + checks.len() * size_of::<Check>();
        Ok(Node {
            checks: checks.into(),
        })
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: Raw<'a>,
        joint: &mut Joint<'a>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Unusable> {
        match keyword {
            "type" => checks.push(Check::Own(Own::Type(types(value)?))),
            "enum" if value.kind() == Kind::Array => {
                checks.push(listed("enum", value.items()));
            }
            "enum" => return Err(unusable("enum", MALFORMED)),
            "const" => checks.push(listed("const", std::iter::once(value))),
            "multipleOf" => {
                let unit = Decimal::of(value).filter(Decimal::is_positive);
                checks.push(Check::Own(Own::Multiple(
                    unit.ok_or_else(|| unusable("multipleOf", MALFORMED))?,
                )));
            }
            "pattern" => {
                let text = value
                    .string()
                    .ok_or_else(|| unusable("pattern", MALFORMED))?;
                checks.push(Check::Own(Own::Pattern(self.pattern(&text, "pattern")?)));
            }
            "uniqueItems" => match value.bool() {
                Some(true) => checks.push(Check::Own(Own::Unique)),
                Some(false) => {}
                None => return Err(unusable("uniqueItems", MALFORMED)),
            },
            "required" => checks.push(Check::Parts(Parts::Required(names(value, "required")?))),
            "dependentRequired" => {
                for (name, others) in object(value, "dependentRequired")?.members() {
                    let name = name.string().unwrap_or_default();
                    let others = names(others, "dependentRequired")?;
                    checks.push(Check::Parts(Parts::RequiredWith(name.into(), others)));
                }
            }
            "dependentSchemas" | "dependencies" => self.dependent(value, checks)?,
            "allOf" => checks.push(Check::Same(Same::All(self.all(value, "allOf")?))),
            "anyOf" => checks.push(Check::Same(Same::Any(self.all(value, "anyOf")?))),
            "oneOf" => checks.push(Check::Same(Same::One(self.all(value, "oneOf")?))),
            "not" => checks.push(Check::Same(Same::Not(self.place(value)?))),
            "$ref" => {
                let reference = value.string().ok_or_else(|| unusable("$ref", MALFORMED))?;
                let schema = self.references.schema(&reference);
                let schema =
                    schema.ok_or_else(|| unusable("$ref", "no schema of this document"))?;
                checks.push(Check::Same(Same::All([self.place(schema)?].into())));
            }
            "unevaluatedProperties" if value.bool() != Some(true) => {
                return Err(unusable("unevaluatedProperties", NOT_READ));
            }
            _ => return noted(keyword, value, joint, checks),
        }
        Ok(())
    }

    fn dependent(&mut self, value: Raw<'a>, checks: &mut Vec<Check>) -> Result<(), Unusable> {
        for (name, schema) in object(value, "dependentSchemas")?.members() {
            let name = name.string().unwrap_or_default().into();
            checks.push(match schema.kind() {
                Kind::Array => {
                    Check::Parts(Parts::RequiredWith(name, names(schema, "dependencies")?))
                }
                Kind::Object | Kind::Bool | Kind::Null | Kind::Number | Kind::String => {
                    Check::Parts(Parts::AppliedWith(name, self.place(schema)?))
                }
            });
        }
        Ok(())
    }

    /// The assertions that several keywords make together.
    fn joint(&mut self, joint: &Joint<'a>, checks: &mut Vec<Check>) -> Result<(), Unusable> {
        let is_any = |value: &Option<Raw<'_>>| value.is_none();
        if ![
            &joint.properties,
            &joint.patterns,
            &joint.others,
            &joint.names,
        ]
        .into_iter()
        .all(is_any)
        {
            checks.push(Check::Parts(Parts::Members(Box::new(self.members(joint)?))));
        }
        // An array under `items` is draft 7's spelling of `prefixItems`; then `additionalItems` are the others.
        let (first, others) = match (joint.prefix, joint.items) {
            (None, Some(items)) if items.kind() == Kind::Array => {
                (Some(items), joint.additional_items)
            }
            (prefix, items) => (prefix, items),
        };
        if first.is_some() || others.is_some() {
            let first = match first {
                Some(list) => self.all(list, "prefixItems")?,
                None => Box::default(),
            };
            let others = others.map(|schema| self.place(schema)).transpose()?;
            checks.push(Check::Parts(Parts::Elements(first, others)));
        }
        if let Some(schema) = joint.contains {
            let (least, most) = joint.contained;
            let least = least.map_or(Ok(1), |value| count(value, "minContains"))?;
            let most = most.map(|value| count(value, "maxContains")).transpose()?;
            checks.push(Check::Parts(Parts::Contains(
                self.place(schema)?,
                least,
                most,
            )));
        }
        if let Some(condition) = joint.condition {
            let (then, otherwise) = joint.branches;
            let then = then.map(|schema| self.place(schema)).transpose()?;
            let otherwise = otherwise.map(|schema| self.place(schema)).transpose()?;
            checks.push(Check::Same(Same::If(
                self.place(condition)?,
                then,
                otherwise,
            )));
        }
        Ok(())
    }

    fn members(&mut self, joint: &Joint<'a>) -> Result<Members, Unusable> {
        let mut declared: Vec<(Box<str>, Place)> = Vec::new();
        for (name, schema) in joint.properties.into_iter().flat_map(Raw::members) {
            let name = name.string().unwrap_or_default();
            declared.push((name.into(), self.place(schema)?));
        }
        declared.sort_unstable();
        let mut patterns = Vec::new();
        for (pattern, schema) in joint.patterns.into_iter().flat_map(Raw::members) {
            let pattern = pattern.string().unwrap_or_default();
            let pattern = self.pattern(&pattern, "patternProperties")?;
            patterns.push((pattern, self.place(schema)?));
        }
        self.size += declared.len() * size_of::<(Box<str>, Place)>();
        Ok(Members {
            declared: declared.into(),
            patterns: patterns.into(),
            others: joint.others.map(|schema| self.place(schema)).transpose()?,
            names: joint.names.map(|schema| self.place(schema)).transpose()?,
        })
    }

    fn all(&mut self, value: Raw<'a>, keyword: &'static str) -> Result<Box<[Place]>, Unusable> {
        if value.kind() != Kind::Array {
            return Err(unusable(keyword, MALFORMED));
        }
        value.items().map(|schema| self.place(schema)).collect()
    }

    fn pattern(&mut self, text: &str, keyword: &'static str) -> Result<Pattern, Unusable> {
        let pattern = Pattern::new(text)
            .ok_or_else(|| unusable(keyword, "an expression that is not regular, or too large"))?;
        self.patterns += pattern.size();
        if self.patterns > MAX_PATTERNS {
            return Err(unusable(keyword, TOO_MUCH));
        }
        Ok(pattern)
    }
}

/// Keywords that are read by themselves, those that wait for others, and annotations.
fn noted<'a>(
    keyword: &str,
    value: Raw<'a>,
    joint: &mut Joint<'a>,
    checks: &mut Vec<Check>,
) -> Result<(), Unusable> {
    if let Some(unknown) = UNKNOWN.iter().find(|unknown| **unknown == keyword) {
        return Err(unusable(unknown, NOT_READ));
    }
    if let Some(comparison) = Comparison::ALL
        .iter()
        .find(|known| known.keyword() == keyword)
    {
        // Draft 4 has `exclusiveMinimum: true`.
        let bound = Decimal::of(value).ok_or_else(|| unusable(comparison.keyword(), MALFORMED))?;
        checks.push(Check::Own(Own::Compare(*comparison, bound)));
        return Ok(());
    }
    if let Some((name, counted, bound)) = COUNTS.iter().find(|(name, ..)| *name == keyword) {
        let limit = count(value, name)?;
        // None at least is no assertion.
        if !matches!((bound, limit), (Bound::Least, 0)) {
            checks.push(Check::Own(Own::Count(*counted, *bound, limit)));
        }
        return Ok(());
    }
    match keyword {
        "properties" => joint.properties = Some(object(value, "properties")?),
        "patternProperties" => joint.patterns = Some(object(value, "patternProperties")?),
        "additionalProperties" => joint.others = Some(value),
        "propertyNames" => joint.names = Some(value),
        "items" => joint.items = Some(value),
        "prefixItems" => joint.prefix = Some(value),
        "additionalItems" => joint.additional_items = Some(value),
        "contains" => joint.contains = Some(value),
        "minContains" => joint.contained.0 = Some(value),
        "maxContains" => joint.contained.1 = Some(value),
        "if" => joint.condition = Some(value),
        "then" => joint.branches.0 = Some(value),
        "else" => joint.branches.1 = Some(value),
        _ => {}
    }
    Ok(())
}

fn types(value: Raw<'_>) -> Result<Types, Unusable> {
    let malformed = unusable("type", MALFORMED);
    let with = |types: Types, name: Raw<'_>| {
        let name = name.string().ok_or(malformed)?;
        types.with(&name).ok_or(malformed)
    };
    match value.kind() {
        Kind::String => with(Types::default(), value),
        Kind::Array => value.items().try_fold(Types::default(), with),
        Kind::Null | Kind::Bool | Kind::Number | Kind::Object => Err(malformed),
    }
}

fn listed<'a>(keyword: &'static str, values: impl Iterator<Item = Raw<'a>>) -> Check {
    let mut forms: Vec<Box<str>> = values.map(|value| equal::form(value).into()).collect();
    forms.sort_unstable();
    Check::Own(Own::Listed(keyword, forms.into()))
}

fn names(value: Raw<'_>, keyword: &'static str) -> Result<Box<[Box<str>]>, Unusable> {
    let malformed = unusable(keyword, MALFORMED);
    if value.kind() != Kind::Array {
        return Err(malformed);
    }
    let names = value.items();
    names
        .map(|name| {
            name.string()
                .map(|name| name.as_ref().into())
                .ok_or(malformed)
        })
        .collect()
}

fn object<'a>(value: Raw<'a>, keyword: &'static str) -> Result<Raw<'a>, Unusable> {
    Some(value)
        .filter(|value| value.is_object())
        .ok_or_else(|| unusable(keyword, MALFORMED))
}

fn count(value: Raw<'_>, keyword: &'static str) -> Result<u64, Unusable> {
    Decimal::of(value)
        .and_then(|number| number.count())
        .ok_or_else(|| unusable(keyword, MALFORMED))
}
