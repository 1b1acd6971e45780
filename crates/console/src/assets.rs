//! The stylesheet and the script, in the binary. Their paths carry a hash, so that a browser keeps them until they change.

use std::sync::LazyLock;

/// The stylesheet.
pub(crate) const STYLE: &str = include_str!("../assets/console.css");
/// The script, one ES module.
pub(crate) const SCRIPT: &str = include_str!("../assets/console.js");

/// Path of the stylesheet.
pub(crate) fn style() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path("console.css", STYLE));
    &PATH
}

/// Path of the script.
pub(crate) fn script() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path("console.js", SCRIPT));
    &PATH
}

fn path(name: &str, text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("/console/{name}?{}", hash.get(..16).unwrap_or_default())
}
