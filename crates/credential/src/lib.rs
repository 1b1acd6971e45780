//! Secrets by reference: where they come from, how long they are kept, and how an echo of one is masked.
//!
//! [`Credentials`] holds a [`CredentialSet`] for each server that needs credentials, with a [`Source`] for each of them. A call takes
//! what the sources [hold](CredentialSet::acquire), never the reference's content itself, and whatever any server sends is searched for [every
//! secret](Live) of all of them. Only this crate reads secrets, and only [`Secret`] carries one.

mod error;
mod live;
mod local;
mod mask;
mod material;
mod proxy;
mod reference;
mod secret;
mod set;
mod settings;
mod source;
mod store;
mod vault;

pub use error::{CredentialError, Fault};
pub use live::{KEPT, Live, PAST, Tails};
pub use local::{of as read_local, provide};
pub use mask::{MASK, Masked};
pub use material::Material;
pub use proxy::{proxy_login, proxy_login_of_variable};
pub use reference::{Place, Reference, ReferenceError, is_segment, is_variable};
pub use secret::{LONGEST, SHORTEST, Secret};
pub use set::{Acquired, CredentialSet};
pub use settings::{
    Engine, Form, Login, Settings, Slot, Terms, Use, UseError, User, VaultSettings,
};
pub use source::{Held, Source};
pub use store::{Credentials, Ended, Scope, SetUpError, State, Status};
