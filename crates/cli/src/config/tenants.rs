//! `tenants`: what holds for the callers of one tenant, under what holds for all.

use super::decode::{Decode, Fields};
use super::document::Node;
use super::fault::Faults;
use super::raw::policies::Policies;

/// `tenants.<name>`.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) policies: Vec<Policies>,
}

impl Decode for Tenant {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let tenant = Self {
            policies: fields
                .required(
                    "policies",
                    "name the directories of the tenant's policies: `policies: [./acme]`",
                )
                .unwrap_or_default(),
        };
        fields.refuse_empty("policies");
        fields.finish();
        Some(tenant)
    }
}
