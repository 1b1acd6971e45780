//! Where decisions are logged, and what is tried beside the policies in force.

use keepgate_credential::{Form, Settings, Use};
use keepgate_gateway::settings::travels_clear;

use super::Resolver;
use crate::config::decisions::{
    DecisionFile, Decisions, RawDecisions, RawShadow, RawUpload, Shadow, Upload,
};

impl Resolver<'_> {
    /// The decision log.
    pub(super) fn decisions(&mut self, raw: &RawDecisions, credentials: &Settings) -> Decisions {
        Decisions {
            content: raw.content,
            per_second: raw.per_second,
            buffer: raw.buffer.0,
            file: raw.file.as_ref().map(|file| DecisionFile {
                max_size: u64::try_from(file.max_size.0).unwrap_or(u64::MAX),
                keep: file.keep.get(),
            }),
            upload: raw
                .upload
                .as_ref()
                .and_then(|upload| self.upload(upload, credentials)),
        }
    }

    /// The receiver of status reports, where there is one.
    pub(super) fn status(
        &mut self,
        raw: Option<&RawUpload>,
        credentials: &Settings,
    ) -> Option<Upload> {
        raw.and_then(|raw| self.upload(raw, credentials))
    }

    pub(super) fn upload(&mut self, raw: &RawUpload, credentials: &Settings) -> Option<Upload> {
        let ca = raw.ca.as_ref().map(|path| self.file(path));
        let token = raw.token.as_ref().map(|text| {
            let wanted = Use {
                reference: self.reference(text)?,
                form: Form::Bearer,
                terms: Default::default(),
            };
            if let Err(error) = wanted.check(credentials) {
                self.faults.push(text.fault(error.to_string()));
                return None;
            }
            Some(wanted)
        });
        let text = raw.url.as_ref()?;
        let url = self.url(text)?;
        if url.query().is_some() {
            let hint = "events are posted to /logs, status to /status below this address";
            self.faults
                .push(text.fault("URL has a query (`?..`)").hint(hint));
            return None;
        }
        if raw.token.is_some() {
            self.secret_to(text, &url, raw.plaintext);
        } else if travels_clear(&url) {
            self.warnings.push(format!(
                "{} is not https: what is reported travels in clear",
                text.path
            ));
        }
        Some(Upload {
            url,
            token: token.flatten(),
            ca: ca.flatten(),
            egress: self.egress.clone(),
            interval: raw.interval,
            timeout: raw.timeout,
        })
    }

    /// What is tried beside the policies in force. Directories that are not there yet are no fault: nothing depends on
    /// them, and a start says so.
    pub(super) fn shadow(&self, raw: &RawShadow) -> Shadow {
        Shadow {
            policies: raw.policies.iter().map(|path| self.path(path)).collect(),
            sample: raw.sample,
        }
    }
}
