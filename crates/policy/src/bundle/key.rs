//! Keys that sign bundles and check them: the algorithms of RFC 7518 §3.1 that `ring` has.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use ring::{digest, hmac};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// Shortest secret of `HS*`, in bytes: RFC 7518 §3.2 asks for as many as the hash has.
const SHORTEST_SECRET: usize = 32;

macro_rules! algorithms {
    ($($name:ident = $text:literal;)+) => {
        /// A signature algorithm, by its name in RFC 7518 §3.1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the registry's")]
        pub enum Algorithm { $($name,)+ }

        impl Algorithm {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name.
            #[must_use]
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
    Hs256 = "HS256";
    Hs384 = "HS384";
    Hs512 = "HS512";
}

/// What a key of an algorithm is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Secret(hmac::Algorithm),
}

impl Algorithm {
    /// The algorithm of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == name)
    }

    /// Whether who checks could sign as well.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self.family(), Family::Secret(_))
    }

    fn family(self) -> Family {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                Family::Rsa
            }
            Self::Es256 => Family::P256,
            Self::Es384 => Family::P384,
            Self::Hs256 => Family::Secret(hmac::HMAC_SHA256),
            Self::Hs384 => Family::Secret(hmac::HMAC_SHA384),
            Self::Hs512 => Family::Secret(hmac::HMAC_SHA512),
        }
    }

    fn verification(self) -> Option<&'static dyn signature::VerificationAlgorithm> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Hs256 | Self::Hs384 | Self::Hs512 => return None,
        })
    }

    fn rsa_encoding(self) -> Option<&'static dyn signature::RsaEncoding> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_SHA512,
            Self::Ps256 => &signature::RSA_PSS_SHA256,
            Self::Ps384 => &signature::RSA_PSS_SHA384,
            Self::Ps512 => &signature::RSA_PSS_SHA512,
            Self::Es256 | Self::Es384 | Self::Hs256 | Self::Hs384 | Self::Hs512 => return None,
        })
    }
}

/// Why a key cannot be used. None says anything of what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such key in the file.
    #[error("no PEM block `PUBLIC KEY`")]
    NoPublicKey,
    /// There is no such key in the file.
    #[error("no PEM block `PRIVATE KEY`")]
    NoPrivateKey,
    /// The key is of another algorithm, of another curve, or damaged.
    #[error("key is not one of {0}")]
    Other(&'static str),
    /// The secret can be guessed.
    #[error("secret is shorter than {SHORTEST_SECRET} bytes")]
    Short,
    /// The system gives no random bytes, or the key does not fit.
    #[error("failed to sign")]
    Sign,
}

/// A key that checks signatures of one algorithm.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Public(Vec<u8>),
    Secret(hmac::Key),
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Reads a key for `algorithm`: a PEM file with a `PUBLIC KEY` (RFC 7468 §13), or the bytes of a secret for `HS*`, of
    /// which one line end at the close is not counted.
    ///
    /// # Errors
    /// [`KeyError`]; RSA keys have at least 2,048 bits, secrets 32 bytes.
    pub fn read(algorithm: Algorithm, file: &[u8]) -> Result<Self, KeyError> {
        let other = KeyError::Other(algorithm.as_str());
        let material = match algorithm.family() {
            Family::Secret(kind) => Material::Secret(secret(kind, file)?),
            family @ (Family::Rsa | Family::P256 | Family::P384) => {
                let key = SubjectPublicKeyInfoDer::from_pem_slice(file)
                    .map_err(|_| KeyError::NoPublicKey)?;
                Material::Public(public(family, &key).ok_or(other)?)
            }
        };
        let key = Self {
            algorithm,
            material,
        };
        // `ring` looks at a key when it is used: what it would never take is told now.
        if key.is_weak() { Err(other) } else { Ok(key) }
    }

    /// The one algorithm it checks.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether an RSA key has fewer bits than are taken.
    fn is_weak(&self) -> bool {
        let Material::Public(bytes) = &self.material else {
            return false;
        };
        self.algorithm.family() == Family::Rsa && bytes.len() < 256
    }

    /// Whether `signature` is of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, self.algorithm.verification()) {
            (Material::Secret(key), _) => hmac::verify(key, message, signature).is_ok(),
            (Material::Public(key), Some(algorithm)) => UnparsedPublicKey::new(algorithm, key)
                .verify(message, signature)
                .is_ok(),
            (Material::Public(_), None) => false,
        }
    }
}

/// A key that signs with one algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    material: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Secret(hmac::Key),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a key for `algorithm`: a PEM file with a `PRIVATE KEY` (PKCS #8, RFC 7468 §10), or the bytes of a secret.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(algorithm: Algorithm, file: &[u8]) -> Result<Self, KeyError> {
        let other = KeyError::Other(algorithm.as_str());
        let pkcs8 = || PrivatePkcs8KeyDer::from_pem_slice(file).map_err(|_| KeyError::NoPrivateKey);
        let curve = |kind: &'static signature::EcdsaSigningAlgorithm| {
            let key = pkcs8()?;
            let pair = EcdsaKeyPair::from_pkcs8(kind, key.secret_pkcs8_der(), &SystemRandom::new());
            pair.map(Pair::Ecdsa).map_err(|_| other)
        };
        let material = match algorithm.family() {
            Family::Secret(kind) => Pair::Secret(secret(kind, file)?),
            Family::P256 => curve(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Family::P384 => curve(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Family::Rsa => {
                let key = pkcs8()?;
                let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| other)?;
                Pair::Rsa(Box::new(pair))
            }
        };
        Ok(Self {
            algorithm,
            material,
        })
    }

    /// The algorithm it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.material {
            Pair::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Pair::Ecdsa(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message);
                Ok(signed.map_err(|_| KeyError::Sign)?.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let encoding = self.algorithm.rsa_encoding().ok_or(KeyError::Sign)?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
        }
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let material = match &self.material {
            Pair::Rsa(pair) => Material::Public(pair.public_key().as_ref().to_vec()),
            Pair::Ecdsa(pair) => Material::Public(pair.public_key().as_ref().to_vec()),
            Pair::Secret(key) => Material::Secret(key.clone()),
        };
        PublicKey {
            algorithm: self.algorithm,
            material,
        }
    }
}

/// A secret without the line end an editor leaves.
fn secret(kind: hmac::Algorithm, file: &[u8]) -> Result<hmac::Key, KeyError> {
    let bare = file.strip_suffix(b"\n").unwrap_or(file);
    let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
    // A key pair where a secret is wanted would make the public half the secret (the old confusion of HS and RS).
    if <(SectionKind, Vec<u8>)>::pem_slice_iter(file)
        .next()
        .is_some()
    {
        return Err(KeyError::Other("HS256, HS384 or HS512"));
    }
    if bare.len() < SHORTEST_SECRET {
        return Err(KeyError::Short);
    }
    Ok(hmac::Key::new(kind, bare))
}

/// `id-ecPublicKey` and the curve's parameters, `rsaEncryption` with its NULL (RFC 5480 §2.1, RFC 3279 §2.3.1).
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
const P384: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// What `ring` wants of a `SubjectPublicKeyInfo`: the point, or the `RSAPublicKey`.
fn public(family: Family, der: &[u8]) -> Option<Vec<u8>> {
    let (whole, rest) = element(der, 0x30)?;
    let (algorithm, after) = element(whole, 0x30)?;
    let (bits, end) = element(after, 0x03)?;
    let key = bits.strip_prefix(&[0])?;
    let (wanted, length) = match family {
        Family::Rsa => (RSA, None),
        Family::P256 => (P256, Some(65)),
        Family::P384 => (P384, Some(97)),
        Family::Secret(_) => return None,
    };
    let fits = length.is_none_or(|length| key.len() == length);
    let whole = rest.is_empty() && end.is_empty();
    (whole && fits && algorithm == wanted).then(|| key.to_vec())
}

/// The content of the DER element with `tag` at the beginning, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (one, rest) = rest.split_first()?;
            (usize::from(*one), rest)
        }
        0x82 => {
            let (two, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*two)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Hashes of files that are taken; weaker ones that OPA still knows are not.
pub(crate) fn hasher(name: &str) -> Option<&'static digest::Algorithm> {
    match name {
        "SHA-256" => Some(&digest::SHA256),
        "SHA-384" => Some(&digest::SHA384),
        "SHA-512" => Some(&digest::SHA512),
        "SHA-512-256" => Some(&digest::SHA512_256),
        _ => None,
    }
}
