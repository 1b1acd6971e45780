//! Files that keys of the configuration name and that are read once, when the part that needs them begins: certificates to
//! trust, and keys of bundles. A file with other content is another value of its key.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::{Configuration, Place, Remote};

/// Key whose files are read again.
pub(super) const ISSUERS: &str = "auth.issuers";
/// Key of the vault.
pub(super) const CREDENTIALS: &str = "credentials";

/// Bytes of a file that are compared: more than any collection of certificates has.
const MAX_BYTES: u64 = 4 << 20;

/// A file, under the key that names it.
type Named = (&'static str, PathBuf);

/// The files and their content; `None` for one that cannot be read.
#[derive(Default)]
pub(super) struct Contents(BTreeMap<Named, Option<Vec<u8>>>);

impl Contents {
    /// Reads the files of a configuration.
    pub(super) fn read(configuration: &Configuration) -> Self {
        let files = named(configuration).into_iter();
        Self(
            files
                .map(|(key, path)| {
                    let content = content(&path);
                    ((key, path), content)
                })
                .collect(),
        )
    }

    /// The files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(|(_, path)| path.as_path())
    }

    /// The keys of which a file has other content in `now`.
    pub(super) fn changed(&self, now: &Self) -> Vec<&'static str> {
        let changed = self.0.iter().filter(|(named, content)| {
            let found = now.0.get(*named);
            found.is_some_and(|found| found != *content)
        });
        let mut keys: Vec<_> = changed.map(|((key, _), _)| *key).collect();
        keys.dedup();
        keys
    }

    /// Takes the content of `now`, but of files whose part began with the process. `is_vault_new` is whether the vault's did
    /// not.
    pub(super) fn apply(&mut self, mut now: Self, is_vault_new: bool) {
        for (named, content) in &mut now.0 {
            let is_applied = named.0 == ISSUERS || named.0 == CREDENTIALS && is_vault_new;
            if !is_applied && let Some(used) = self.0.remove(named) {
                *content = used;
            }
        }
        *self = now;
    }
}

fn named(configuration: &Configuration) -> Vec<Named> {
    let mut files: Vec<Named> = Vec::new();
    let issuers = configuration.oauth.iter().flat_map(|oauth| &oauth.issuers);
    files.extend(issuers.filter_map(|issuer| Some((ISSUERS, issuer.ca.clone()?))));
    for bundle in &configuration.bundles {
        let key = bundle.tenant.as_ref().map_or("policies", |_| "tenants");
        files.extend(bundle.keys.iter().map(|it| (key, it.file.clone())));
        match &bundle.place {
            Place::Http(Remote { ca, .. }) => files.extend(ca.clone().map(|ca| (key, ca))),
            Place::File(_) => {}
        }
    }
    let telemetry = &configuration.telemetry;
    let traces = telemetry.traces.as_ref();
    let metrics = telemetry.metrics.as_ref();
    let vault = configuration.gateway.credentials.vault.as_ref();
    let status = configuration.status.as_ref();
    let decisions = configuration.decisions.upload.as_ref();
    let others = [
        (CREDENTIALS, vault.and_then(|vault| vault.ca.clone())),
        ("status", status.and_then(|it| it.ca.clone())),
        ("decisions", decisions.and_then(|it| it.ca.clone())),
        (
            "telemetry",
            traces.and_then(|it| it.collector.as_ref()?.ca.clone()),
        ),
        ("telemetry", metrics.and_then(|it| it.collector.ca.clone())),
    ];
    let targets = configuration.notify.values();
    let targets = targets.filter_map(|target| Some(("approvals.notify", target.ca.clone()?)));
    files.extend(targets);
    files.extend(others.into_iter().filter_map(|(key, ca)| Some((key, ca?))));
    files
}

fn content(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let file = keepgate_files::open(path).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut content).ok()?;
    Some(content)
}
