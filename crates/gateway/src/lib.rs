//! The layers a call passes, the stack that orders them, and the endpoint clients speak to.

pub mod settings;
