//! The keys of an issuer (RFC 7517, RFC 7518 §6, RFC 8037) and the signatures they make.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_mcp::json::{self, Limits, Raw};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use super::jwt::Jwt;

/// Most bytes of a document with keys.
pub(super) const LONGEST_SET: usize = 1024 * 1024;
/// Most keys that are taken from one. Issuers with a key for each of their clients have hundreds.
pub(super) const MAX_KEYS: usize = 1_024;
/// What its JSON may cost.
const LIMITS: Limits = Limits {
    bytes: LONGEST_SET,
    depth: 16,
    nodes: 65_536,
};

macro_rules! algorithms {
    ($($name:ident = $text:literal;)+) => {
        /// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1). Asymmetric ones only: with `none` and `HS*` anybody who
        /// can read the keys could make tokens.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the registry's")]
        pub enum Algorithm { $($name,)+ }

        impl Algorithm {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in headers and keys.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

algorithms! {
    Rs256 = "RS256";
    Rs384 = "RS384";
    Rs512 = "RS512";
    Ps256 = "PS256";
    Ps384 = "PS384";
    Ps512 = "PS512";
    Es256 = "ES256";
    Es384 = "ES384";
    EdDsa = "EdDSA";
}

impl Algorithm {
    /// Reads a name; `Ed25519` (RFC 9864) is the name of the one curve that `EdDSA` stands for here. `None` for all others.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == name)
    }
}

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    id: Option<String>,
    /// The one algorithm the issuer allows the key, if it says so.
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    /// An uncompressed point.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Reads the keys of a set that can check signatures, and counts those beyond [`MAX_KEYS`]; what else it holds is left out. `None`
/// for what is no key set.
pub(super) fn read(document: &[u8]) -> Option<(Vec<Key>, usize)> {
    let set = json::parse(document, &LIMITS).ok()?;
    let keys = set
        .member("keys")
        .filter(|keys| keys.kind() == json::Kind::Array)?;
    let mut keys = keys.items().filter_map(Key::read);
    let taken = keys.by_ref().take(MAX_KEYS).collect();
    Some((taken, keys.count()))
}

impl Key {
    /// Reads one key. `None` for one that is not for signatures, or of a kind not known here.
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
            Some(name) => Some(Algorithm::parse(&name)?),
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
        let material = match (&*key.member("kty")?.string()?, optional("crv")?.as_deref()) {
            ("RSA", _) => Material::Rsa {
                modulus: bytes("n")?,
                exponent: bytes("e")?,
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => {
                Material::Ed25519(bytes("x").filter(|point| point.len() == 32)?)
            }
            _ => return None,
        };
        let id = optional("kid")?.map(|id| id.into_owned());
        Some(Self { id, only, material })
    }

    /// Its id.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether this is the key with that id.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    /// Whether the key can have made a signature of this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        let of_kind = match (&self.material, algorithm) {
            (Material::Rsa { .. }, A::Rs256 | A::Rs384 | A::Rs512)
            | (Material::Rsa { .. }, A::Ps256 | A::Ps384 | A::Ps512)
            | (Material::P256(_), A::Es256)
            | (Material::P384(_), A::Es384)
            | (Material::Ed25519(_), A::EdDsa) => true,
            (
                Material::Rsa { .. } | Material::P256(_) | Material::P384(_) | Material::Ed25519(_),
                A::Rs256
                | A::Rs384
                | A::Rs512
                | A::Ps256
                | A::Ps384
                | A::Ps512
                | A::Es256
                | A::Es384
                | A::EdDsa,
            ) => false,
        };
        of_kind && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether the signature of the token is this key's.
    pub(super) fn verifies(&self, jwt: &Jwt<'_>) -> bool {
        if !self.fits(jwt.algorithm()) {
            return false;
        }
        let (signed, made) = (jwt.signed(), jwt.signature());
        let one = |algorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key)
                .verify(signed, made)
                .is_ok()
        };
        match &self.material {
            Material::Rsa { modulus, exponent } => {
                let components = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                rsa(jwt.algorithm())
                    .is_some_and(|parameters| components.verify(parameters, signed, made).is_ok())
            }
            Material::P256(point) => one(&signature::ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => one(&signature::ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(point) => UnparsedPublicKey::new(&signature::ED25519, point)
                .verify(signed, made)
                .is_ok(),
        }
    }
}

/// The RSA schemes: moduli of 2048 bits at least (RFC 7518 §3.3).
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}
