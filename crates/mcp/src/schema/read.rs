//! From a schema's text to the names it declares.
//!
//! Each schema within the schema becomes a part; parts that apply to the same value (`allOf`, `anyOf`, a `$ref`) are joined,
//! so that a name declared in any of them is declared. References are followed within the document only.

use std::collections::{BTreeMap, HashMap};

use super::{Additional, Declared, InputSchema, MAX_NODES, Node, TooLarge, reference::References};
use crate::fold::folded;
use crate::json::{Kind, Raw};
use crate::mirror;

/// Deepest nesting of schemas that is followed.
const MAX_DEPTH: usize = 48;
/// Most parts that are joined into one.
const MAX_JOINED: usize = 64;
/// Most names and places that are kept, over all parts and nodes: joining could multiply them.
const MAX_ENTRIES: usize = 100_000;
/// One schema within the schema, by the places of those it holds.
#[derive(Debug, Default)]
struct Part {
    properties: Vec<(Box<str>, u32)>,
    items: Vec<u32>,
    others: Vec<u32>,
    /// Those that apply to the same value.
    joined: Vec<u32>,
}

struct Reader<'a> {
    references: References<'a>,
    parts: Vec<Part>,
    /// The part of each schema, by the address of its text: references may lead in circles.
    places: HashMap<usize, u32>,
    /// Schemas that declare a header.
    mirrored: usize,
    /// Names and places that may still be kept.
    left: usize,
}

/// Reads a schema that is an object.
pub(super) fn schema(root: Raw<'_>) -> Result<InputSchema, TooLarge> {
    let mut reader = Reader {
        references: References::new(root),
        parts: Vec::new(),
        places: HashMap::new(),
        mirrored: 0,
        left: MAX_ENTRIES,
    };
    reader.visit(root, 0)?;
    let mirrors = mirror::declared(root).and_then(|found| {
        // One that no chain of `properties` leads to is out of place.
        if found.len() == reader.mirrored {
            Ok(found.into())
        } else {
            Err(mirror::InvalidMirror)
        }
    });
    Ok(InputSchema {
        nodes: reader.nodes()?,
        additional: additional(root),
        mirrors,
    })
}

fn additional(root: Raw<'_>) -> Additional {
    let mut declares = false;
    let mut said = Additional::Plain;
    for (key, value) in root.members() {
        match key.string().as_deref() {
            Some("properties") => declares = value.kind() == Kind::Object,
            Some("additionalProperties" | "unevaluatedProperties")
                if value.bool() == Some(false) =>
            {
                if said == Additional::Plain {
                    said = Additional::Closed;
                }
            }
            Some(
                "additionalProperties"
                | "unevaluatedProperties"
                | "patternProperties"
                | "propertyNames"
                | "$ref"
                | "$dynamicRef"
                | "$recursiveRef"
                | "allOf"
                | "anyOf"
                | "oneOf"
                | "not"
                | "if"
                | "then"
                | "else"
                | "dependentSchemas"
                | "dependencies",
            ) => said = Additional::Open,
            Some(_) | None => {}
        }
    }
    // `{"type": "object", "additionalProperties": false}` is how the specification has a tool without arguments.
    if declares || said == Additional::Closed {
        said
    } else {
        Additional::Open
    }
}

impl<'a> Reader<'a> {
    /// The part of a schema; none for what is no object.
    fn visit(&mut self, schema: Raw<'a>, depth: usize) -> Result<Option<u32>, TooLarge> {
        if schema.kind() != Kind::Object || depth > MAX_DEPTH {
            return Ok(None);
        }
        let address = schema.as_bytes().as_ptr().addr();
        if let Some(place) = self.places.get(&address) {
            return Ok(Some(*place));
        }
        let place = u32::try_from(self.parts.len()).map_err(|_| TooLarge)?;
        if self.parts.len() >= MAX_NODES {
            return Err(TooLarge);
        }
        self.places.insert(address, place);
        self.parts.push(Part::default());
        let mut part = Part::default();
        for (key, value) in schema.members() {
            let Some(keyword) = key.string() else {
                continue;
            };
            self.keyword(&keyword, value, depth + 1, &mut part)?;
        }
        self.keep(
            part.properties.len() + part.items.len() + part.others.len() + part.joined.len(),
        )?;
        if let Some(slot) = self.parts.get_mut(place as usize) {
            *slot = part;
        }
        Ok(Some(place))
    }

    /// Takes so many entries from what may be kept.
    fn keep(&mut self, count: usize) -> Result<(), TooLarge> {
        self.left = self.left.checked_sub(count).ok_or(TooLarge)?;
        Ok(())
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: Raw<'a>,
        depth: usize,
        part: &mut Part,
    ) -> Result<(), TooLarge> {
        match keyword {
            mirror::KEYWORD => self.mirrored += 1,
            "properties" => {
                for (name, schema) in value.members() {
                    let name = name.string().unwrap_or_default().into();
                    // A property that may be anything (`true`) is declared all the same.
                    let place = self.visit(schema, depth)?.unwrap_or(u32::MAX);
                    part.properties.push((name, place));
                }
            }
            "items" | "prefixItems" | "additionalItems" | "unevaluatedItems" | "contains" => {
                self.all(value, depth, &mut part.items)?;
            }
            "additionalProperties" | "unevaluatedProperties" => {
                part.others.extend(self.visit(value, depth)?);
            }
            "patternProperties" => {
                for (_, schema) in value.members() {
                    part.others.extend(self.visit(schema, depth)?);
                }
            }
            "allOf" | "anyOf" | "oneOf" | "if" | "then" | "else" => {
                self.all(value, depth, &mut part.joined)?;
            }
            "dependentSchemas" | "dependencies" => {
                for (_, schema) in value.members() {
                    part.joined.extend(self.visit(schema, depth)?);
                }
            }
            "$ref" => {
                if let Some(schema) = value
                    .string()
                    .and_then(|text| self.references.schema(&text))
                {
                    part.joined.extend(self.visit(schema, depth)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A schema, or a list of schemas.
    fn all(&mut self, value: Raw<'a>, depth: usize, into: &mut Vec<u32>) -> Result<(), TooLarge> {
        if value.kind() == Kind::Array {
            for schema in value.items() {
                into.extend(self.visit(schema, depth)?);
            }
        } else {
            into.extend(self.visit(value, depth)?);
        }
        Ok(())
    }

    /// The parts a value is read by, joined into nodes; those that declare nothing and lead to nothing are left out.
    fn nodes(self) -> Result<Box<[Node]>, TooLarge> {
        let mut left = self.left;
        let matters = self.matters();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::from([(0, 0)]);
        let mut order = vec![0_u32];
        let mut nodes = Vec::new();
        let mut at = 0;
        while let Some(place) = order.get(at).copied() {
            at += 1;
            let mut number = |child: u32| {
                let matters = matters.get(child as usize).copied().unwrap_or(false);
                matters.then(|| {
                    *numbers.entry(child).or_insert_with(|| {
                        order.push(child);
                        u32::try_from(order.len() - 1).unwrap_or(u32::MAX)
                    })
                })
            };
            let (group, count) = self.group(place);
            left = left.checked_sub(count).ok_or(TooLarge)?;
            nodes.push(joined(&group, &mut number));
        }
        Ok(nodes.into())
    }

    /// A part and those that apply to the same value, and how many entries they have together.
    fn group(&self, place: u32) -> (Vec<&Part>, usize) {
        let mut places = vec![place];
        let (mut group, mut count) = (Vec::new(), 0);
        let mut at = 0;
        while let Some(part) = places
            .get(at)
            .and_then(|place| self.parts.get(*place as usize))
        {
            at += 1;
            count += part.properties.len() + part.items.len() + part.others.len();
            for more in &part.joined {
                if places.len() < MAX_JOINED && !places.contains(more) {
                    places.push(*more);
                }
            }
            group.push(part);
        }
        (group, count)
    }

    /// Whether each part declares names, or leads to some that do.
    fn matters(&self) -> Vec<bool> {
        let mut leads: Vec<Vec<u32>> = vec![Vec::new(); self.parts.len()];
        let mut matters = vec![false; self.parts.len()];
        let mut found = Vec::new();
        for (place, part) in (0_u32..).zip(&self.parts) {
            let properties = part.properties.iter().map(|(_, child)| child);
            let children = properties
                .chain(&part.items)
                .chain(&part.others)
                .chain(&part.joined);
            for child in children {
                if let Some(leads) = leads.get_mut(*child as usize) {
                    leads.push(place);
                }
            }
            if !part.properties.is_empty() {
                found.push(place);
            }
        }
        while let Some(place) = found.pop() {
            match matters.get_mut(place as usize) {
                Some(mark) if !*mark => *mark = true,
                Some(_) | None => continue,
            }
            found.extend(leads.get(place as usize).into_iter().flatten());
        }
        matters
    }
}

/// The node of parts that apply to the same value.
fn joined(group: &[&Part], number: &mut impl FnMut(u32) -> Option<u32>) -> Node {
    let mut declared: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let (mut items, mut others) = (Vec::new(), Vec::new());
    for part in group {
        for (name, child) in &part.properties {
            declared.entry(name).or_default().extend(number(*child));
        }
        items.extend(part.items.iter().filter_map(|child| number(*child)));
        others.extend(part.others.iter().filter_map(|child| number(*child)));
    }
    let mut folds: Vec<Box<str>> = declared
        .keys()
        .map(|name| folded(name).as_ref().into())
        .collect();
    folds.sort_unstable();
    let has_twins = folds
        .windows(2)
        .any(|pair| matches!(pair, [one, two] if one == two));
    folds.dedup();
    Node {
        declared: declared
            .into_iter()
            .map(|(name, nodes)| Declared {
                name: name.into(),
                nodes: nodes.into(),
            })
            .collect(),
        folded: folds.into(),
        has_twins,
        items: items.into(),
        others: others.into(),
    }
}
