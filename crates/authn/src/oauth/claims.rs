//! From verified claims to what they prove.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use keepgate_call::{CallerKind, Proof};
use keepgate_mcp::json::{Kind, Raw};

use super::{
    TokenError,
    settings::{ClaimName, IssuerSettings, TokenKind, is_scope},
};

/// How far the clocks of issuer and gateway may be apart.
pub(super) const SKEW: Duration = Duration::from_secs(30);
/// The longest subject, client and grant, in bytes (OpenID Connect Core 1.0 §2 allows 255).
const LONGEST_NAME: usize = 255;
/// Latest time that is read, in seconds: the year 9999.
const LATEST: f64 = 253_402_300_799.0;

/// What a token proved.
#[derive(Debug)]
pub(super) struct Verified {
    /// Who holds it.
    pub(super) proof: Proof,
    /// `aud`, not yet compared.
    pub(super) audiences: Arc<[Arc<str>]>,
    /// When it is over, leeway included.
    pub(super) ends: SystemTime,
}

/// Reads the claims of a token whose signature is right.
///
/// # Errors
/// [`TokenError`]; only the audience is left to be compared.
pub(super) fn read(
    claims: Raw<'_>,
    settings: &IssuerSettings,
    now: SystemTime,
) -> Result<Verified, TokenError> {
    let ends = time(claims, "exp")?.ok_or(TokenError::Claim)? + SKEW;
    if ends <= now {
        return Err(TokenError::Expired);
    }
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|begins| begins > now + SKEW) {
            return Err(TokenError::Early);
        }
    }
    if claims.member("cnf").is_some() {
        return Err(TokenError::Bound);
    }
    if settings.kind == TokenKind::Plain && says_otherwise(claims) {
        return Err(TokenError::Purpose);
    }
    let subject = name(claims, "sub")?.ok_or(TokenError::Claim)?;
    let client = match name(claims, "client_id")? {
        Some(client) => Some(client),
        None => name(claims, "azp")?,
    };
    let grant = match name(claims, "sid")? {
        Some(session) => Some(session),
        None => name(claims, "grant_id")?,
    };
    let kind = if is_machine(claims, &subject, client.as_deref()) {
        CallerKind::Machine
    } else {
        CallerKind::User
    };
    let proof = Proof {
        issuer: Some(Arc::from(settings.url.as_str())),
        client,
        grant,
        roles: names(claims, settings.roles.as_ref())?,
        groups: names(claims, settings.groups.as_ref())?,
        scopes: scopes(claims)?,
        claims: Some(Arc::from(claims.as_str())),
        expires: Some(ends),
        ..Proof::new(settings.tenant.clone(), kind, subject)
    };
    Ok(Verified {
        proof,
        audiences: audiences(claims)?,
        ends,
    })
}

/// Whether the token stands for its client alone. Issuers say it in different ways: the subject is the client (RFC 9068
/// §2.2), `idtyp` is `app`, `gty` is `client-credentials`.
fn is_machine(claims: Raw<'_>, subject: &str, client: Option<&str>) -> bool {
    let says = |claim: &str, word: &str| claims.member(claim).is_some_and(|it| it.is_text(word));
    let itself = client.is_some_and(|client| {
        subject == client || subject.strip_suffix("@clients") == Some(client)
    });
    itself || says("idtyp", "app") || says("gty", "client-credentials")
}

/// Whether the claims are those of an ID token (OpenID Connect Core 1.0 §2, §3.3.2.11), of a logout or security event
/// token (RFC 8417 §2.2), or name another purpose.
fn says_otherwise(claims: Raw<'_>) -> bool {
    let foreign = ["nonce", "at_hash", "c_hash", "s_hash", "events", "toe"];
    let access = |claim: Raw<'_>, words: &[&str]| {
        let text = claim.string().unwrap_or_default().to_ascii_lowercase();
        words.contains(&&*text)
    };
    let typ = claims.member("typ");
    let usage = claims.member("token_use");
    foreign.iter().any(|claim| claims.member(claim).is_some())
        || typ.is_some_and(|claim| !access(claim, &["bearer", "at+jwt", "jwt"]))
        || usage.is_some_and(|claim| !access(claim, &["access"]))
}

/// A time in seconds (RFC 7519 §2, `NumericDate`), fractions cut off.
fn time(claims: Raw<'_>, claim: &str) -> Result<Option<SystemTime>, TokenError> {
    let Some(value) = claims.member(claim) else {
        return Ok(None);
    };
    if value.kind() != Kind::Number {
        return Err(TokenError::Claim);
    }
    let seconds = value
        .as_str()
        .parse::<f64>()
        .map_err(|_| TokenError::Claim)?;
    if !(0.0..=LATEST).contains(&seconds) {
        return Err(TokenError::Claim);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was just seen to fit"
    )]
    let seconds = seconds as u64;
    Ok(Some(UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// A name that can stand in records and keys: not empty, not too long, no control characters.
fn name(claims: Raw<'_>, claim: &str) -> Result<Option<Arc<str>>, TokenError> {
    let Some(value) = claims.member(claim) else {
        return Ok(None);
    };
    let text = value.string().ok_or(TokenError::Claim)?;
    let fits = !text.is_empty() && text.len() <= LONGEST_NAME && !text.contains(char::is_control);
    fits.then(|| Some(Arc::from(text))).ok_or(TokenError::Claim)
}

/// The strings of a claim that is one string or an array of them.
fn strings(value: Raw<'_>) -> Result<Vec<Arc<str>>, TokenError> {
    let one = |value: Raw<'_>| value.string().map(Arc::from).ok_or(TokenError::Claim);
    if value.kind() == Kind::Array {
        value.items().map(one).collect()
    } else {
        Ok(vec![one(value)?])
    }
}

/// `aud` (RFC 7519 §4.1.3), which has to be there.
fn audiences(claims: Raw<'_>) -> Result<Arc<[Arc<str>]>, TokenError> {
    let value = claims.member("aud").ok_or(TokenError::Audience)?;
    strings(value).map(Arc::from)
}

/// The strings of a claim wherever it stands, sorted; none where it is not there.
fn names(claims: Raw<'_>, claim: Option<&ClaimName>) -> Result<Arc<[Arc<str>]>, TokenError> {
    let Some(claim) = claim else {
        return Ok(Arc::default());
    };
    let mut value = Some(claims);
    for step in claim.steps() {
        value = value.and_then(|value| value.member(step));
    }
    sorted(value.map(strings).transpose()?.unwrap_or_default())
}

/// `scope` (RFC 8693 §4.2), else `scp`: scopes in one string, or an array of them.
fn scopes(claims: Raw<'_>) -> Result<Arc<[Arc<str>]>, TokenError> {
    let value = claims.member("scope").or_else(|| claims.member("scp"));
    let texts = value.map(strings).transpose()?.unwrap_or_default();
    let words = texts.iter().flat_map(|text| text.split(' '));
    let scopes: Vec<Arc<str>> = words
        .filter(|word| !word.is_empty())
        .map(Arc::from)
        .collect();
    if scopes.iter().all(|scope| is_scope(scope)) {
        sorted(scopes)
    } else {
        Err(TokenError::Claim)
    }
}

fn sorted(mut names: Vec<Arc<str>>) -> Result<Arc<[Arc<str>]>, TokenError> {
    names.sort_unstable();
    names.dedup();
    Ok(Arc::from(names))
}
