//! Numbers that no policy can evaluate: a decimal of more digits than a double distinguishes, or beyond its range. Integers of any
//! size are exact.

use keepgate_call::{Code, Refusal};
use keepgate_mcp::json::{Kind, Raw, pointer_step};

/// Longest pointer and number in a refusal, in characters.
const MAX_SHOWN: usize = 128;

/// The refusal of arguments for the first such number, if there is one. Asked only after an evaluation has failed.
pub(super) fn refused(arguments: Option<&str>, raw: Option<Raw<'_>>) -> Option<Refusal> {
    let fault = keepgate_policy::number_fault(arguments?)?;
    let (pointer, number) = find(raw?, raw?.as_bytes().as_ptr().addr() + fault.offset)?;
    let shown = |text: &str| text.chars().take(MAX_SHOWN).collect::<String>();
    let detail = format!(
        "`{}` is `{}`: {}",
        shown(&pointer),
        shown(number.as_str()),
        fault.reason
    );
    Some(Refusal::new(Code::ParamsInvalid).detail(detail))
}

/// The number whose text begins at an address, with its JSON pointer (RFC 6901).
fn find(value: Raw<'_>, address: usize) -> Option<(String, Raw<'_>)> {
    let text = value.as_bytes();
    let begin = text.as_ptr().addr();
    if !(begin..begin + text.len()).contains(&address) {
        return None;
    }
    let below =
        |step: String, (pointer, number): (String, _)| (format!("/{step}{pointer}"), number);
    match value.kind() {
        Kind::Number => Some((String::new(), value)),
        Kind::Object => value.members().find_map(|(name, inner)| {
            let name = name.string().unwrap_or_default();
            find(inner, address).map(|found| below(pointer_step(&name), found))
        }),
        Kind::Array => (0_usize..)
            .zip(value.items())
            .find_map(|(at, inner)| find(inner, address).map(|found| below(at.to_string(), found))),
        Kind::Null | Kind::Bool | Kind::String => None,
    }
}
