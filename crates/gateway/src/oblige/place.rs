//! What MCP itself says in a message, and what is data.

/// The kind of object the walk is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// A JSON-RPC message.
    Message,
    /// A result, or what stands in for one: a completion, a task.
    Result,
    /// An error.
    Error,
    /// The parameters of a request or notification of the server.
    Params,
    /// Requests by names the server chose (2026-07-28 `inputRequests`).
    Asked,
    /// A content block or the contents of a resource.
    Block,
    /// A message of a prompt or of sampling.
    Entry,
    /// Anything else: what the protocol does not define.
    Data,
}

/// How a member is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inner {
    /// Not at all: a word or token of the protocol, which its receiver compares or sends back.
    Copy,
    /// As an object of the protocol, or an array of them.
    Frame(Frame),
    /// As text that is shown: JSON in it is data.
    Text,
    /// As base64.
    Blob,
    /// As data that pointers begin at.
    Root,
    /// As data.
    Data,
}

impl Frame {
    /// How the member `name` of such an object is looked into.
    pub(super) fn inner(self, name: &str) -> Inner {
        match self {
            Self::Message => match name {
                "result" => Inner::Frame(Self::Result),
                "error" => Inner::Frame(Self::Error),
                "params" => Inner::Frame(Self::Params),
                _ => Inner::Copy,
            },
            Self::Result | Self::Params => shared(name),
            Self::Error => match name {
                "code" => Inner::Copy,
                "message" => Inner::Text,
                "data" => Inner::Root,
                _ => Inner::Data,
            },
            Self::Asked => Inner::Frame(Self::Params),
            Self::Block => block(name),
            Self::Entry => match name {
                "role" => Inner::Copy,
                "content" => Inner::Frame(Self::Block),
                _ => Inner::Data,
            },
            Self::Data => Inner::Data,
        }
    }
}

fn shared(name: &str) -> Inner {
    match name {
        "resultType" | "nextCursor" | "requestState" | "isError" | "progressToken"
        | "requestId" | "taskId" | "role" | "method" | "mode" | "protocolVersion" => Inner::Copy,
        "content" | "contents" => Inner::Frame(Frame::Block),
        "messages" => Inner::Frame(Frame::Entry),
        "result" | "completion" | "task" => Inner::Frame(Frame::Result),
        "error" => Inner::Frame(Frame::Error),
        "params" => Inner::Frame(Frame::Params),
        "inputRequests" => Inner::Frame(Frame::Asked),
        "structuredContent" | "data" => Inner::Root,
        "message" | "description" | "statusMessage" | "instructions" | "systemPrompt" | "uri"
        | "url" | "name" | "title" | "level" | "logger" | "reason" => Inner::Text,
        _ => Inner::Data,
    }
}

fn block(name: &str) -> Inner {
    match name {
        "type" => Inner::Copy,
        "text" | "uri" | "name" | "title" | "description" | "mimeType" => Inner::Text,
        "data" | "blob" => Inner::Blob,
        "resource" | "content" => Inner::Frame(Frame::Block),
        "structuredContent" | "input" => Inner::Root,
        _ => Inner::Data,
    }
}
