//! Key sets of issuers (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_mcp::json::{self, Limits, Raw};

use crate::{
    SignatureAlgorithm,
    compact::Compact,
    public::{Family, PublicKey},
};

/// Maximum size of a document with keys, in bytes.
pub const MAX_SET_BYTES: usize = 1024 * 1024;
/// Maximum number of keys read from one. Issuers with a key for each of their clients have hundreds.
pub const MAX_KEYS: usize = 1_024;
/// Cost of its JSON.
const LIMITS: Limits = Limits {
    bytes: MAX_SET_BYTES,
    depth: 16,
    nodes: 65_536,
};

/// The keys of a set that verify signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// The keys, at most [`MAX_KEYS`].
    pub keys: Vec<Jwk>,
    /// Number of keys left out beyond those.
    pub left_out: usize,
}

/// A public key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    id: Option<String>,
    /// The one algorithm the issuer allows the key, if it names one.
    only: Option<SignatureAlgorithm>,
    key: PublicKey,
}

impl KeySet {
    /// Reads a set; keys of other kinds or for other uses are ignored. `None` for a document that is no key set.
    #[must_use]
    pub fn read(document: &[u8]) -> Option<Self> {
        let set = json::parse(document, &LIMITS).ok()?;
        let keys = set
            .member("keys")
            .filter(|keys| keys.kind() == json::Kind::Array)?;
        let mut keys = keys.items().filter_map(Jwk::read);
        Some(Self {
            keys: keys.by_ref().take(MAX_KEYS).collect(),
            left_out: keys.count(),
        })
    }
}

impl Jwk {
    fn read(key: Raw<'_>) -> Option<Self> {
        let text = |name: &str| key.member(name).map(|value| value.string().ok_or(()));
        // Of a wrong form is not the same as absent: such a key is not used.
        let optional = |name: &str| text(name).transpose().ok();
        let use_ = optional("use")?;
        let verifies = |operations: Raw<'_>| operations.items().any(|one| one.is_text("verify"));
        if use_.is_some_and(|use_| use_ != "sig") || !key.member("key_ops").is_none_or(verifies) {
            return None;
        }
        let only = match optional("alg")? {
            None => None,
            Some(name) => Some(SignatureAlgorithm::parse(&name)?),
        };
        let bytes = |name: &str| {
            URL_SAFE_NO_PAD
                .decode(key.member(name)?.string()?.as_bytes())
                .ok()
        };
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == length && y.len() == length).then(|| [&[4], &*x, &*y].concat())
        };
        let public = match (&*key.member("kty")?.string()?, optional("crv")?.as_deref()) {
            ("RSA", _) => PublicKey::Rsa {
                modulus: bytes("n")?,
                exponent: bytes("e")?,
            },
            ("EC", Some("P-256")) => PublicKey::P256(point(32)?),
            ("EC", Some("P-384")) => PublicKey::P384(point(48)?),
            ("OKP", Some("Ed25519")) => {
                PublicKey::Ed25519(bytes("x").filter(|point| point.len() == 32)?)
            }
            _ => return None,
        };
        Some(Self {
            id: optional("kid")?.map(|id| id.into_owned()),
            only,
            key: public,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the key may have made a signature of this algorithm.
    #[must_use]
    pub fn fits(&self, algorithm: SignatureAlgorithm) -> bool {
        self.key.family() == Family::of(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether the signature of the token is this key's by `algorithm`.
    #[must_use]
    pub fn verifies(&self, algorithm: SignatureAlgorithm, token: &Compact<'_>) -> bool {
        self.fits(algorithm)
            && self
                .key
                .verifies(algorithm, token.signed(), token.signature())
    }
}
