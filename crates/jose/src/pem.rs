//! Keys in files, each for one algorithm.

use std::fmt;

use ring::{
    hmac,
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use rustls_pki_types::{
    PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer,
    pem::{PemObject, SectionKind},
};

use crate::{
    Algorithm, MacAlgorithm, SignatureAlgorithm, der,
    public::{Family, PublicKey},
};

/// Minimum length of a secret in bytes: RFC 7518 §3.2 asks for as many as the hash has.
const MIN_SECRET_BYTES: usize = 32;

/// A key that cannot be used. No variant shows what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file has no public key.
    #[error("no PEM block `PUBLIC KEY`")]
    NoPublicKey,
    /// The file has no private key.
    #[error("no PEM block `PRIVATE KEY`")]
    NoPrivateKey,
    /// The key is of another algorithm, of another curve, weak, or damaged.
    #[error("key is not one of {0}")]
    Other(&'static str),
    /// The secret can be guessed.
    #[error("secret is shorter than {MIN_SECRET_BYTES} bytes")]
    Short,
    /// The system gives no random bytes, or the key does not fit.
    #[error("failed to sign")]
    Sign,
}

/// A key that verifies signatures of one algorithm.
#[derive(Clone)]
pub struct VerifyingKey(Verifying);

#[derive(Clone)]
enum Verifying {
    Public(SignatureAlgorithm, PublicKey),
    Secret(MacAlgorithm, hmac::Key),
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyingKey")
            .field(&self.algorithm())
            .finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// Reads a key for `algorithm`: a PEM file with a `PUBLIC KEY` (RFC 7468 §13), or the bytes of a secret for `HS*`, of
    /// which one line end at the close is not counted.
    ///
    /// # Errors
    /// [`KeyError`]; RSA keys have at least 2,048 bits, secrets 32 bytes.
    pub fn read(algorithm: Algorithm, file: &[u8]) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::Mac(kind) => Verifying::Secret(kind, secret(kind, file)?),
            Algorithm::Signature(kind) => {
                let info = SubjectPublicKeyInfoDer::from_pem_slice(file)
                    .map_err(|_| KeyError::NoPublicKey)?;
                let key = der::public_key(&info, kind).filter(|key| !key.is_weak());
                Verifying::Public(kind, key.ok_or(KeyError::Other(algorithm.as_str()))?)
            }
        };
        Ok(Self(key))
    }

    /// The one algorithm it verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Verifying::Public(kind, _) => Algorithm::Signature(*kind),
            Verifying::Secret(kind, _) => Algorithm::Mac(*kind),
        }
    }

    /// Whether `signature` is over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Verifying::Public(kind, key) => key.verifies(*kind, message, signature),
            Verifying::Secret(_, key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// A key that signs with one algorithm.
pub struct SigningKey {
    pair: Pair,
    verifying: VerifyingKey,
}

enum Pair {
    Rsa(Box<RsaKeyPair>, &'static dyn signature::RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(hmac::Key),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.algorithm())
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a key for `algorithm`: a PEM file with a `PRIVATE KEY` (PKCS #8, RFC 7468 §10), or the bytes of a secret.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(algorithm: Algorithm, file: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Mac(kind) => {
                let key = secret(kind, file)?;
                Ok(Self {
                    pair: Pair::Secret(key.clone()),
                    verifying: VerifyingKey(Verifying::Secret(kind, key)),
                })
            }
            Algorithm::Signature(kind) => Self::read_pair(kind, file),
        }
    }

    fn read_pair(kind: SignatureAlgorithm, file: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(file).map_err(|_| KeyError::NoPrivateKey)?;
        let der = der.secret_pkcs8_der();
        let other = KeyError::Other(kind.as_str());
        let curve = |curve: &'static signature::EcdsaSigningAlgorithm| {
            EcdsaKeyPair::from_pkcs8(curve, der, &SystemRandom::new()).map_err(|_| other)
        };
        let (pair, public) = match Family::of(kind) {
            Family::P256 => {
                let pair = curve(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?;
                let point = PublicKey::P256(pair.public_key().as_ref().to_vec());
                (Pair::Ecdsa(pair), point)
            }
            Family::P384 => {
                let pair = curve(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?;
                let point = PublicKey::P384(pair.public_key().as_ref().to_vec());
                (Pair::Ecdsa(pair), point)
            }
            Family::Ed25519 => {
                // Keys as `openssl genpkey` writes them have no public half to compare with.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| other)?;
                let point = PublicKey::Ed25519(pair.public_key().as_ref().to_vec());
                (Pair::Ed25519(pair), point)
            }
            Family::Rsa => {
                let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| other)?;
                let public = der::rsa(pair.public_key().as_ref()).ok_or(other)?;
                (
                    Pair::Rsa(Box::new(pair), encoding(kind).ok_or(other)?),
                    public,
                )
            }
        };
        Ok(Self {
            pair,
            verifying: VerifyingKey(Verifying::Public(kind, public)),
        })
    }

    /// The algorithm it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.verifying.algorithm()
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn verifying(&self) -> VerifyingKey {
        self.verifying.clone()
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// [`KeyError::Sign`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Ecdsa(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message);
                Ok(signed.map_err(|_| KeyError::Sign)?.as_ref().to_vec())
            }
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
        }
    }
}

fn encoding(algorithm: SignatureAlgorithm) -> Option<&'static dyn signature::RsaEncoding> {
    use SignatureAlgorithm as A;
    Some(match algorithm {
        A::Rs256 => &signature::RSA_PKCS1_SHA256,
        A::Rs384 => &signature::RSA_PKCS1_SHA384,
        A::Rs512 => &signature::RSA_PKCS1_SHA512,
        A::Ps256 => &signature::RSA_PSS_SHA256,
        A::Ps384 => &signature::RSA_PSS_SHA384,
        A::Ps512 => &signature::RSA_PSS_SHA512,
        A::Es256 | A::Es384 | A::EdDsa => return None,
    })
}

/// A secret without the line end an editor leaves.
fn secret(kind: MacAlgorithm, file: &[u8]) -> Result<hmac::Key, KeyError> {
    let bare = file.strip_suffix(b"\n").unwrap_or(file);
    let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
    // A key pair where a secret is wanted would make the public half the secret (the old confusion of HS and RS).
    if <(SectionKind, Vec<u8>)>::pem_slice_iter(file)
        .next()
        .is_some()
    {
        return Err(KeyError::Other("HS256, HS384 or HS512"));
    }
    if bare.len() < MIN_SECRET_BYTES {
        return Err(KeyError::Short);
    }
    let hash = match kind {
        MacAlgorithm::Hs256 => hmac::HMAC_SHA256,
        MacAlgorithm::Hs384 => hmac::HMAC_SHA384,
        MacAlgorithm::Hs512 => hmac::HMAC_SHA512,
    };
    Ok(hmac::Key::new(hash, bare))
}
