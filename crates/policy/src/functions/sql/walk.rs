//! Everything a statement touches, found by walking over all of its parts.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    CopySource, CopyTarget, Expr, Fetch, FromTable, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Insert, JoinConstraint, JoinOperator, LimitClause, ObjectName, Query,
    Select, SelectItem, SetExpr, Statement, TableAlias, TableFactor, TableObject, TableWithJoins,
    Top, TopQuantity, Value as Literal, ValueWithSpan, Visit, Visitor,
};

use super::bounds::Dialect;
use super::kind::{self, ADMIN, CREATE, READ, STRENGTH, UPDATE};
use super::words::{BEGINNING, LONE, OF_ROWS};

/// What is in one statement.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) kind: &'static str,
    pub(super) operations: BTreeSet<&'static str>,
    /// Without quotes in lower case; a part that was quoted as it is, in quotes.
    pub(super) tables: BTreeSet<String>,
    /// The last part of every name where a column may stand, in lower case.
    pub(super) columns: BTreeSet<String>,
    /// Every identifier of any kind, in lower case.
    pub(super) identifiers: BTreeSet<String>,
    pub(super) literals: BTreeSet<String>,
    pub(super) functions: BTreeSet<String>,
    /// Whether columns are read or written that are not named.
    pub(super) star: bool,
    pub(super) into: bool,
    /// Whether something says which records are meant.
    pub(super) filtered: bool,
    /// The number of records asked for, when it is a number.
    pub(super) limit: Option<u64>,
}

impl Found {
    /// The strongest of its operations.
    pub(super) fn operation(&self) -> &'static str {
        let strongest = STRENGTH
            .into_iter()
            .rev()
            .find(|operation| self.operations.contains(operation));
        strongest.unwrap_or(ADMIN)
    }
}

/// Walks over a statement.
///
/// # Errors
/// Says what cannot be told.
pub(super) fn statement(statement: &Statement, dialect: Dialect) -> Result<Found, String> {
    let mut walk = Walk {
        mssql: dialect.is_mssql(),
        generic: dialect.is_generic(),
        found: Found {
            kind: kind::kind(statement).0,
            ..Found::default()
        },
        ..Walk::default()
    };
    // The walk breaks off only where it cannot tell.
    if statement.visit(&mut walk).is_break() {
        return Err(walk.problem.to_owned());
    }
    let Walk {
        mut found,
        rows,
        bare,
        ..
    } = walk;
    // A table's name where a column may stand is its whole row.
    found.star |= rows.intersection(&bare).next().is_some();
    if found.operations.is_empty() {
        found.operations.insert(READ);
    }
    Ok(found)
}

#[derive(Default)]
struct Walk {
    found: Found,
    problem: &'static str,
    /// The server is SQL Server, or may be.
    mssql: bool,
    generic: bool,
    /// Names that `WITH` gives, by the query they are known in.
    scopes: Vec<Vec<Ident>>,
    /// Names and the queries that make them: known once those have been passed, or with `true` from their beginning.
    coming: Vec<(*const Query, Ident, bool)>,
    /// Names and aliases of tables.
    rows: BTreeSet<String>,
    /// Identifiers that stand alone.
    bare: BTreeSet<String>,
}

impl Walk {
    fn fail(&mut self, problem: &'static str) -> ControlFlow<()> {
        self.problem = problem;
        ControlFlow::Break(())
    }

    fn table(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
        if let Some([only]) = parts.as_deref()
            && self.scopes.iter().flatten().any(|known| same(known, only))
        {
            return ControlFlow::Continue(());
        }
        self.target(name)
    }

    /// A table that is written to: a name that `WITH` gives is none.
    fn target(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
        let Some(parts) = parts else {
            return self.fail("the name of a table is computed");
        };
        if let Some(last) = parts.last() {
            self.rows.insert(last.value.to_lowercase());
        }
        let written: Vec<String> = parts.into_iter().map(written).collect();
        self.found.tables.insert(written.join("."));
        ControlFlow::Continue(())
    }

    /// What is written to, in brackets and joins as well.
    fn targets<'a>(
        &mut self,
        tables: impl IntoIterator<Item = &'a TableWithJoins>,
    ) -> ControlFlow<()> {
        let mut next: Vec<&TableWithJoins> = tables.into_iter().collect();
        while let Some(table) = next.pop() {
            let joined = table.joins.iter().map(|join| &join.relation);
            for factor in std::iter::once(&table.relation).chain(joined) {
                if let TableFactor::NestedJoin {
                    table_with_joins, ..
                } = factor
                {
                    next.push(table_with_joins);
                }
                self.target_factor(factor)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn target_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor {
            return self.target(name);
        }
        ControlFlow::Continue(())
    }

    fn alias(&mut self, alias: Option<&TableAlias>) {
        if let Some(alias) = alias {
            self.rows.insert(alias.name.value.to_lowercase());
            // Columns under other names: which is which cannot be told.
            self.found.star |= !alias.columns.is_empty();
        }
    }

    fn column(&mut self, name: &Ident) {
        self.found.columns.insert(name.value.to_lowercase());
    }

    fn items(&mut self, items: &[SelectItem]) {
        let star = |item: &SelectItem| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            )
        };
        self.found.star |= items.iter().any(star);
    }

    fn insert(&mut self, insert: &Insert) -> ControlFlow<()> {
        // Without columns all of them are meant, in their order.
        self.found.star |= insert.columns.is_empty() && insert.assignments.is_empty();
        self.found.filtered = true;
        self.returning(insert.returning.as_ref());
        for name in insert.columns.iter().filter_map(|name| name.0.last()) {
            if let Some(name) = name.as_ident() {
                self.column(name);
            }
        }
        if insert.output.is_some() || insert.format_clause.is_some() {
            return self.fail("an INSERT with OUTPUT or FORMAT");
        }
        match &insert.table {
            TableObject::TableName(name) => self.target(name),
            TableObject::TableFunction(_) | TableObject::TableQuery(_) => {
                self.fail("an INSERT into something else than a table")
            }
        }
    }

    fn returning(&mut self, items: Option<&Vec<SelectItem>>) {
        if let Some(items) = items {
            self.items(items);
            self.found.operations.insert(READ);
        }
    }

    fn joined(&mut self, tables: &[TableWithJoins]) {
        let natural =
            |operator: &JoinOperator| constraint(operator) == Some(&JoinConstraint::Natural);
        self.found.star |= tables
            .iter()
            .flat_map(|table| &table.joins)
            .any(|join| natural(&join.join_operator));
    }

    fn function(&mut self, function: &Function) {
        let name = function.name.to_string().to_lowercase();
        let counts = name == "count";
        self.found.functions.insert(name);
        for arguments in [&function.args, &function.parameters] {
            if let FunctionArguments::List(list) = arguments {
                let wild = |argument: &FunctionArg| match argument {
                    FunctionArg::Named { arg, .. }
                    | FunctionArg::ExprNamed { arg, .. }
                    | FunctionArg::Unnamed(arg) => match arg {
                        FunctionArgExpr::Expr(_) => false,
                        FunctionArgExpr::Wildcard => !counts,
                        FunctionArgExpr::QualifiedWildcard(_)
                        | FunctionArgExpr::WildcardWithOptions(_) => true,
                    },
                };
                self.found.star |= list.args.iter().any(wild);
            }
        }
    }

    /// The parts of a query's body that have no place of their own in the walk.
    fn body(&mut self, body: &SetExpr) {
        let mut next = vec![body];
        while let Some(body) = next.pop() {
            match body {
                SetExpr::SetOperation { left, right, .. } => next.extend([&**left, &**right]),
                SetExpr::Table(table) => {
                    let parts = [&table.schema_name, &table.table_name];
                    let name: Vec<String> = parts
                        .into_iter()
                        .flatten()
                        .map(|part| part.to_lowercase())
                        .collect();
                    self.found.tables.insert(name.join("."));
                    self.found.star = true;
                    self.found.operations.insert(READ);
                }
                SetExpr::Select(_)
                | SetExpr::Query(_)
                | SetExpr::Values(_)
                | SetExpr::Insert(_)
                | SetExpr::Update(_)
                | SetExpr::Delete(_)
                | SetExpr::Merge(_) => {}
            }
        }
    }

    fn outermost(&mut self, query: &Query) {
        let limit = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, .. }) => limit.as_ref(),
            Some(LimitClause::OffsetCommaLimit { limit, .. }) => Some(limit),
            None => None,
        };
        let fetch = query.fetch.as_ref().and_then(fetched);
        let top = match &*query.body {
            SetExpr::Select(select) => {
                self.found.filtered = select.selection.is_some();
                select.top.as_ref().and_then(topped)
            }
            SetExpr::Query(_)
            | SetExpr::SetOperation { .. }
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => None,
        };
        self.found.limit = limit.and_then(number).or(fetch).or(top);
    }
}

impl Visitor for Walk {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.scopes.is_empty() {
            self.outermost(query);
        }
        let recursive = self
            .coming
            .iter()
            .find(|(coming, _, recursive)| *recursive && std::ptr::eq(*coming, query));
        if let Some((_, name, _)) = recursive
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.push(name.clone());
        }
        if let Some(with) = &query.with {
            for table in &with.cte_tables {
                // Only what is made of itself knows its own name. Before it the name means something else, at some
                // servers even with RECURSIVE.
                let united = matches!(&*table.query.body, SetExpr::SetOperation { .. });
                let recursive = with.recursive && united;
                let name = table.alias.name.clone();
                self.rows.insert(name.value.to_lowercase());
                self.coming.push((&raw const *table.query, name, recursive));
            }
        }
        self.scopes.push(Vec::new());
        self.body(&query.body);
        if !query.locks.is_empty() {
            self.found.operations.insert(UPDATE);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        let place = self
            .coming
            .iter()
            .position(|(coming, ..)| std::ptr::eq(*coming, query));
        if let Some(place) = place {
            let (_, name, _) = self.coming.swap_remove(place);
            if let Some(scope) = self.scopes.last_mut() {
                scope.push(name);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.items(&select.projection);
        self.joined(&select.from);
        self.found.star |= select.projection.is_empty();
        if !select.from.is_empty() {
            self.found.operations.insert(READ);
        }
        if select.into.is_some() {
            self.found.into = true;
            self.found.operations.insert(CREATE);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.table(relation)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name, alias, args, ..
            } => {
                self.alias(alias.as_ref());
                if args.is_some() {
                    self.found.functions.insert(name.to_string().to_lowercase());
                }
            }
            TableFactor::Function { name, alias, .. } => {
                self.alias(alias.as_ref());
                self.found.functions.insert(name.to_string().to_lowercase());
            }
            TableFactor::SemanticView { name, alias, .. } => {
                self.alias(alias.as_ref());
                return self.table(name);
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                self.alias(alias.as_ref());
                self.joined(std::slice::from_ref(table_with_joins));
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::JsonTable { alias, .. }
            | TableFactor::OpenJsonTable { alias, .. }
            | TableFactor::XmlTable { alias, .. } => {
                if let Some(alias) = alias {
                    self.rows.insert(alias.name.value.to_lowercase());
                }
            }
            TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. } => self.found.star = true,
        }
        ControlFlow::Continue(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what an expression holds is walked over in any case; these are the leaves"
    )]
    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.bare.insert(name.value.to_lowercase());
                self.column(name);
            }
            Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last() {
                    self.column(last);
                    self.found.star |= OF_ROWS.contains(&last.value.to_lowercase().as_str());
                }
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => self.found.star = true,
            Expr::Function(function) => self.function(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_ident(&mut self, ident: &Ident) -> ControlFlow<()> {
        let folded = ident.value.to_lowercase();
        let lone = (self.mssql || self.generic) && LONE.contains(&folded.as_str());
        let beginning = self.mssql && BEGINNING.contains(&folded.as_str());
        if ident.quote_style.is_none() && (lone || beginning) {
            return self.fail("a name that may begin a statement: put it in quotes");
        }
        self.found.identifiers.insert(folded);
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        if let Some(text) = value.value.clone().into_string() {
            self.found.literals.insert(text);
        }
        ControlFlow::Continue(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other statements are known by their kind alone"
    )]
    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.found.operations.extend(kind::kind(statement).1);
        match statement {
            Statement::Insert(insert) => return self.insert(insert),
            Statement::Update(update) => {
                self.found.filtered = update.selection.is_some();
                self.returning(update.returning.as_ref());
                self.joined(std::slice::from_ref(&update.table));
                self.targets([&update.table])?;
                if update.from.is_some() || update.output.is_some() {
                    self.found.operations.insert(READ);
                    self.found.star |= update.output.is_some();
                }
            }
            Statement::Delete(delete) => {
                self.found.filtered = delete.selection.is_some();
                self.returning(delete.returning.as_ref());
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) =
                    &delete.from;
                self.joined(from);
                self.targets(from)?;
                for name in &delete.tables {
                    self.target(name)?;
                }
                if delete.using.is_some() || delete.output.is_some() {
                    self.found.operations.insert(READ);
                    self.found.star |= delete.output.is_some();
                }
            }
            Statement::Merge(merge) => {
                self.found.star = true;
                self.target_factor(&merge.table)?;
            }
            Statement::Drop { names, .. } => {
                for name in names {
                    self.table(name)?;
                }
            }
            Statement::Copy { source, target, .. } => {
                // The parser takes everything behind it for data.
                if *target == CopyTarget::Stdin {
                    return self.fail("COPY with data behind it");
                }
                self.found.star = true;
                if let CopySource::Table { table_name, .. } = source {
                    self.table(table_name)?;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether two identifiers are the same in every dialect.
fn same(one: &Ident, other: &Ident) -> bool {
    match (one.quote_style, other.quote_style) {
        (None, None) => one.value.eq_ignore_ascii_case(&other.value),
        (Some(_), Some(_)) => one.value == other.value,
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// A part of a name: without quotes in lower case, with quotes as it is.
fn written(ident: &Ident) -> String {
    if ident.quote_style.is_some() {
        format!("\"{}\"", ident.value)
    } else {
        ident.value.to_ascii_lowercase()
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other joins have no condition"
)]
fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::Semi(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::Anti(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint)
        | JoinOperator::StraightJoin(constraint) => Some(constraint),
        _ => None,
    }
}

fn number(expr: &Expr) -> Option<u64> {
    if let Expr::Value(ValueWithSpan {
        value: Literal::Number(digits, _),
        ..
    }) = expr
    {
        digits.to_string().parse().ok()
    } else {
        None
    }
}

fn fetched(fetch: &Fetch) -> Option<u64> {
    let plain = !fetch.with_ties && !fetch.percent;
    fetch.quantity.as_ref().filter(|_| plain).and_then(number)
}

fn topped(top: &Top) -> Option<u64> {
    match &top.quantity {
        Some(TopQuantity::Constant(count)) if !top.with_ties && !top.percent => Some(*count),
        Some(TopQuantity::Expr(expr)) if !top.with_ties && !top.percent => number(expr),
        Some(_) | None => None,
    }
}
