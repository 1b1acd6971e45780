//! `${..}` in clients' files: each client's own variables, as pieces.

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// `${NAME}`, `${env:NAME}`, with `:-default` or without.
    Variable {
        name: String,
        default: Option<String>,
    },
    /// `${input:id}`.
    Input(String),
    /// The project's directory.
    Workspace,
    /// Only the client knows it.
    Unknown(String),
}

/// The parts of a text. Linear; nothing nests.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        plain.push_str(before);
        let Some((inner, after)) = after.split_once('}') else {
            // Every client leaves such a text as it is.
            plain.push_str("${");
            rest = after;
            continue;
        };
        rest = after;
        match piece(inner) {
            Piece::Text(text) => plain.push_str(&text),
            other @ (Piece::Variable { .. }
            | Piece::Input(_)
            | Piece::Workspace
            | Piece::Unknown(_)) => {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(other);
            }
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    pieces
}

fn piece(inner: &str) -> Piece {
    match inner {
        "workspaceFolder" | "workspaceRoot" | "cwd" | "CLAUDE_PROJECT_DIR" => {
            return Piece::Workspace;
        }
        "userHome" => {
            return Piece::Variable {
                name: "HOME".to_owned(),
                default: None,
            };
        }
        "pathSeparator" | "/" => return Piece::Text("/".to_owned()),
        _ => {}
    }
    if let Some(id) = inner.strip_prefix("input:") {
        return Piece::Input(id.to_owned());
    }
    let variable = inner.strip_prefix("env:").unwrap_or(inner);
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (variable, None),
    };
    if keepgate_credential::is_variable(name) {
        Piece::Variable {
            name: name.to_owned(),
            default,
        }
    } else {
        Piece::Unknown(inner.chars().take(40).collect())
    }
}
