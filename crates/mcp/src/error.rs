//! What can be wrong with a message, and the JSON-RPC and MCP error codes.

use thiserror::Error;

/// JSON-RPC: the body is not JSON we accept.
pub const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: JSON, but not a message.
pub const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: no such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: parameters missing or of the wrong shape.
pub const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC: a fault of the receiver.
pub const INTERNAL_ERROR: i64 = -32603;
/// MCP 2026-07-28: a mirrored header is missing, malformed or differs from the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// MCP 2026-07-28: the call needs a capability the client did not declare.
pub const MISSING_CAPABILITY: i64 = -32021;
/// MCP 2026-07-28: the protocol version is not supported.
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// MCP 2025-11-25: a URL elicitation must be completed first.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;
/// The session is not known; in no specification, but what the SDKs' servers send with HTTP 404.
pub const SESSION_GONE: i64 = -32001;

/// Why a body was refused. The kinds are stable; so are the names [`DecodeFault::as_str`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum DecodeFault {
    /// More bytes than [`crate::Limits::bytes`].
    #[error("body is too large")]
    TooLarge,
    /// Nested deeper than [`crate::Limits::depth`].
    #[error("nested too deeply")]
    TooDeep,
    /// More values than [`crate::Limits::nodes`].
    #[error("too many values")]
    TooManyNodes,
    /// Not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// A byte order mark before the value.
    #[error("byte order mark")]
    ByteOrderMark,
    /// Ends inside a value, or is empty.
    #[error("unexpected end")]
    UnexpectedEnd,
    /// A character the grammar has no place for.
    #[error("unexpected character")]
    UnexpectedCharacter,
    /// A control character inside a string.
    #[error("control character in a string")]
    ControlCharacter,
    /// An escape JSON does not know.
    #[error("invalid escape")]
    InvalidEscape,
    /// Half of a surrogate pair.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// A number outside the JSON grammar, or one that is absurdly long.
    #[error("invalid number")]
    InvalidNumber,
    /// Something after the value.
    #[error("trailing bytes")]
    TrailingBytes,
    /// A key twice in one object, compared after unescaping.
    #[error("duplicate key")]
    DuplicateKey,
    /// Two keys of one object that differ in letter case only, or a variant spelling of a key we read.
    #[error("key differs from another in case only")]
    CaseVariantKey,
    /// The body is neither an object nor an array.
    #[error("not an object")]
    NotAnObject,
    /// `jsonrpc` is missing or not exactly `"2.0"`.
    #[error("jsonrpc is not 2.0")]
    Version,
    /// A member JSON-RPC does not have.
    #[error("unknown member")]
    UnknownMember,
    /// The members do not make a request, a notification or a response.
    #[error("not a request, notification or response")]
    Shape,
    /// The id is neither a string nor an integer, or is too long.
    #[error("invalid id")]
    InvalidId,
    /// The method is not a string, is empty or too long.
    #[error("invalid method")]
    InvalidMethod,
    /// `params` is not an object.
    #[error("params is not an object")]
    InvalidParams,
    /// `result` is not an object.
    #[error("result is not an object")]
    InvalidResult,
    /// `error` is not an object with an integer code and a string message.
    #[error("invalid error object")]
    InvalidError,
    /// `params._meta` or `result._meta` is not an object.
    #[error("_meta is not an object")]
    InvalidMeta,
    /// A batch without items.
    #[error("empty batch")]
    EmptyBatch,
    /// A batch with more items than [`crate::message::MAX_BATCH`].
    #[error("batch is too long")]
    BatchTooLong,
}

impl DecodeFault {
    /// A stable name for logs, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::TooManyNodes => "too_many_nodes",
            Self::Utf8 => "utf8",
            Self::ByteOrderMark => "byte_order_mark",
            Self::UnexpectedEnd => "unexpected_end",
            Self::UnexpectedCharacter => "unexpected_character",
            Self::ControlCharacter => "control_character",
            Self::InvalidEscape => "invalid_escape",
            Self::LoneSurrogate => "lone_surrogate",
            Self::InvalidNumber => "invalid_number",
            Self::TrailingBytes => "trailing_bytes",
            Self::DuplicateKey => "duplicate_key",
            Self::CaseVariantKey => "case_variant_key",
            Self::NotAnObject => "not_an_object",
            Self::Version => "version",
            Self::UnknownMember => "unknown_member",
            Self::Shape => "shape",
            Self::InvalidId => "invalid_id",
            Self::InvalidMethod => "invalid_method",
            Self::InvalidParams => "invalid_params",
            Self::InvalidResult => "invalid_result",
            Self::InvalidError => "invalid_error",
            Self::InvalidMeta => "invalid_meta",
            Self::EmptyBatch => "empty_batch",
            Self::BatchTooLong => "batch_too_long",
        }
    }

    /// The JSON-RPC code an answer to such a body carries: [`PARSE_ERROR`] or [`INVALID_REQUEST`].
    pub fn code(self) -> i64 {
        match self {
            Self::TooLarge
            | Self::TooDeep
            | Self::TooManyNodes
            | Self::Utf8
            | Self::ByteOrderMark
            | Self::UnexpectedEnd
            | Self::UnexpectedCharacter
            | Self::ControlCharacter
            | Self::InvalidEscape
            | Self::LoneSurrogate
            | Self::InvalidNumber
            | Self::TrailingBytes
            | Self::DuplicateKey
            | Self::CaseVariantKey => PARSE_ERROR,
            Self::NotAnObject
            | Self::Version
            | Self::UnknownMember
            | Self::Shape
            | Self::InvalidId
            | Self::InvalidMethod
            | Self::InvalidParams
            | Self::InvalidResult
            | Self::InvalidError
            | Self::InvalidMeta
            | Self::EmptyBatch
            | Self::BatchTooLong => INVALID_REQUEST,
        }
    }
}

/// A refused body: what is wrong and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{fault} at byte `{offset}`")]
pub struct DecodeError {
    /// What is wrong.
    pub fault: DecodeFault,
    /// Bytes from the start of the body.
    pub offset: usize,
}

impl DecodeError {
    /// The JSON-RPC code an answer carries.
    pub fn code(&self) -> i64 {
        self.fault.code()
    }
}
