//! The frame around every page: navigation, who is logged in, and the way out.

use keepgate_admin::Role;

use crate::{assets, sessions::Visitor, text::Hostile};

/// Pages of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nav {
    Approvals,
    Kills,
    Sessions,
    Servers,
    Policy,
    Readiness,
}

impl Nav {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Approvals, "Approvals", "/console/approvals"),
        (Self::Kills, "Kill switch", "/console/kills"),
        (Self::Sessions, "Sessions", "/console/sessions"),
        (Self::Servers, "Servers", "/console/servers"),
        (Self::Policy, "Policy", "/console/policy"),
        (Self::Readiness, "Readiness", "/console/readiness"),
    ];
}

/// One entry.
#[derive(Debug)]
pub(super) struct NavItem {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) is_current: bool,
    pub(super) count: u64,
}

/// The frame of a page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    pub(super) items: Vec<NavItem>,
    pub(super) operator: Hostile,
    pub(super) roles: String,
    /// Token of the form that logs out.
    pub(super) logout: String,
    pending: u64,
}

impl Frame {
    /// The frame of the page `current`; `pending` approvals wait.
    pub(super) fn new(visitor: &Visitor, current: Nav, pending: u64) -> Self {
        let items = Nav::ALL.map(|(nav, name, path)| NavItem {
            name,
            path,
            is_current: nav == current,
            count: if nav == Nav::Approvals { pending } else { 0 },
        });
        let roles: Vec<_> = visitor
            .operator
            .roles
            .iter()
            .copied()
            .map(Role::as_str)
            .collect();
        Self {
            style: assets::style(),
            script: assets::script(),
            items: items.into(),
            operator: Hostile::brief(&visitor.operator.name),
            roles: roles.join(", "),
            logout: visitor.form_token("/console/logout"),
            pending,
        }
    }

    /// Approvals that wait.
    pub(super) fn pending(&self) -> u64 {
        self.pending
    }
}
