//! The console: pages for operators, rendered here, that share every act with the operators' API.
//!
//! It stands on the operators' listener next to [`keepgate_admin::Admin`], whose functions it calls: what an operator may do, and
//! what a decision is bound to, is decided there once. A page works without script and a GET changes nothing. What agents,
//! callers and servers have written reaches a page as `text::Hostile` or `tree::Tree` alone.

mod arrival;
mod assets;
mod form;
mod login;
mod moment;
mod pages;
mod pending;
mod respond;
mod route;
mod service;
mod sessions;
mod text;
mod tree;

pub use service::{Console, ConsoleSettings};
