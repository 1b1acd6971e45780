//! `.manifest`: what a bundle says of itself, and what it may touch.

use std::collections::BTreeMap;
use std::sync::Arc;

use regorus::Value;
use regorus::unstable::{Lexer, TokenKind};
use serde::Deserialize;

/// Most roots.
const MAX_ROOTS: usize = 256;

/// Why a manifest is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("manifest is not understood: {0}")]
    Form(String),
    #[error("manifest has WebAssembly modules, which are not evaluated here")]
    Wasm,
    #[error("manifest wants version `{0}` of Rego, only version 1 is read")]
    Rego(i64),
    #[error("manifest has more than {MAX_ROOTS} roots")]
    Roots,
    #[error("root is not plain: `{0}`")]
    Root(String),
    #[error("roots overlap: `{0}` and `{1}`")]
    Overlap(String, String),
}

/// The keys there are; a key we do not know could mean that something else is to be read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    revision: Option<String>,
    #[serde(default)]
    roots: Option<Vec<String>>,
    #[serde(default)]
    rego_version: Option<i64>,
    #[serde(default)]
    file_rego_versions: Option<BTreeMap<String, i64>>,
    #[serde(default)]
    wasm: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    #[expect(dead_code, reason = "may be there, and is nobody's business here")]
    metadata: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

/// A manifest that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// What the author calls this state of the bundle.
    pub(crate) revision: Option<Arc<str>>,
    /// What it may touch, by folders.
    pub(crate) roots: Vec<Root>,
}

/// A part of `data` that a bundle owns: the steps to it. None is all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root(Vec<String>);

impl Root {
    fn parse(text: &str) -> Result<Self, ManifestError> {
        let bare = text.trim_matches('/');
        if bare.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let steps: Vec<String> = bare.split('/').map(str::to_owned).collect();
        let odd = |step: &String| step.is_empty() || step.contains(char::is_control);
        if steps.iter().any(odd) {
            return Err(ManifestError::Root(text.to_owned()));
        }
        Ok(Self(steps))
    }

    /// Whether `path` lies in it.
    pub(crate) fn contains(&self, path: &[String]) -> bool {
        path.starts_with(&self.0)
    }

    /// Whether both own a part.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.contains(&other.0) || other.contains(&self.0)
    }

    /// How a rule would name it.
    pub(crate) fn of_data(&self) -> String {
        let steps = self.0.iter().map(String::as_str);
        std::iter::once("data")
            .chain(steps)
            .collect::<Vec<_>>()
            .join(".")
    }

    /// Whether it lies below `path`.
    fn is_below(&self, path: &[String]) -> bool {
        self.0.starts_with(path)
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl Manifest {
    /// Of a bundle without one: it owns everything.
    pub(crate) fn absent() -> Self {
        Self {
            revision: None,
            roots: vec![Root(Vec::new())],
        }
    }

    /// Reads a manifest.
    pub(crate) fn read(text: &str) -> Result<Self, ManifestError> {
        // A list would be read too, as the values of all keys in their order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(ManifestError::Form("not an object".to_owned()));
        }
        let written: Written =
            serde_json::from_str(text).map_err(|error| ManifestError::Form(error.to_string()))?;
        if written.wasm.is_some_and(|modules| !modules.is_empty()) {
            return Err(ManifestError::Wasm);
        }
        let of_files = written.file_rego_versions.into_iter().flatten();
        let versions = written
            .rego_version
            .into_iter()
            .chain(of_files.map(|(_, version)| version));
        if let Some(other) = versions.into_iter().find(|version| *version != 1) {
            return Err(ManifestError::Rego(other));
        }
        let roots = written.roots.unwrap_or_else(|| vec![String::new()]);
        if roots.len() > MAX_ROOTS {
            return Err(ManifestError::Roots);
        }
        let roots: Vec<Root> = roots
            .iter()
            .map(|root| Root::parse(root))
            .collect::<Result<_, _>>()?;
        for (index, one) in roots.iter().enumerate() {
            let other = roots
                .iter()
                .skip(index + 1)
                .find(|other| one.overlaps(other));
            if let Some(other) = other {
                return Err(ManifestError::Overlap(one.to_string(), other.to_string()));
            }
        }
        Ok(Self {
            revision: written
                .revision
                .filter(|revision| !revision.is_empty())
                .map(Into::into),
            roots,
        })
    }

    /// Whether `path` lies in one of the roots.
    pub(crate) fn permits(&self, path: &[String]) -> bool {
        self.roots.iter().any(|root| root.contains(path))
    }

    /// The first place of `value`, which stands at `path`, that lies in no root.
    pub(crate) fn stray(&self, path: &mut Vec<String>, value: &Value) -> Option<String> {
        if self.permits(path) {
            return None;
        }
        let on_the_way = self.roots.iter().any(|root| root.is_below(path));
        let members = value.as_object().ok().filter(|_| on_the_way);
        let Some(members) = members else {
            return Some(path.join("/"));
        };
        for (key, inner) in members.iter() {
            path.push(
                key.as_string()
                    .map(|key| key.to_string())
                    .unwrap_or_default(),
            );
            let found = self.stray(path, inner);
            path.pop();
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// The package a file of rules says it is of, by the parser's own tokens; `None` where it says so in no plain way.
///
/// What follows could only make the package a deeper one, so what lies in a root by this reading lies in it by any.
pub(crate) fn package(lexer: &mut Lexer<'_>) -> Option<Vec<String>> {
    let mut next = || lexer.next_token().ok();
    let is = |token: &regorus::unstable::Token, kind: TokenKind, text: &str| {
        token.0 == kind && token.1.text() == text
    };
    let first = next()?;
    if first.1.text() != "package" {
        return None;
    }
    let mut path = Vec::new();
    let name = next()?;
    if name.0 != TokenKind::Ident {
        return None;
    }
    path.push(name.1.text().to_owned());
    loop {
        let token = next()?;
        if is(&token, TokenKind::Symbol, ".") {
            path.push(next()?.1.text().to_owned());
        } else if is(&token, TokenKind::Symbol, "[") && token.1.line == name.1.line {
            let step = next()?;
            if step.0 != TokenKind::String {
                return None;
            }
            path.push(step.1.text().to_owned());
            next().filter(|token| is(token, TokenKind::Symbol, "]"))?;
        } else {
            return Some(path);
        }
    }
}
