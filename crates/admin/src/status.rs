//! How the policies and their bundles stand, in the form of OPA's status messages.

use std::collections::BTreeMap;

use serde::Serialize;

/// The answer of `/api/v1/policy/status`, and what is posted to a status service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// Who says so: `id` and `version`.
    pub labels: BTreeMap<&'static str, String>,
    /// What is in force, of all sources together.
    pub policy: InForce,
    /// Every bundle by its name.
    pub bundles: BTreeMap<String, BundleStatus>,
    /// `bundle`, with the state OPA has a word for.
    pub plugins: BTreeMap<&'static str, Plugin>,
}

/// The policies in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Content hash of all files, as records have it.
    pub revision: String,
    /// Counts the loads that changed something, from 1.
    pub generation: u64,
    /// How many files there are.
    pub files: usize,
}

/// A part of OPA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plugin {
    /// `OK`, `WARN` when what is in force is not the newest.
    pub state: &'static str,
}

/// One bundle. Times are RFC 3339, in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BundleStatus {
    /// Its file or URL.
    pub name: String,
    /// What kind of bundle it is: always `snapshot`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The revision of its manifest, of the one in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_revision: Option<String>,
    /// Its size as it is packed, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// When it was last asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_request: Option<String>,
    /// When that was last answered well, also with "nothing new".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_request: Option<String>,
    /// When a bundle last came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_download: Option<String>,
    /// When one last came into force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_activation: Option<String>,
    /// `bundle_error` while the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Everything that is wrong with the bundle that was not taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// The `ETag` of the one in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The parts of `data` it owns.
    pub roots: Vec<String>,
    /// The id of the key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Whether what is in force may not be the newest: the last try failed.
    pub stale: bool,
    /// Tries that failed since the start.
    pub failures: u64,
}
