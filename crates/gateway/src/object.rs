//! Objects with a member less, or another one: every other byte stays.

use keepgate_mcp::json::Raw;

/// An object's text with one member replaced, or left out.
pub(crate) fn replaced(object: Raw<'_>, name: &str, by: Option<&str>) -> String {
    let members = object.members().filter_map(|(key, value)| {
        let value = if key.is_text(name) {
            by?
        } else {
            value.as_str()
        };
        Some(format!("{}:{value}", key.as_str()))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// An object's text without the members of these names.
pub(crate) fn without(object: Raw<'_>, names: &[&str]) -> String {
    let members = object.members();
    let kept = members.filter(|(key, _)| !names.iter().any(|name| key.is_text(name)));
    let kept = kept.map(|(key, value)| format!("{}:{}", key.as_str(), value.as_str()));
    format!("{{{}}}", kept.collect::<Vec<_>>().join(","))
}

/// Capabilities without those of tasks, which are not passed on yet: the capability of 2025-11-25 and the extension of
/// 2026-07-28. What the gateway would refuse must not be declared, to either side. `None` if they have none.
pub(crate) fn without_tasks(capabilities: Raw<'_>) -> Option<String> {
    const EXTENSION: &str = "io.modelcontextprotocol/tasks";
    let extensions = capabilities.member("extensions");
    let extensions = extensions.filter(|them| them.member(EXTENSION).is_some());
    // In any case: some servers' readers do not look at it.
    let is_tasks = |key: Raw<'_>| {
        key.string()
            .is_some_and(|key| key.eq_ignore_ascii_case("tasks"))
    };
    if extensions.is_none() && !capabilities.members().any(|(key, _)| is_tasks(key)) {
        return None;
    }
    let narrowed = extensions.map(|them| replaced(them, EXTENSION, None));
    let members = capabilities.members().filter_map(|(key, value)| {
        let value = match &narrowed {
            _ if is_tasks(key) => return None,
            Some(narrowed) if key.is_text("extensions") => narrowed.as_str(),
            Some(_) | None => value.as_str(),
        };
        Some(format!("{}:{value}", key.as_str()))
    });
    Some(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
}
