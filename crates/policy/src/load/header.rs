//! Imports further down and byte order marks, which OPA takes and the parser does not.

use std::num::NonZeroUsize;
use std::sync::Arc;

use regorus::Source;
use regorus::unstable::{Lexer, TokenKind};

use super::brackets;

/// The text as the parser takes it; every line stays where it is.
pub(crate) fn normalized(text: &Arc<str>) -> Arc<str> {
    let plain: Arc<str> = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.into(),
        None => Arc::clone(text),
    };
    if !plain.contains("import") {
        return plain;
    }
    // What cannot be read is the parser's to refuse.
    let Some(found) = imports(&plain) else {
        return plain;
    };
    if found.late.is_empty() {
        return plain;
    }
    let mut moved = String::with_capacity(plain.len());
    moved.push_str(plain.get(..found.head).unwrap_or(""));
    for (start, end) in &found.late {
        moved.push(' ');
        moved.push_str(plain.get(*start..*end).unwrap_or(""));
    }
    let mut at = found.head;
    for (start, end) in found.late {
        moved.push_str(plain.get(at..start).unwrap_or(""));
        moved.extend(std::iter::repeat_n(' ', end - start));
        at = end;
    }
    moved.push_str(plain.get(at..).unwrap_or(""));
    moved.into()
}

struct Imports {
    /// The end of the package and the imports at the head.
    head: usize,
    /// Those further down, each on one line.
    late: Vec<(usize, usize)>,
}

fn imports(text: &str) -> Option<Imports> {
    let limits = brackets::limits();
    let lines = NonZeroUsize::MIN.saturating_add(text.lines().count());
    let source = Source::from_contents_with_limits(
        String::new(),
        text.to_owned(),
        limits.max_file_bytes,
        lines,
    )
    .ok()?;
    let mut lexer = Lexer::new(&source);
    lexer.set_max_col(limits.max_col);
    let mut found = Imports {
        head: 0,
        late: Vec::new(),
    };
    let (mut depth, mut last_line) = (0_usize, 0);
    // Whether everything so far belongs to the head, and the line an import is on.
    let (mut at_head, mut import) = (true, None);
    loop {
        let token = lexer.next_token().ok()?;
        let (kind, span) = (token.0, &token.1);
        if kind == TokenKind::Eof {
            return Some(found);
        }
        let (start, end, first) = (
            span.start as usize,
            span.end as usize,
            span.line != last_line,
        );
        last_line = span.line;
        let word = span.text();
        if kind == TokenKind::Symbol {
            match word {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let begins = first && depth == 0 && kind == TokenKind::Ident;
        if begins {
            import = (word == "import").then_some(span.line);
            at_head &= matches!(word, "import" | "package");
            if import.is_some() && !at_head {
                found.late.push((start, end));
            }
        } else if first && at_head {
            at_head = false;
        }
        if at_head {
            found.head = end;
        } else if import == Some(span.line)
            && let Some(late) = found.late.last_mut()
        {
            late.1 = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn late_imports_move_to_the_head() {
        let text = "package a.b # c\n\nimport data.x\nr if x\n\nimport data[\"y\"].z as w # d\nimport rego.v1\ns if w\n";
        assert_eq!(
            &*normalized(&text.into()),
            "package a.b # c\n\nimport data.x import data[\"y\"].z as w import rego.v1\nr if x\n\n                        # d\n              \ns if w\n"
        );
    }

    #[test]
    fn what_is_in_order_stays() {
        for text in [
            "package a\nimport data.x\n\nr if x\n",
            "# import\npackage a\nr := \"import data.x\"\n",
            "package a\nr := {\nimport\n}\n",
            "package a\nimport \"\n",
        ] {
            assert_eq!(&*normalized(&text.into()), text);
        }
        assert_eq!(&*normalized(&"\u{feff}package a\n".into()), "package a\n");
    }
}
