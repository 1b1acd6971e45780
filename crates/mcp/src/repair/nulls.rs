//! Members of MCP that are null although a message may leave them out and may not have them null, as serializers write that do
//! not know the difference. Clients that hold to the schema lose the whole answer over one: they are dropped. The tables below
//! say which, by the schemas of 2024-11-05 to 2026-07-28 (a test compares them with an SDK's); a null anywhere else stays what it is.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::{
    DecodeError, Message,
    json::{Kind, Raw},
};

/// An object of the schema.
struct Shape {
    /// Members that may be left out and may not be null.
    optional: &'static [&'static str],
    /// Members that are such objects themselves, or lists of them.
    within: &'static [(&'static str, &'static Self)],
}

const fn flat(optional: &'static [&'static str]) -> Shape {
    Shape {
        optional,
        within: &[],
    }
}

/// Metadata: what MCP itself defines of it. Any shape has it that lets `_meta` be left out.
const META: Shape = flat(&["progressToken", "io.modelcontextprotocol/related-task"]);
/// A tool's schemas. Within their properties null is a value.
const SCHEMA: Shape = flat(&["properties", "required"]);
const ICON: Shape = flat(&["mimeType", "sizes", "theme"]);
const ANNOTATIONS: Shape = flat(&["audience", "priority", "lastModified"]);
const TOOL: Shape = Shape {
    optional: &[
        "title",
        "description",
        "outputSchema",
        "annotations",
        "icons",
        "execution",
        "_meta",
    ],
    within: &[
        (
            "annotations",
            &flat(&[
                "title",
                "readOnlyHint",
                "destructiveHint",
                "idempotentHint",
                "openWorldHint",
            ]),
        ),
        ("icons", &ICON),
        ("execution", &flat(&["taskSupport"])),
        ("inputSchema", &SCHEMA),
        ("outputSchema", &SCHEMA),
    ],
};
const PROMPT: Shape = Shape {
    optional: &["title", "description", "arguments", "icons", "_meta"],
    within: &[
        ("arguments", &flat(&["title", "description", "required"])),
        ("icons", &ICON),
    ],
};
/// A resource, a template of them, or a link to one.
const RESOURCE: Shape = Shape {
    optional: &[
        "title",
        "description",
        "mimeType",
        "annotations",
        "size",
        "icons",
        "_meta",
    ],
    within: &[("annotations", &ANNOTATIONS), ("icons", &ICON)],
};
const CONTENTS: Shape = flat(&["mimeType", "_meta"]);
/// A block of content. Only links have most of it.
const CONTENT: Shape = Shape {
    optional: RESOURCE.optional,
    within: &[
        ("annotations", &ANNOTATIONS),
        ("icons", &ICON),
        ("resource", &CONTENTS),
    ],
};
const MESSAGE: Shape = Shape {
    optional: &["_meta"],
    within: &[("content", &CONTENT)],
};
/// A block of a message for a model: content, or the use or the result of a tool.
const SAMPLED: Shape = Shape {
    optional: &[
        "title",
        "description",
        "mimeType",
        "annotations",
        "size",
        "icons",
        "content",
        "isError",
        "structuredContent",
        "_meta",
    ],
    within: &[
        ("annotations", &ANNOTATIONS),
        ("icons", &ICON),
        ("resource", &CONTENTS),
        ("content", &CONTENT),
    ],
};
const IMPLEMENTATION: Shape = Shape {
    optional: &["title", "description", "websiteUrl", "icons"],
    within: &[("icons", &ICON)],
};
const CAPABILITIES: Shape = Shape {
    optional: &[
        "experimental",
        "logging",
        "completions",
        "prompts",
        "resources",
        "tools",
        "tasks",
        "extensions",
    ],
    within: &[
        ("prompts", &flat(&["listChanged"])),
        ("resources", &flat(&["subscribe", "listChanged"])),
        ("tools", &flat(&["listChanged"])),
    ],
};

const fn list(of: &'static [(&'static str, &'static Shape)]) -> Shape {
    Shape {
        optional: &["nextCursor", "_meta"],
        within: of,
    }
}

/// Results, by the members that only they have; the first that fits.
const RESULTS: [(&[&str], Shape); 11] = [
    (&["tools"], list(&[("tools", &TOOL)])),
    (&["prompts"], list(&[("prompts", &PROMPT)])),
    (&["resources"], list(&[("resources", &RESOURCE)])),
    (
        &["resourceTemplates"],
        list(&[("resourceTemplates", &RESOURCE)]),
    ),
    (
        &["contents"],
        Shape {
            optional: &["_meta"],
            within: &[("contents", &CONTENTS)],
        },
    ),
    // Since 2026-07-28 structured content is any value, so null is one.
    (
        &["content", "resultType"],
        Shape {
            optional: &["isError", "_meta"],
            within: &[("content", &CONTENT)],
        },
    ),
    (
        &["content"],
        Shape {
            optional: &["isError", "structuredContent", "_meta"],
            within: &[("content", &CONTENT)],
        },
    ),
    (
        &["messages"],
        Shape {
            optional: &["description", "_meta"],
            within: &[("messages", &MESSAGE)],
        },
    ),
    (
        &["completion"],
        Shape {
            optional: &["_meta"],
            within: &[("completion", &flat(&["total", "hasMore"]))],
        },
    ),
    (
        &["protocolVersion"],
        Shape {
            optional: &["instructions", "_meta"],
            within: &[
                ("serverInfo", &IMPLEMENTATION),
                ("capabilities", &CAPABILITIES),
            ],
        },
    ),
    (
        &["supportedVersions"],
        Shape {
            optional: &["instructions", "_meta"],
            within: &[
                ("serverInfo", &IMPLEMENTATION),
                ("capabilities", &CAPABILITIES),
            ],
        },
    ),
];

const PREFERENCES: Shape = Shape {
    optional: &[
        "hints",
        "costPriority",
        "speedPriority",
        "intelligencePriority",
    ],
    within: &[("hints", &flat(&["name"]))],
};
const TASK: Shape = flat(&["ttl"]);

/// Parameters of what servers send by themselves.
const PARAMS: [(&str, Shape); 6] = [
    (
        "notifications/progress",
        flat(&["total", "message", "_meta"]),
    ),
    ("notifications/message", flat(&["logger", "_meta"])),
    ("notifications/cancelled", flat(&["reason", "_meta"])),
    ("notifications/resources/updated", flat(&["_meta"])),
    (
        "sampling/createMessage",
        Shape {
            optional: &[
                "modelPreferences",
                "systemPrompt",
                "includeContext",
                "temperature",
                "stopSequences",
                "metadata",
                "tools",
                "toolChoice",
                "task",
                "_meta",
            ],
            within: &[
                (
                    "messages",
                    &Shape {
                        optional: &["_meta"],
                        within: &[("content", &SAMPLED)],
                    },
                ),
                ("modelPreferences", &PREFERENCES),
                ("tools", &TOOL),
                ("toolChoice", &flat(&["mode"])),
                ("task", &TASK),
            ],
        },
    ),
    (
        "elicitation/create",
        Shape {
            optional: &["mode", "task", "_meta"],
            within: &[("requestedSchema", &flat(&["required"])), ("task", &TASK)],
        },
    ),
];

/// The message without them; `None` where there are none.
pub(super) fn without(message: &Message) -> Option<Message> {
    static NULL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"null"));
    NULL.find(message.bytes())?;
    let kept = |raw: Raw<'_>, shape: &Shape| -> Option<String> {
        if !has_null(raw, shape) {
            return None;
        }
        let mut out = String::with_capacity(raw.as_bytes().len());
        write(raw, shape, &mut out);
        Some(out)
    };
    let changed: Result<Message, DecodeError> = match message {
        Message::Response(response) => {
            let result = response.result()?;
            let has = |key: &&str| response.result_member(key).is_some();
            let (_, shape) = RESULTS.iter().find(|(keys, _)| keys.iter().all(has))?;
            response
                .with_result(&kept(result, shape)?)
                .map(Message::Response)
        }
        Message::Notification(notification) => {
            let shape = shape_of(notification.method().as_str())?;
            let params = kept(notification.params()?, shape)?;
            notification.with_params(&params).map(Message::Notification)
        }
        Message::Request(request) => {
            let shape = shape_of(request.method().as_str())?;
            let params = kept(request.params()?, shape)?;
            request.with_params(&params).map(Message::Request)
        }
    };
    changed.ok()
}

fn shape_of(method: &str) -> Option<&'static Shape> {
    static TABLE: &[(&str, Shape)] = &PARAMS;
    let found = TABLE.iter().find(|(name, _)| *name == method);
    found.map(|(_, shape)| shape)
}

fn is_idle(key: &str, value: Raw<'_>, shape: &Shape) -> bool {
    value.is_null() && shape.optional.contains(&key)
}

fn inner(key: &str, shape: &Shape) -> Option<&'static Shape> {
    if key == "_meta" && shape.optional.contains(&key) {
        return Some(&META);
    }
    let found = shape.within.iter().find(|(name, _)| *name == key);
    found.map(|(_, shape)| *shape)
}

/// Whether there is one in the object, or in an object of the list.
fn has_null(raw: Raw<'_>, shape: &Shape) -> bool {
    match raw.kind() {
        Kind::Object => raw.members().any(|(key, value)| {
            let key = key.string().unwrap_or_default();
            is_idle(&key, value, shape)
                || inner(&key, shape).is_some_and(|shape| has_null(value, shape))
        }),
        Kind::Array => raw
            .items()
            .any(|item| item.is_object() && has_null(item, shape)),
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => false,
    }
}

fn write(raw: Raw<'_>, shape: &Shape, out: &mut String) {
    match raw.kind() {
        Kind::Object => {
            let mut before = '{';
            for (key, value) in raw.members() {
                let name = key.string().unwrap_or_default();
                if is_idle(&name, value, shape) {
                    continue;
                }
                out.push(before);
                before = ',';
                out.push_str(key.as_str());
                out.push(':');
                match inner(&name, shape) {
                    Some(shape) => write(value, shape, out),
                    None => out.push_str(value.as_str()),
                }
            }
            if before == '{' {
                out.push(before);
            }
            out.push('}');
        }
        Kind::Array => {
            let mut before = '[';
            for item in raw.items() {
                out.push(before);
                before = ',';
                write(item, shape, out);
            }
            if before == '[' {
                out.push(before);
            }
            out.push(']');
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => out.push_str(raw.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::{PARAMS, RESULTS, Shape, without};
    use crate::{Body, Limits, Message, decode};

    fn message(text: &str) -> Message {
        match decode(text.to_owned().into(), &Limits::reply()) {
            Ok(Body::Single(message)) => message,
            other => panic!("{other:?}: {text}"),
        }
    }

    fn dropped(text: &str) -> Option<String> {
        let changed = without(&message(text))?;
        Some(String::from_utf8(changed.bytes().to_vec()).unwrap())
    }

    /// Objects of a shape with each of its optional members null, and without them.
    fn example(shape: &Shape, keys: &[&str]) -> (String, String) {
        let mut with = Vec::new();
        let mut bare = Vec::new();
        for (key, shape) in shape.within {
            let (nulls, none) = example(shape, &[]);
            with.push(format!(r#""{key}":[{nulls},null,{nulls}]"#));
            bare.push(format!(r#""{key}":[{none},null,{none}]"#));
        }
        for key in keys {
            if !shape.within.iter().any(|(name, _)| name == key) {
                with.push(format!(r#""{key}":"x""#));
                bare.push(format!(r#""{key}":"x""#));
            }
        }
        with.push(r#""acme":null"#.to_owned());
        bare.push(r#""acme":null"#.to_owned());
        let is_there = |key: &&&str| !shape.within.iter().any(|(name, _)| name == *key);
        // A `_meta` of null is dropped before: it keeps a message from being decoded.
        let keys = shape.optional.iter().filter(is_there);
        for key in keys.filter(|key| **key != "_meta") {
            with.push(format!(r#""{key}":null"#));
        }
        (
            format!("{{{}}}", with.join(",")),
            format!("{{{}}}", bare.join(",")),
        )
    }

    #[test]
    fn every_row_of_the_tables_is_dropped_and_other_nulls_stay() {
        for (keys, shape) in &RESULTS {
            let (with, bare) = example(shape, keys);
            let answer = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
            assert_eq!(dropped(&answer(&with)), Some(answer(&bare)));
            assert_eq!(dropped(&answer(&bare)), None);
        }
        for (method, shape) in &PARAMS {
            let (with, bare) = example(shape, &[]);
            if with == bare {
                continue;
            }
            for id in ["", r#""id":1,"#] {
                let sent = |params: &str| {
                    format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":{params}}}"#)
                };
                assert_eq!(dropped(&sent(&with)), Some(sent(&bare)));
                assert_eq!(dropped(&sent(&bare)), None);
            }
        }
    }

    #[test]
    fn what_real_servers_send_is_what_clients_can_read() {
        let answer = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        for (result, expected) in [
            (
                r#"{"tools":[{"name":"a","description":null,"inputSchema":{"description":null,"default":null},"annotations":null}],"nextCursor":null}"#,
                Some(
                    r#"{"tools":[{"name":"a","inputSchema":{"description":null,"default":null}}]}"#,
                ),
            ),
            (
                r#"{ "protocolVersion" : "2025-06-18", "capabilities":{"logging":null,"tools":{"listChanged":null}}, "serverInfo":{"name":"a","title":null}, "instructions": null }"#,
                Some(
                    r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"a"}}"#,
                ),
            ),
            (
                r#"{"content":[{"type":"text","text":"null","annotations":null}],"structuredContent":null,"isError":null}"#,
                Some(r#"{"content":[{"type":"text","text":"null"}]}"#),
            ),
            (
                r#"{"content":[],"structuredContent":null,"resultType":"complete"}"#,
                None,
            ),
            (
                r#"{"content":[],"structuredContent":{"description":null}}"#,
                None,
            ),
            // Required, or of nobody's schema.
            (r#"{"tools":[{"name":null}]}"#, None),
            (r#"{"description":null}"#, None),
            (r#"{"tools":null}"#, None),
        ] {
            assert_eq!(dropped(&answer(result)), expected.map(answer), "{result}");
        }
    }
}
