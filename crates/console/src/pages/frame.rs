//! The frame around every page: navigation, who is logged in, and the way out.

use std::{sync::Arc, time::SystemTime};

use keepgate_admin::Role;
use keepgate_call::Tenant;

use super::path_with;
use crate::{assets, pending::Counts, sessions::Visitor, text::Hostile};

/// Other tenants that are named.
const MAX_TENANTS: usize = 20;

/// Pages of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nav {
    Approvals,
    Kills,
    Decisions,
    Audit,
    Sessions,
    Servers,
    Policy,
    Readiness,
}

impl Nav {
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Approvals, "Approvals", "/console/approvals"),
        (Self::Kills, "Kill switch", "/console/kills"),
        (Self::Decisions, "Decisions", "/console/decisions"),
        (Self::Audit, "Audit log", "/console/audit"),
        (Self::Sessions, "Sessions", "/console/sessions"),
        (Self::Servers, "Servers", "/console/servers"),
        (Self::Policy, "Policy", "/console/policy"),
        (Self::Readiness, "Readiness", "/console/readiness"),
    ];
}

/// One entry.
#[derive(Debug)]
pub(crate) struct NavItem {
    pub(super) name: &'static str,
    pub(super) path: String,
    pub(super) is_current: bool,
    pub(super) count: u64,
}

/// The frame of a page.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(super) script: &'static str,
    pub(super) items: Vec<NavItem>,
    pub(super) operator: Hostile,
    pub(super) roles: String,
    /// Token of the form that logs out.
    pub(super) logout: String,
    /// Whether each act takes the operator's token.
    pub(super) asks_token: bool,
    /// Our time, in milliseconds since 1970: the browser's clock may be another.
    pub(super) now_ms: u128,
    pending: u64,
    others: Vec<(Tenant, u64)>,
}

impl Frame {
    /// The frame of the page `current`, for one tenant; `counts` are the approvals that wait, if that is known.
    pub(super) fn new(
        visitor: &Visitor,
        current: Option<Nav>,
        tenant: &Tenant,
        counts: Option<Arc<Counts>>,
        now: SystemTime,
    ) -> Self {
        let counts = counts.unwrap_or_default();
        let pending = counts.get(tenant).copied().unwrap_or_default();
        let others = counts.iter().filter(|(other, _)| *other != tenant);
        let others = others.map(|(other, count)| (other.clone(), *count));
        let items = Nav::ALL.map(|(nav, name, path)| NavItem {
            name,
            path: match nav {
                Nav::Approvals => approvals_of(tenant),
                Nav::Kills
                | Nav::Decisions
                | Nav::Audit
                | Nav::Sessions
                | Nav::Servers
                | Nav::Policy
                | Nav::Readiness => path.to_owned(),
            },
            is_current: Some(nav) == current,
            count: if nav == Nav::Approvals { pending } else { 0 },
        });
        let roles = visitor.operator.roles.iter().copied();
        let roles: Vec<_> = roles.map(Role::as_str).collect();
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            script: assets::script(),
            items: items.into(),
            operator: Hostile::brief(&visitor.operator.name),
            roles: roles.join(", "),
            logout: visitor.form_token("/console/logout"),
            asks_token: visitor.channel.asks_token(),
            now_ms: since.unwrap_or_default().as_millis(),
            pending,
            others: others.take(MAX_TENANTS).collect(),
        }
    }

    /// Approvals of this tenant that wait.
    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    /// Other tenants with approvals that wait, and their numbers.
    pub(super) fn others(&self) -> &[(Tenant, u64)] {
        &self.others
    }
}

/// Path of the approvals of a tenant.
pub(super) fn approvals_of(tenant: &Tenant) -> String {
    let named = (*tenant != Tenant::default()).then_some(tenant.as_str());
    path_with("/console/approvals", &[("tenant", named)])
}
