//! What a resource server is told: which issuers it believes, and what it says of itself.

use std::{fmt, net::IpAddr, sync::Arc};

use http::Uri;
use keepgate_call::Tenant;

use keepgate_jose::SignatureAlgorithm;

use super::fetch::Fetch;

/// Everything a resource server is told.
#[derive(Debug)]
pub struct TokenSettings {
    /// What it says of itself.
    pub resource: ResourceServer,
    /// Whom it believes.
    pub issuers: Vec<IssuerSettings>,
}

/// Why a setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenSettingsError {
    /// An issuer is no URL of the form RFC 8414 §2 demands.
    #[error(
        "not the URL of an issuer: `{url}`\n  hint: https, a host, no query and no fragment; http on loopback only"
    )]
    Issuer {
        /// What was given.
        url: String,
    },
    /// A scope has characters that no scope has (RFC 6749 §3.3).
    #[error("not a scope: `{scope}`")]
    Scope {
        /// What was given.
        scope: String,
    },
}

/// What clients learn of this resource server (RFC 9728).
#[derive(Debug, Clone)]
pub struct ResourceServer {
    base: String,
    /// Bytes of scheme and authority in `base`.
    origin: usize,
    whole: bool,
    issuers: Vec<String>,
    scopes: Vec<String>,
}

impl ResourceServer {
    /// A resource server found at `base` (scheme, authority and perhaps a path, no slash at its end), whose tokens come from `issuers`.
    /// `scopes` are what clients are told to ask for at first; they may be none.
    ///
    /// # Errors
    /// [`TokenSettingsError::Scope`].
    pub fn new(
        base: &str,
        issuers: Vec<String>,
        scopes: Vec<String>,
    ) -> Result<Self, TokenSettingsError> {
        if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(TokenSettingsError::Scope {
                scope: scope.clone(),
            });
        }
        let base = base.trim_end_matches('/').to_owned();
        let authority = base.find("://").map_or(0, |at| at + 3);
        let path = base.get(authority..).and_then(|rest| rest.find('/'));
        Ok(Self {
            origin: path.map_or(base.len(), |at| authority + at),
            base,
            whole: false,
            issuers,
            scopes,
        })
    }

    /// The same, where a token may be for the whole gateway: its own URI is then a resource, with metadata.
    #[must_use]
    pub fn with_whole_audience(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    /// Whether a token may be for the whole gateway, by the gateway's own URI.
    pub fn has_whole_audience(&self) -> bool {
        self.whole
    }

    /// Scheme and authority.
    pub fn origin(&self) -> &str {
        self.base.get(..self.origin).unwrap_or_default()
    }

    /// The path under which the gateway is found; empty for the root.
    pub fn path(&self) -> &str {
        self.base.get(self.origin..).unwrap_or_default()
    }

    /// The gateway's own URI; with the path of an endpoint it is that endpoint's resource URI (RFC 8707 §2).
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The issuers, in the order of the configuration.
    pub fn issuers(&self) -> &[String] {
        &self.issuers
    }

    /// What clients are told to ask for at first.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }
}

/// Whether a text is one scope (RFC 6749 §3.3): printable ASCII without space, quote and backslash.
pub(super) fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

/// Which tokens of an issuer are access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Those that say so: `typ` is `at+jwt` (RFC 9068 §2.1).
    AccessToken,
    /// Also those whose `typ` is `JWT` or missing, as long as no claim says that they are something else. For issuers that
    /// do not follow RFC 9068.
    Plain,
}

/// One issuer that is believed.
#[derive(Debug)]
pub struct IssuerSettings {
    /// Its name, and where its metadata are found.
    pub url: IssuerUrl,
    /// The audience that stands for the whole gateway. `None`: only the resource URI of each endpoint is accepted.
    pub audience: Option<String>,
    /// Where its keys are, when it has no metadata.
    pub keys: Option<String>,
    /// Which of its tokens are access tokens.
    pub kind: TokenKind,
    /// The algorithms it may use.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// The tenant its subjects belong to.
    pub tenant: Tenant,
    /// The claim that holds roles; `None`: its tokens give none.
    pub roles: Option<ClaimName>,
    /// The claim that holds groups; `None`: its tokens give none.
    pub groups: Option<ClaimName>,
    /// Fetches its documents.
    pub fetch: Arc<dyn Fetch>,
}

impl IssuerSettings {
    /// An issuer with the defaults of the configuration.
    pub fn new(url: IssuerUrl, fetch: Arc<dyn Fetch>) -> Self {
        Self {
            url,
            audience: None,
            keys: None,
            kind: TokenKind::AccessToken,
            algorithms: SignatureAlgorithm::ALL.to_vec(),
            tenant: Tenant::default(),
            roles: Some(ClaimName::new("roles")),
            groups: Some(ClaimName::new("groups")),
            fetch,
        }
    }
}

/// Where a claim stands: a name, or the way to it as a JSON pointer (RFC 6901) such as `/realm_access/roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimName(Vec<String>);

impl ClaimName {
    /// Reads a name. One that begins with a slash is a pointer; any other is taken as it stands, dots and slashes included.
    pub fn new(name: &str) -> Self {
        match name.strip_prefix('/') {
            None => Self(vec![name.to_owned()]),
            Some(pointer) => Self(
                pointer
                    .split('/')
                    .map(|step| step.replace("~1", "/").replace("~0", "~"))
                    .collect(),
            ),
        }
    }

    /// The names on the way, outermost first.
    pub(super) fn steps(&self) -> &[String] {
        &self.0
    }
}

/// The URL of an issuer: https, or http on loopback; no query, no fragment, no user (RFC 8414 §2).
#[derive(Clone, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    origin: String,
    path: String,
}

impl fmt::Debug for IssuerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl IssuerUrl {
    /// Reads the URL of an issuer. It is compared byte by byte with `iss`, so it is kept as it is written.
    ///
    /// # Errors
    /// [`TokenSettingsError::Issuer`].
    pub fn parse(text: &str) -> Result<Self, TokenSettingsError> {
        let refused = || TokenSettingsError::Issuer {
            url: text.rsplit('@').next().unwrap_or_default().to_owned(),
        };
        let uri = Some(text)
            .filter(|text| is_fetchable(text, true) && !text.contains(['?', '#']))
            .and_then(|text| text.parse::<Uri>().ok());
        let uri = uri.ok_or_else(refused)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused());
        };
        Ok(Self {
            origin: format!("{scheme}://{authority}"),
            path: uri.path().trim_end_matches('/').to_owned(),
            text: text.to_owned(),
        })
    }

    /// The URL as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is plain http, which only loopback may be.
    pub(super) fn is_plain(&self) -> bool {
        self.origin.starts_with("http://")
    }

    /// Where its metadata may be, in the order they are looked for: RFC 8414 §3.1, OpenID Connect Discovery 1.0 §4 as RFC
    /// 8414 §5 spells it, and as itself spells it.
    pub(super) fn metadata(&self) -> Vec<String> {
        let Self { origin, path, .. } = self;
        let mut urls = vec![
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
            format!("{origin}/.well-known/openid-configuration{path}"),
        ];
        if !path.is_empty() {
            urls.push(format!("{origin}{path}/.well-known/openid-configuration"));
        }
        urls
    }
}

/// Whether a document may be fetched from `url`: https, or http on loopback where `plain` allows it; a host, no user, no
/// fragment.
pub fn is_fetchable(url: &str, plain: bool) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let scheme = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => plain && loopback,
        Some(_) | None => false,
    };
    scheme && !url.contains(['@', '#'])
}
