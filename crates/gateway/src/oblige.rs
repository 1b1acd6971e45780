//! Obligations: what a decision asks for beyond yes or no, carried out on messages. Pure: bytes in, bytes out.

mod arguments;
mod cursor;
mod encoded;
mod pattern;
mod place;
mod pointer;
mod records;
mod redact;
mod steps;
mod text;

pub(crate) use self::{
    arguments::written,
    records::count as records,
    redact::{Rewritten, Rules, WrittenRules},
};
