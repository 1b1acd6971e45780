//! Access tokens: from the configuration to who believes them, with the one HTTP client that fetches issuers' documents.

use std::sync::Arc;
use std::time::Duration;

use keepgate_authn::Authenticator;
use keepgate_authn::oauth::{
    ClaimName, Fetch, FetchError, Fetching, IssuerSettings, ResourceServer, TokenSettings, Tokens,
};
use keepgate_call::Tenant;
use keepgate_net::ConnectorSettings;
use keepgate_transport::http::client::{Client, ClientSettings};
use keepgate_transport::http::upstream::Limits;

use crate::config::{Configuration, Issuer};
use crate::exit::Exit;
use crate::failure::Failure;

/// How long one document may take, its head and its body each.
const PATIENCE: Duration = Duration::from_secs(4);

/// Fetches documents over the transport's client: no redirects, no cookies, one try.
#[derive(Debug)]
struct Fetcher(Client);

impl Fetch for Fetcher {
    fn fetch<'a>(&'a self, url: &'a str, cap: usize) -> Fetching<'a> {
        Box::pin(async move {
            let limits = Limits {
                max_message: cap,
                head: PATIENCE,
                body: PATIENCE,
                ..Limits::default()
            };
            let endpoint = self
                .0
                .endpoint(url)
                .map_err(|error| FetchError(error.into()))?;
            let document = endpoint.document(&limits).await;
            document
                .map(Vec::from)
                .map_err(|error| FetchError(error.into()))
        })
    }
}

/// Makes what knows callers by their tokens. Fetches nothing yet. An issuer of which nothing has changed goes on as it was.
pub(super) fn authenticator(
    configuration: &Configuration,
    before: Option<(&Configuration, &Authenticator)>,
) -> Result<Authenticator, Failure> {
    let Some(oauth) = &configuration.oauth else {
        return Err(Failure::new(
            Exit::Start,
            "auth.mode oauth has no issuers".to_owned(),
        ));
    };
    let issuers = oauth.issuers.iter().map(settings);
    let names = oauth
        .issuers
        .iter()
        .map(|issuer| issuer.url.as_str().to_owned());
    let resource = ResourceServer::new(&oauth.base, names.collect(), oauth.scopes.clone())
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
    let is_whole = |issuer: &Issuer| issuer.audience.as_deref() == Some(&*oauth.base);
    let resource = resource.with_whole_audience(oauth.issuers.iter().any(is_whole));
    let wanted = TokenSettings {
        resource,
        issuers: issuers.collect::<Result<_, _>>()?,
    };
    let before =
        before.and_then(|(used, before)| Some((used.oauth.as_ref()?, before.as_tokens()?)));
    let tokens = match before {
        // Tokens are for what begins with the base.
        Some((used, before)) if used.base == oauth.base => {
            Tokens::succeeding(wanted, before, |url| {
                let same = |issuers: &[Issuer]| issuers.iter().find(|it| it.url == *url).cloned();
                same(&used.issuers) == same(&oauth.issuers)
            })
        }
        Some(_) | None => Tokens::new(wanted),
    };
    let tokens = tokens.map_err(|error| {
        Failure::new(Exit::Start, format!("failed to read random bytes: {error}"))
    })?;
    let keys = oauth.keys.then_some(&*configuration.state);
    Authenticator::tokens(tokens, keys).map_err(|error| Failure::caused(Exit::State, &error))
}

fn settings(issuer: &Issuer) -> Result<IssuerSettings, Failure> {
    let client = Client::new(ClientSettings {
        connector: ConnectorSettings {
            extra_roots: issuer.ca.iter().cloned().collect(),
            egress: issuer.egress.clone(),
            ..ConnectorSettings::default()
        },
        ..ClientSettings::default()
    });
    let client = client.map_err(|error| Failure::caused(Exit::Start, &error))?;
    let defaults = IssuerSettings::new(issuer.url.clone(), Arc::new(Fetcher(client)));
    let claim = |name: &Option<String>| name.as_deref().map(ClaimName::new);
    Ok(IssuerSettings {
        audience: issuer.audience.clone(),
        keys: issuer.jwks_uri.clone(),
        kind: issuer.typ,
        algorithms: issuer.algorithms.clone(),
        tenant: issuer
            .tenant
            .as_deref()
            .map_or_else(Tenant::default, Tenant::new),
        roles: claim(&issuer.roles_claim),
        groups: claim(&issuer.groups_claim),
        ..IssuerSettings::new(defaults.url, defaults.fetch)
    })
}
