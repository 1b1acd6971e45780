//! The layers a call passes, the stack that orders them, and the endpoint clients speak to.
//!
//! Start with [`stack`].

pub mod active;
pub mod admission;
pub mod around;
pub mod beside;
pub mod catalog;
mod changes;
pub mod clock;
pub mod edge;
pub mod flight;
pub mod gate;
mod hash;
pub mod history;
pub mod inspection;
pub mod knowledge;
pub mod layers;
pub mod limit;
pub mod live;
pub mod metrics;
mod object;
mod oblige;
pub mod processes;
pub mod render;
pub mod session;
pub mod settings;
mod shards;
pub mod shared;
pub mod stack;
pub mod upstream;
pub mod wall_clock;

pub use live::Gateway;
pub use shared::Shared;
pub use upstream::SetUpError;
