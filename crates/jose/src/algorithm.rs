//! Names of algorithms.

/// An enumeration of algorithms by their registered names.
macro_rules! algorithms {
    ($(#[$meta:meta])* $kind:ident { $($name:ident = $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the registry's")]
        pub enum $kind { $($name,)+ }

        impl $kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The registered name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

algorithms! {
    /// An algorithm with a public key (RFC 7518 §3.1, RFC 8037 §3.1). Access tokens know these alone: with `none` and `HS*`
    /// anybody who can read the keys could make tokens.
    SignatureAlgorithm {
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
}

algorithms! {
    /// An algorithm with a shared secret (RFC 7518 §3.2).
    MacAlgorithm {
        Hs256 = "HS256";
        Hs384 = "HS384";
        Hs512 = "HS512";
    }
}

impl SignatureAlgorithm {
    /// Reads a name; `Ed25519` (RFC 9864) is the one curve that `EdDSA` stands for here. `None` for all others.
    #[must_use]
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

/// An algorithm of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// With a key pair.
    Signature(SignatureAlgorithm),
    /// With a shared secret.
    Mac(MacAlgorithm),
}

impl Algorithm {
    /// Returns all of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let signatures = SignatureAlgorithm::ALL.iter().copied().map(Self::Signature);
        signatures.chain(MacAlgorithm::ALL.iter().copied().map(Self::Mac))
    }

    /// Reads a registered name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|known| known.as_str() == name)
    }

    /// The registered name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signature(one) => one.as_str(),
            Self::Mac(one) => one.as_str(),
        }
    }

    /// Whether a party that verifies could sign as well.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Mac(_))
    }
}
