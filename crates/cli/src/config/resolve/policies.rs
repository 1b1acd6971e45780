//! `policies`: which directories, and which bundles from where and by whom.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Resolver;
use crate::config::bundle::{Bundle, Key, KeyFileError, Place, Remote};
use crate::config::decode::At;
use crate::config::raw::policies::{Bundle as Written, Policies, Verify};
use crate::config::tenants::Tenant;
use keepgate_gateway::settings::travels_clear;

/// The shortest pause between two looks at a server.
const SHORTEST_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// The longest a server may hold back its answer.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(300);

/// What stands under `policies`, of the platform or of a tenant.
#[derive(Default)]
pub(super) struct Found {
    pub(super) directories: Vec<PathBuf>,
    pub(super) bundles: Vec<Bundle>,
}

impl Resolver<'_> {
    /// Directories and bundles of one layer.
    pub(super) fn policies(&mut self, written: &[Policies], tenant: Option<&str>) -> Found {
        let mut found = Found::default();
        for one in written {
            match one {
                Policies::Directory(text) => {
                    let path = self.path(text);
                    if !path.is_dir() {
                        let hint = "paths are taken from the directory of the configuration file";
                        self.faults.push(
                            text.fault(format!("no such directory: `{}`", path.display()))
                                .hint(hint),
                        );
                    }
                    found.directories.push(path);
                }
                Policies::Bundle(bundle) => found.bundles.extend(self.bundle(bundle, tenant)),
            }
        }
        found
    }

    /// The policies of tenants, by the tenant's name; their bundles are added to `bundles`.
    pub(super) fn tenants(
        &mut self,
        written: &BTreeMap<String, At<Tenant>>,
        bundles: &mut Vec<Bundle>,
    ) -> BTreeMap<String, Vec<PathBuf>> {
        let mut tenants = BTreeMap::new();
        for (name, tenant) in written {
            let found = self.policies(&tenant.value.policies, Some(name));
            bundles.extend(found.bundles);
            tenants.insert(name.clone(), found.directories);
        }
        tenants
    }

    fn bundle(&mut self, written: &At<Written>, tenant: Option<&str>) -> Option<Bundle> {
        let raw = &written.value;
        let keys = self.keys(written);
        let text = raw.bundle.as_ref()?;
        let place = if text.value.contains("://") {
            Place::Http(self.remote(raw, text)?)
        } else {
            for key in &raw.remote {
                let message = format!("has `{key}`, which goes with the URL of a bundle only");
                self.faults.push(written.fault(message));
            }
            Place::File(self.file(text)?)
        };
        Some(Bundle {
            tenant: tenant.map(str::to_owned),
            place,
            keys: keys?,
        })
    }

    fn remote(&mut self, raw: &Written, text: &At<String>) -> Option<Remote> {
        let url = self.url(text);
        let credential = raw.credential.as_ref().map(|text| self.reference(text));
        let ca = raw.ca.as_ref().map(|path| self.file(path));
        let poll = raw.poll.value;
        if poll.min < SHORTEST_PAUSE {
            let message = "a server is asked every 100ms at most";
            self.faults.push(raw.poll.fault(message));
        }
        if poll.wait.is_some_and(|wait| wait > LONGEST_WAIT) {
            let message = "an answer is waited for 5m at most";
            self.faults.push(raw.poll.fault(message));
        }
        let url = url?;
        let open = travels_clear(&url);
        if open && raw.verify.is_empty() {
            // Whoever sits on the way could write the policies.
            let hint = "use https, or `verify` with the key it is signed by";
            let message = "a bundle that is not signed is not fetched over http";
            self.faults.push(text.fault(message).hint(hint));
        }
        if open && raw.credential.is_some() {
            let message = "a credential is not sent over http";
            self.faults.push(text.fault(message).hint("use https"));
        }
        Some(Remote {
            url,
            credential: match credential {
                Some(credential) => Some(credential?),
                None => None,
            },
            ca: ca.flatten(),
            egress: self.egress.clone(),
            pause: (poll.min, poll.max),
            wait: poll.wait,
        })
    }

    /// The keys, each of which has to be one.
    fn keys(&mut self, written: &At<Written>) -> Option<Vec<Key>> {
        let verify = &written.value.verify;
        // All of them, so that each that is wrong is told.
        let keys: Vec<Option<Key>> = verify.iter().map(|one| self.key(one)).collect();
        let mut ids: Vec<_> = verify.iter().map(|one| one.value.id.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        if verify.len() > 1 && (ids.len() < verify.len() || ids.contains(&None)) {
            let hint = "the signature names its key by this id (`kid`)";
            let fault = written.fault(KeyFileError::Ids.to_string()).hint(hint);
            self.faults.push(fault);
        }
        keys.into_iter().collect()
    }

    fn key(&mut self, written: &At<Verify>) -> Option<Key> {
        let text = written.value.key.as_ref()?;
        let file = self.file(text)?;
        let key = Key {
            file,
            algorithm: written.value.algorithm.as_ref()?.value,
            id: written.value.id.clone(),
            scope: written.value.scope.clone(),
        };
        match key.read() {
            Ok(_) => Some(key),
            Err(error) => {
                let said = crate::failure::chain(&error);
                self.faults.push(text.fault(said));
                None
            }
        }
    }
}
