//! The layers a call passes, the stack that orders them, and the endpoint clients speak to.
//!
//! Start with [`stack`].

mod around;
mod catalog;
mod clock;
mod edge;
mod gate;
mod knowledge;
pub mod layers;
mod live;
mod metrics;
mod render;
mod session;
pub mod settings;
mod shared;
pub mod stack;
mod upstream;

pub use live::Gateway;
pub use shared::Shared;
pub use upstream::SetUpError;
