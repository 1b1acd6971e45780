//! Names and values of forms and queries: each known, each there once, and nothing decoded twice.

use percent_encoding::percent_decode_str;

/// A form or a query that was read. Values are text without control characters, but for line breaks.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

/// Most members: no form here has as many.
const MAX_MEMBERS: usize = 16;

impl Form {
    /// Reads `application/x-www-form-urlencoded`. `None` for what is not in UTF-8, has a name twice, or too many of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut members: Vec<(String, String)> = Vec::new();
        for member in text.split('&').filter(|member| !member.is_empty()) {
            let (name, value) = member.split_once('=').unwrap_or((member, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let is_known = members.iter().any(|(known, _)| *known == name);
            if is_known || members.len() >= MAX_MEMBERS {
                return None;
            }
            members.push((name, value));
        }
        Some(Self(members))
    }

    /// The value of this name; empty if it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        let member = self.0.iter().find(|(known, _)| known == name);
        member.map_or("", |(_, value)| value)
    }

    /// The value of this name, unless it is missing or empty.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|value| !value.is_empty())
    }
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    // Browsers send line breaks of a text area as CR LF.
    let decoded = decoded.replace("\r\n", "\n");
    let is_text = decoded.chars().all(|it| it == '\n' || !it.is_control());
    is_text.then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_once_and_strictly() {
        let form =
            Form::parse("reason=ticket+4711%0D%0A%3Cb%3E&verdict=approve&x=&%61=%2541").unwrap();
        assert_eq!(form.text("reason"), "ticket 4711\n<b>");
        assert_eq!(form.given("x"), None);
        assert_eq!(form.text("a"), "%41");
        assert_eq!(form.given("none"), None);
        let many: String = (0..40).map(|at| format!("n{at}=1&")).collect();
        for bad in ["a=1&a=2", "a=1&%61=2", "a=%ff", "a=%00", "a=%1b[31m", &many] {
            assert!(Form::parse(bad).is_none(), "{bad}");
        }
        assert!(Form::parse("").is_some());
    }
}
