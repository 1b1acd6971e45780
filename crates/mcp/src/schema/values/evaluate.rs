//! Arguments held against the nodes of a schema, each look charged.

use super::{
    Bound, Check, Counted, Decimal, Members, Node, Own, Parts, Place, Same, ValueFault, equal,
};
use crate::json::{Kind, Raw, pointer_step};
use crate::steps;

/// Steps that any arguments are worth, and those for each of their bytes.
const STEPS: usize = 100_000;
const STEPS_PER_BYTE: usize = 8;
/// Most schemas applied within each other: a reference may lead in a circle without going down in the value.
const MAX_DEPTH: usize = 192;
/// Longest pointer in a fault, in characters.
const MAX_POINTER: usize = 128;

/// The way from the arguments to a value.
#[derive(Clone, Copy)]
enum Way<'w> {
    Root,
    Member(&'w Self, &'w str),
    Item(&'w Self, usize),
}

impl Way<'_> {
    /// RFC 6901.
    fn pointer(self) -> Box<str> {
        let mut steps = Vec::new();
        let mut way = self;
        loop {
            way = match way {
                Way::Root => break,
                Way::Member(above, name) => {
                    steps.push(pointer_step(name));
                    *above
                }
                Way::Item(above, number) => {
                    steps.push(number.to_string());
                    *above
                }
            };
        }
        let text = steps.iter().rev().flat_map(|step| ["/", step.as_str()]);
        let pointer: String = text.flat_map(str::chars).take(MAX_POINTER).collect();
        pointer.into()
    }
}

/// The keyword that a value violates, and where.
type Verdict = Result<(), ValueFault>;

struct Evaluation<'n> {
    nodes: &'n [Node],
    left: usize,
    depth: usize,
    /// Alternatives being tried, whose faults nobody hears of.
    quiet: usize,
}

/// Holds arguments against a schema's nodes; none admit everything.
pub(super) fn check(nodes: &[Node], arguments: Raw<'_>) -> Verdict {
    let bytes = arguments.as_bytes().len();
    let mut evaluation = Evaluation {
        nodes,
        left: bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(STEPS),
        depth: 0,
        quiet: 0,
    };
    evaluation.apply(0, arguments, Way::Root)
}

impl Evaluation<'_> {
    fn charge(&mut self, count: usize) -> Verdict {
        match self.left.checked_sub(count) {
            Some(left) => {
                steps::add(count);
                self.left = left;
                Ok(())
            }
            None => Err(ValueFault::TooCostly),
        }
    }

    /// Charges the reading of a number.
    fn number(&mut self, value: Raw<'_>) -> Verdict {
        match value.kind() {
            Kind::Number => self.walk(value),
            Kind::Null | Kind::Bool | Kind::String | Kind::Array | Kind::Object => Ok(()),
        }
    }

    /// Charges a look over the whole text of a value: its parts are found by their ends.
    fn walk(&mut self, value: Raw<'_>) -> Verdict {
        self.charge(1 + value.as_bytes().len() / 8)
    }

    fn violated(&self, keyword: &'static str, way: Way<'_>) -> ValueFault {
        let pointer = match self.quiet {
            0 => way.pointer(),
            _ => Box::default(),
        };
        ValueFault::Violated { pointer, keyword }
    }

    fn apply(&mut self, place: Place, value: Raw<'_>, way: Way<'_>) -> Verdict {
        let nodes = self.nodes;
        let Some(node) = nodes.get(place as usize) else {
            return Ok(());
        };
        if self.depth >= MAX_DEPTH {
            return Err(ValueFault::TooCostly);
        }
        self.depth += 1;
        let verdict = node
            .checks
            .iter()
            .try_for_each(|check| self.one(check, value, way));
        self.depth -= 1;
        verdict
    }

    /// Whether a schema admits a value.
    fn admits(&mut self, place: Place, value: Raw<'_>, way: Way<'_>) -> Result<bool, ValueFault> {
        self.quiet += 1;
        let applied = self.apply(place, value, way);
        self.quiet -= 1;
        match applied {
            Ok(()) => Ok(true),
            Err(ValueFault::Violated { .. }) => Ok(false),
            Err(ValueFault::TooCostly) => Err(ValueFault::TooCostly),
        }
    }

    fn one(&mut self, check: &Check, value: Raw<'_>, way: Way<'_>) -> Verdict {
        self.charge(1)?;
        match check {
            Check::Own(own) => match self.broken(own, value)? {
                Some(keyword) => Err(self.violated(keyword, way)),
                None => Ok(()),
            },
            Check::Parts(parts) => self.parts(parts, value, way),
            Check::Same(same) => self.same(same, value, way),
        }
    }

    /// The keyword that a value by itself violates.
    fn broken(&mut self, own: &Own, value: Raw<'_>) -> Result<Option<&'static str>, ValueFault> {
        let (is_held, keyword) = match own {
            Own::Nothing => (false, "false"),
            Own::Type(types) => {
                self.number(value)?;
                (types.have(value), "type")
            }
            Own::Listed(keyword, forms) => {
                self.charge(value.as_bytes().len())?;
                let form = equal::form(value);
                let found = forms.binary_search_by(|listed| (**listed).cmp(&*form));
                (found.is_ok(), *keyword)
            }
            Own::Compare(comparison, bound) => {
                self.number(value)?;
                let number = Decimal::of(value);
                let admits = number.is_none_or(|number| comparison.admits(&number, bound));
                (admits, comparison.keyword())
            }
            Own::Multiple(unit) => {
                self.number(value)?;
                let number = Decimal::of(value);
                let is_multiple = |number: Decimal| number.is_multiple(unit) == Some(true);
                (number.is_none_or(is_multiple), "multipleOf")
            }
            Own::Count(counted, bound, limit) => {
                let Some((count, keyword)) = self.count(*counted, *bound, value)? else {
                    return Ok(None);
                };
                let is_held = match bound {
                    Bound::Least => count >= *limit,
                    Bound::Most => count <= *limit,
                };
                (is_held, keyword)
            }
            Own::Pattern(pattern) => {
                if value.kind() != Kind::String {
                    return Ok(None);
                }
                self.walk(value)?;
                let text = value.string().unwrap_or_default();
                self.charge(pattern.steps(text.len()))?;
                (pattern.matches(&text), "pattern")
            }
            Own::Unique => {
                self.charge(2 * value.as_bytes().len())?;
                let mut forms: Vec<String> = value.items().map(equal::form).collect();
                forms.sort_unstable();
                let twins = forms.windows(2).any(|pair| pair.first() == pair.last());
                (!twins, "uniqueItems")
            }
        };
        Ok((!is_held).then_some(keyword))
    }

    fn held(&self, is_held: bool, keyword: &'static str, way: Way<'_>) -> Verdict {
        is_held
            .then_some(())
            .ok_or_else(|| self.violated(keyword, way))
    }

    /// The members or the items of a value.
    fn parts(&mut self, parts: &Parts, value: Raw<'_>, way: Way<'_>) -> Verdict {
        match parts {
            Parts::Required(names) => {
                let missing = self.missing(value, names)?;
                self.present(missing, "required", way)
            }
            Parts::RequiredWith(name, names) => {
                if self.missing(value, std::slice::from_ref(name))?.is_some() {
                    return Ok(());
                }
                let missing = self.missing(value, names)?;
                self.present(missing, "dependentRequired", way)
            }
            Parts::AppliedWith(name, place) => {
                let missing = self.missing(value, std::slice::from_ref(name))?;
                if value.is_object() && missing.is_none() {
                    self.apply(*place, value, way)?;
                }
                Ok(())
            }
            Parts::Members(members) => self.members(members, value, way),
            Parts::Elements(first, others) => self.elements(first, *others, value, way),
            Parts::Contains(place, least, most) => {
                if value.kind() != Kind::Array {
                    return Ok(());
                }
                self.walk(value)?;
                let mut count = 0;
                for (number, item) in value.items().enumerate() {
                    count += u64::from(self.admits(*place, item, Way::Item(&way, number))?);
                }
                let is_held = count >= *least && most.is_none_or(|most| count <= most);
                self.held(is_held, "contains", way)
            }
        }
    }

    /// Schemas that apply to the same value.
    fn same(&mut self, same: &Same, value: Raw<'_>, way: Way<'_>) -> Verdict {
        match same {
            Same::All(places) => places
                .iter()
                .try_for_each(|place| self.apply(*place, value, way)),
            Same::Any(places) => {
                for place in places {
                    if self.admits(*place, value, way)? {
                        return Ok(());
                    }
                }
                Err(self.violated("anyOf", way))
            }
            Same::One(places) => {
                let mut count = 0_usize;
                for place in places {
                    count += usize::from(self.admits(*place, value, way)?);
                }
                (count == 1)
                    .then_some(())
                    .ok_or_else(|| self.violated("oneOf", way))
            }
            Same::Not(place) => {
                let admitted = self.admits(*place, value, way)?;
                (!admitted)
                    .then_some(())
                    .ok_or_else(|| self.violated("not", way))
            }
            Same::If(condition, then, otherwise) => {
                let branch = if self.admits(*condition, value, way)? {
                    then
                } else {
                    otherwise
                };
                branch.map_or(Ok(()), |place| self.apply(place, value, way))
            }
        }
    }

    /// The number of a value's parts, if it is of the kind that is counted, and the keyword.
    fn count(
        &mut self,
        counted: Counted,
        bound: Bound,
        value: Raw<'_>,
    ) -> Result<Option<(u64, &'static str)>, ValueFault> {
        let (kind, least, most) = match counted {
            Counted::Characters => (Kind::String, "minLength", "maxLength"),
            Counted::Items => (Kind::Array, "minItems", "maxItems"),
            Counted::Members => (Kind::Object, "minProperties", "maxProperties"),
        };
        if value.kind() != kind {
            return Ok(None);
        }
        self.walk(value)?;
        let count = match counted {
            Counted::Characters => value.string().unwrap_or_default().chars().count(),
            Counted::Items => value.items().count(),
            Counted::Members => value.members().count(),
        };
        let keyword = match bound {
            Bound::Least => least,
            Bound::Most => most,
        };
        Ok(Some((count as u64, keyword)))
    }

    /// Whether an object has all these members; what is no object lacks none.
    /// The first of `names` that an object does not have.
    fn missing<'a>(
        &mut self,
        value: Raw<'_>,
        names: &'a [Box<str>],
    ) -> Result<Option<&'a str>, ValueFault> {
        if !value.is_object() {
            return Ok(None);
        }
        for name in names {
            self.walk(value)?;
            if value.member(name).is_none() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The fault of a member that is missing has the place where it would be.
    fn present(&self, missing: Option<&str>, keyword: &'static str, way: Way<'_>) -> Verdict {
        missing.map_or(Ok(()), |name| {
            Err(self.violated(keyword, Way::Member(&way, name)))
        })
    }

    fn members(&mut self, members: &Members, value: Raw<'_>, way: Way<'_>) -> Verdict {
        if !value.is_object() {
            return Ok(());
        }
        self.walk(value)?;
        for (key, member) in value.members() {
            self.walk(key)?;
            let name = key.string().unwrap_or_default();
            let way = Way::Member(&way, &name);
            if let Some(place) = members.names {
                self.apply(place, key, way)?;
            }
            let declared = members
                .declared
                .binary_search_by(|(declared, _)| (**declared).cmp(&*name));
            let declared = declared.ok().and_then(|at| members.declared.get(at));
            let mut is_known = declared.is_some();
            if let Some((_, place)) = declared {
                self.apply(*place, member, way)?;
            }
            for (pattern, place) in &members.patterns {
                self.charge(pattern.steps(name.len()))?;
                if pattern.matches(&name) {
                    is_known = true;
                    self.apply(*place, member, way)?;
                }
            }
            if let Some(place) = members.others.filter(|_| !is_known) {
                self.apply(place, member, way)?;
            }
        }
        Ok(())
    }

    fn elements(
        &mut self,
        first: &[Place],
        others: Option<Place>,
        value: Raw<'_>,
        way: Way<'_>,
    ) -> Verdict {
        if value.kind() != Kind::Array {
            return Ok(());
        }
        self.walk(value)?;
        for (number, item) in value.items().enumerate() {
            let Some(place) = first.get(number).copied().or(others) else {
                break;
            };
            self.apply(place, item, Way::Item(&way, number))?;
        }
        Ok(())
    }
}
