//! Which tokens are somebody: hand-made ones, signed with keys of a hand-made issuer.

mod fuzzed;
mod keys;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_call::CallerKind;
use keepgate_jose::SignatureAlgorithm;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://idp.example/realms/acme";
const METADATA: &str = "https://idp.example/.well-known/oauth-authorization-server/realms/acme";
const JWKS: &str = "https://idp.example/realms/acme/keys";
const BASE: &str = "https://gw.example";
const PATH: &str = "/crm/mcp";

/// The documents of issuers, and who asked for them.
#[derive(Debug, Default)]
pub(super) struct Documents {
    held: Mutex<HashMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
}

impl Documents {
    fn held(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.held.lock().unwrap()
    }

    fn put(&self, url: &str, document: &dyn ToString) {
        self.held()
            .insert(url.to_owned(), document.to_string().into_bytes());
    }

    /// How often the keys were asked for.
    fn fetches(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|url| *url == JWKS).count()
    }
}

impl Fetch for Documents {
    fn fetch<'a>(&'a self, url: &'a str, cap: usize) -> Fetching<'a> {
        self.asked.lock().unwrap().push(url.to_owned());
        let found = self.held().get(url).cloned();
        Box::pin(async move {
            // A fetch takes a moment, so that others come while it runs.
            tokio::time::sleep(Duration::from_millis(50)).await;
            found
                .filter(|document| document.len() <= cap)
                .ok_or_else(|| FetchError("there is none".into()))
        })
    }
}

/// A private key of each kind.
pub(super) struct Keys {
    random: SystemRandom,
    es: EcdsaKeyPair,
    es384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ecdsa = |algorithm| {
            let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap()
        };
        Self {
            es: ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            es384: ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            ed: Ed25519KeyPair::from_pkcs8(
                Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref(),
            )
            .unwrap(),
            // Made for these tests alone.
            rsa: RsaKeyPair::from_der(include_bytes!("tests/rsa.der")).unwrap(),
            random,
        }
    }

    fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut made = vec![0; self.rsa.public().modulus_len()];
            self.rsa
                .sign(padding, &self.random, text, &mut made)
                .unwrap();
            made
        };
        match algorithm {
            "ES256" => self.es.sign(&self.random, text).unwrap().as_ref().to_vec(),
            "ES384" => self
                .es384
                .sign(&self.random, text)
                .unwrap()
                .as_ref()
                .to_vec(),
            "EdDSA" | "Ed25519" => self.ed.sign(text).as_ref().to_vec(),
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "none" => Vec::new(),
            // What a confused checker would take for the secret: the public key.
            "HS256" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &self.modulus());
                hmac::sign(&key, text).as_ref().to_vec()
            }
            other => panic!("{other}"),
        }
    }

    fn modulus(&self) -> Vec<u8> {
        RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public()).n
    }

    /// The public keys, with ids that begin with `prefix`.
    fn set(&self, prefix: &str) -> Vec<Value> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |pair: &EcdsaKeyPair| {
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            (text(x), text(y))
        };
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let ((x, y), (x384, y384)) = (point(&self.es), point(&self.es384));
        vec![
            json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": format!("{prefix}es"), "use": "sig", "alg": "ES256"}),
            json!({"kty": "EC", "crv": "P-384", "x": x384, "y": y384, "kid": format!("{prefix}es384")}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": text(self.ed.public_key().as_ref()), "kid": format!("{prefix}ed"), "key_ops": ["verify"]}),
            json!({"kty": "RSA", "n": text(&rsa.n), "e": text(&rsa.e), "kid": format!("{prefix}rsa")}),
        ]
    }

    /// A token with this header and these claims.
    fn token(&self, header: &Value, claims: &Value) -> String {
        self.raw(
            header["alg"].as_str().unwrap(),
            &header.to_string(),
            &claims.to_string(),
        )
    }

    /// A token whose parts are these very texts.
    fn raw(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
        let made = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", text(&made))
    }
}

/// An issuer and a gateway that believes it.
pub(super) struct World {
    keys: Keys,
    documents: Arc<Documents>,
    tokens: Arc<Tokens>,
    now: SystemTime,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other settings for the issuer.
    fn with(change: impl FnOnce(&mut IssuerSettings)) -> Self {
        let keys = Keys::new();
        let documents = Arc::new(Documents::default());
        documents.put(METADATA, &json!({"issuer": ISSUER, "jwks_uri": JWKS}));
        documents.put(JWKS, &json!({"keys": keys.set("")}));
        let url = IssuerUrl::parse(ISSUER).unwrap();
        let fetch: Arc<dyn Fetch> = Arc::<Documents>::clone(&documents);
        let mut issuer = IssuerSettings::new(url, fetch);
        change(&mut issuer);
        let resource = ResourceServer::new(BASE, vec![ISSUER.to_owned()], Vec::new()).unwrap();
        let settings = TokenSettings {
            resource,
            issuers: vec![issuer],
        };
        Self {
            keys,
            documents,
            tokens: Arc::new(Tokens::new(settings).unwrap()),
            now: SystemTime::now(),
        }
    }

    /// Has the keys fetched from now on.
    fn fetching(self) -> Self {
        let tokens = Arc::clone(&self.tokens);
        tokio::spawn(async move { tokens.keep_fresh().await });
        self
    }

    fn seconds(&self, offset: i64) -> i64 {
        let now = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap() + offset
    }

    /// The claims of a good token.
    fn claims(&self) -> Value {
        json!({
            "iss": ISSUER, "sub": "ada", "aud": "https://gw.example/crm/mcp", "client_id": "app", "sid": "s-1",
            "exp": self.seconds(600), "iat": self.seconds(-5), "jti": "1", "scope": "crm:read crm:list",
            "roles": ["support"], "groups": ["eu", "all"],
        })
    }

    /// A good token but for these claims; `null` takes one out.
    fn minted(&self, changed: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changed.as_object().unwrap() {
            let claims = claims.as_object_mut().unwrap();
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        self.keys.token(&header(&json!({})), &claims)
    }

    async fn ask(&self, token: &str) -> Result<Arc<Caller>, TokenError> {
        self.tokens
            .authenticate(token.as_bytes(), PATH, self.now)
            .await
    }
}

/// The header of a good token but for these members.
fn header(changed: &Value) -> Value {
    let mut header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "es"});
    for (name, value) in changed.as_object().unwrap() {
        header[name] = value.clone();
    }
    header
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    header
}

#[tokio::test(start_paused = true)]
async fn a_good_token_says_who_it_is() {
    let world = World::new().fetching();
    let token = world.minted(&json!({}));
    let caller = world.ask(&token).await.unwrap();
    assert_eq!(&*caller.subject, "ada");
    assert_eq!(caller.kind, CallerKind::User);
    assert_eq!(caller.issuer.as_deref(), Some(ISSUER));
    assert_eq!(caller.client.as_deref(), Some("app"));
    assert_eq!(caller.grant.as_deref(), Some("s-1"));
    let texts = |list: &[Arc<str>]| list.join(" ");
    assert_eq!(texts(&caller.scopes), "crm:list crm:read");
    assert_eq!(texts(&caller.roles), "support");
    assert_eq!(texts(&caller.groups), "all eu");
    let claims: Value = serde_json::from_str(caller.claims.as_deref().unwrap()).unwrap();
    assert_eq!(claims, world.claims());
    let left = caller.expires.unwrap().duration_since(world.now).unwrap();
    assert!(left <= Duration::from_secs(600) + claims::SKEW, "{left:?}");
    let again = world.ask(&token).await.unwrap();
    assert!(Arc::ptr_eq(&caller, &again), "shared, not made anew");
    assert_eq!(world.documents.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_of_the_list_works_and_no_other() {
    let world = World::new().fetching();
    for (algorithm, kid) in [
        ("ES256", "es"),
        ("ES384", "es384"),
        ("EdDSA", "ed"),
        ("Ed25519", "ed"),
        ("RS256", "rsa"),
        ("RS384", "rsa"),
        ("RS512", "rsa"),
        ("PS256", "rsa"),
        ("PS384", "rsa"),
        ("PS512", "rsa"),
    ] {
        let header = header(&json!({"alg": algorithm, "kid": kid}));
        let token = world.keys.token(&header, &world.claims());
        assert!(world.ask(&token).await.is_ok(), "{algorithm}");
    }
    let narrow =
        World::with(|issuer| issuer.algorithms = vec![SignatureAlgorithm::EdDsa]).fetching();
    assert_eq!(
        narrow.ask(&narrow.minted(&json!({}))).await.err(),
        Some(TokenError::Algorithm)
    );
}

/// What is wrong with a token is wrong however good the rest of it is.
#[expect(clippy::too_many_lines, reason = "one table")]
#[tokio::test(start_paused = true)]
async fn tokens_that_are_wrong_in_one_point_are_nobody() {
    use TokenError as E;
    let world = World::new().fetching();
    assert!(world.ask(&world.minted(&json!({}))).await.is_ok());
    let claims = world.claims();
    let headed = |changed: Value| world.keys.token(&header(&changed), &claims);
    let claimed = |changed: Value| world.minted(&changed);
    let raw = |header: &str, claims: &str| world.keys.raw("ES256", header, claims);
    let good = header(&json!({})).to_string();
    let after = |text: &str, more: &str| format!("{},{more}}}", &text[..text.len() - 1]);
    let padded = {
        let token = claimed(json!({"sub": "adam"}));
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        while !parts[1].len().is_multiple_of(4) {
            parts[1].push('=');
        }
        parts[1].push('=');
        parts.join(".")
    };
    let refused = [
        ("empty", String::new(), E::Malformed),
        (
            "not a token",
            "opaque-access-token".to_owned(),
            E::Malformed,
        ),
        ("two parts", "e30.e30".to_owned(), E::Malformed),
        (
            "four parts",
            format!("{}.e30", claimed(json!({}))),
            E::Malformed,
        ),
        (
            "five parts of a JWE",
            "e30.e30.e30.e30.e30".to_owned(),
            E::Malformed,
        ),
        ("padding", padded, E::Malformed),
        (
            "header is a list",
            raw("[]", &claims.to_string()),
            E::Malformed,
        ),
        ("claims are a list", raw(&good, "[]"), E::Malformed),
        ("claims are no JSON", raw(&good, "{"), E::Malformed),
        (
            "no algorithm",
            raw(r#"{"typ":"at+jwt","kid":"es"}"#, &claims.to_string()),
            E::Malformed,
        ),
        (
            "doubled alg",
            raw(&after(&good, r#""alg":"ES256""#), &claims.to_string()),
            E::Malformed,
        ),
        (
            "doubled claim",
            raw(&good, &after(&claims.to_string(), r#""sub":"root""#)),
            E::Malformed,
        ),
        (
            "doubled claim in escapes",
            raw(&good, &after(&claims.to_string(), r#""su\u0062":"root""#)),
            E::Malformed,
        ),
        (
            "none",
            headed(json!({"alg": "none", "kid": null})),
            E::Algorithm,
        ),
        (
            "None",
            raw(
                &header(&json!({"alg": "None"})).to_string(),
                &claims.to_string(),
            ),
            E::Algorithm,
        ),
        (
            "symmetric, by the public key",
            headed(json!({"alg": "HS256", "kid": "rsa"})),
            E::Algorithm,
        ),
        ("extensions", headed(json!({"crit": ["exp"]})), E::Critical),
        (
            "extensions, none of them",
            headed(json!({"crit": []})),
            E::Critical,
        ),
        ("no type", headed(json!({"typ": null})), E::Type),
        (
            "type of an ID token",
            headed(json!({"typ": "JWT"})),
            E::Type,
        ),
        (
            "type of a logout token",
            headed(json!({"typ": "logout+jwt"})),
            E::Type,
        ),
        (
            "type of an assertion",
            headed(json!({"typ": "oauth-id-jag+jwt"})),
            E::Type,
        ),
        (
            "type of a proof",
            headed(json!({"typ": "dpop+jwt"})),
            E::Type,
        ),
        (
            "type that is no text",
            headed(json!({"typ": ["at+jwt"]})),
            E::Malformed,
        ),
        ("unknown key", headed(json!({"kid": "other"})), E::Key),
        (
            "no key id, several keys fit",
            world
                .keys
                .token(&json!({"alg": "RS256", "typ": "at+jwt", "kid": 7}), &claims),
            E::Malformed,
        ),
        (
            "key of another kind",
            headed(json!({"alg": "RS256", "kid": "es"})),
            E::Key,
        ),
        (
            "key of another curve",
            headed(json!({"alg": "ES384", "kid": "es"})),
            E::Key,
        ),
        (
            "brings its own key",
            {
                let other = Keys::new();
                other.token(
                    &header(&json!({"jwk": other.set("")[0], "jku": "https://evil.example"})),
                    &claims,
                )
            },
            E::Signature,
        ),
        ("no issuer", claimed(json!({"iss": null})), E::Issuer),
        (
            "another issuer",
            claimed(json!({"iss": "https://evil.example"})),
            E::Issuer,
        ),
        (
            "almost the issuer",
            claimed(json!({"iss": format!("{ISSUER}/")})),
            E::Issuer,
        ),
        (
            "issuer in another case",
            claimed(json!({"iss": ISSUER.to_uppercase()})),
            E::Issuer,
        ),
        (
            "issuers in a list",
            claimed(json!({"iss": [ISSUER]})),
            E::Issuer,
        ),
        ("no audience", claimed(json!({"aud": null})), E::Audience),
        (
            "another audience",
            claimed(json!({"aud": "https://other.example"})),
            E::Audience,
        ),
        (
            "another endpoint",
            claimed(json!({"aud": "https://gw.example/hr/mcp"})),
            E::Audience,
        ),
        (
            "the gateway, which was not said to stand for all",
            claimed(json!({"aud": BASE})),
            E::Audience,
        ),
        (
            "more than the endpoint",
            claimed(json!({"aud": "https://gw.example/crm/mcp/"})),
            E::Audience,
        ),
        (
            "the client, as in an ID token",
            claimed(json!({"aud": "app"})),
            E::Audience,
        ),
        (
            "audience that is no text",
            claimed(json!({"aud": [1]})),
            E::Claim,
        ),
        ("no end", claimed(json!({"exp": null})), E::Claim),
        (
            "end that is no number",
            claimed(json!({"exp": world.seconds(600).to_string()})),
            E::Claim,
        ),
        ("end before time", claimed(json!({"exp": -1})), E::Claim),
        ("end beyond time", claimed(json!({"exp": 1e300})), E::Claim),
        (
            "ended",
            claimed(json!({"exp": world.seconds(-31)})),
            E::Expired,
        ),
        (
            "not begun",
            claimed(json!({"nbf": world.seconds(40)})),
            E::Early,
        ),
        (
            "made in the future",
            claimed(json!({"iat": world.seconds(40)})),
            E::Early,
        ),
        (
            "bound to a key",
            claimed(json!({"cnf": {"jkt": "x"}})),
            E::Bound,
        ),
        ("no subject", claimed(json!({"sub": null})), E::Claim),
        ("empty subject", claimed(json!({"sub": ""})), E::Claim),
        (
            "subject of several lines",
            claimed(json!({"sub": "a\nb"})),
            E::Claim,
        ),
        (
            "endless subject",
            claimed(json!({"sub": "a".repeat(256)})),
            E::Claim,
        ),
        (
            "scopes that are no text",
            claimed(json!({"scope": 1})),
            E::Claim,
        ),
        (
            "scopes that break a header",
            claimed(json!({"scope": "a\"b"})),
            E::Claim,
        ),
        (
            "roles that are no text",
            claimed(json!({"roles": {"a": 1}})),
            E::Claim,
        ),
        (
            "too long",
            claimed(json!({"jti": "a".repeat(LONGEST_TOKEN)})),
            E::Oversized,
        ),
    ];
    for (what, token, error) in refused {
        assert_eq!(world.ask(&token).await.err(), Some(error), "{what}");
    }
    let swapped = {
        let (one, two) = (claimed(json!({})), claimed(json!({"sub": "root"})));
        let [header, claims, _] = *two.split('.').collect::<Vec<_>>() else {
            panic!()
        };
        format!("{header}.{claims}.{}", one.rsplit('.').next().unwrap())
    };
    assert_eq!(world.ask(&swapped).await.err(), Some(E::Signature));
}

#[tokio::test(start_paused = true)]
async fn clocks_may_differ_by_half_a_minute() {
    let world = World::new().fetching();
    for changed in [
        json!({"exp": world.seconds(-29)}),
        json!({"nbf": world.seconds(29)}),
        json!({"exp": world.seconds(60) as f64 + 0.5}),
    ] {
        assert!(
            world.ask(&world.minted(&changed)).await.is_ok(),
            "{changed}"
        );
    }
    // What is remembered ends like what is not.
    let token = world.minted(&json!({"exp": world.seconds(100)}));
    let at = |seconds| world.now + Duration::from_secs(seconds);
    for (seconds, known) in [(0, true), (129, true), (131, false), (129, true)] {
        let answer = world
            .tokens
            .authenticate(token.as_bytes(), PATH, at(seconds))
            .await;
        assert_eq!(answer.is_ok(), known, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_for_the_endpoints_it_names_also_when_remembered() {
    let world = World::with(|issuer| issuer.audience = Some("api://gateway".to_owned())).fetching();
    let ask = async |token: &str, path: &str| {
        let answer = world.tokens.authenticate(token.as_bytes(), path, world.now);
        answer.await.map(|_| ())
    };
    let one = world.minted(&json!({"aud": "https://gw.example/crm/mcp"}));
    let two = world
        .minted(&json!({"aud": ["x", "https://gw.example/crm/mcp", "https://gw.example/hr/mcp"]}));
    let all = world.minted(&json!({"aud": ["api://gateway"]}));
    for _ in 0..2 {
        assert_eq!(ask(&one, "/crm/mcp").await, Ok(()));
        assert_eq!(ask(&one, "/hr/mcp").await, Err(TokenError::Audience));
        assert_eq!(ask(&two, "/hr/mcp").await, Ok(()));
        assert_eq!(ask(&two, "/fs/mcp").await, Err(TokenError::Audience));
        assert_eq!(ask(&all, "/fs/mcp").await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn issuers_without_the_type_are_believed_where_that_is_allowed_but_not_their_id_tokens() {
    let world = World::with(|issuer| issuer.kind = TokenKind::Plain).fetching();
    let ask = async |typ: Value, changed: Value| {
        let mut claims = world.claims();
        claims
            .as_object_mut()
            .unwrap()
            .extend(changed.as_object().unwrap().clone());
        let token = world.keys.token(&header(&json!({"typ": typ})), &claims);
        world.ask(&token).await.map(|_| ())
    };
    for typ in [
        json!(null),
        json!("JWT"),
        json!("at+jwt"),
        json!("application/AT+JWT"),
    ] {
        assert_eq!(ask(typ, json!({})).await, Ok(()));
    }
    assert_eq!(ask(json!("JWT"), json!({"typ": "Bearer"})).await, Ok(()));
    for foreign in [
        json!({"nonce": "n"}),
        json!({"at_hash": "h"}),
        json!({"c_hash": "h"}),
        json!({"typ": "ID"}),
        json!({"typ": "Refresh"}),
        json!({"token_use": "id"}),
        json!({"events": {}}),
    ] {
        let answer = ask(json!("JWT"), foreign.clone()).await;
        assert_eq!(answer, Err(TokenError::Purpose), "{foreign}");
    }
    assert_eq!(
        ask(json!("logout+jwt"), json!({})).await,
        Err(TokenError::Type)
    );
}

#[tokio::test(start_paused = true)]
async fn claims_are_read_as_issuers_write_them() {
    let world = World::with(|issuer| {
        issuer.roles = Some(ClaimName::new("/realm_access/roles"));
        issuer.groups = Some(ClaimName::new("https://acme.example/groups"));
        issuer.tenant = keepgate_call::Tenant::new("acme");
    })
    .fetching();
    let token = world.minted(&json!({
        "scope": null, "scp": ["b", "a c"], "realm_access": {"roles": ["x"]},
        "https://acme.example/groups": "one", "client_id": null, "azp": "portal", "sid": null,
    }));
    let caller = world.ask(&token).await.unwrap();
    assert_eq!(caller.scopes.join(" "), "a b c");
    assert_eq!(
        (caller.roles.join(" "), caller.groups.join(" ")),
        ("x".into(), "one".into())
    );
    assert_eq!(caller.client.as_deref(), Some("portal"));
    assert_eq!(caller.grant, None);
    assert_eq!(caller.tenant.as_str(), "acme");
    for machine in [
        json!({"sub": "app"}),
        json!({"sub": "app@clients"}),
        json!({"sub": "7", "idtyp": "app"}),
        json!({"sub": "7", "gty": "client-credentials"}),
    ] {
        let caller = world.ask(&world.minted(&machine)).await.unwrap();
        assert_eq!(caller.kind, CallerKind::Machine, "{machine}");
    }
}

#[test]
fn issuers_are_https_and_nothing_else() {
    for good in [
        "https://idp.example",
        "https://idp.example/",
        "https://idp.example:8443/a/b",
        "http://127.0.0.1:9000",
        "http://localhost:9000/x",
        "http://[::1]:9000",
    ] {
        assert_eq!(IssuerUrl::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        "idp.example",
        "http://idp.example",
        "http://127.0.0.1.evil.example",
        "ftp://idp.example",
        "https://user:secret@idp.example",
        "https://idp.example?x",
        "https://idp.example#x",
        "https://",
        "file:///etc/passwd",
    ] {
        let refused = IssuerUrl::parse(bad).unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }
}
