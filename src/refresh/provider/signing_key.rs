//! The private key that signs client assertions.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaKeyPair,
    },
};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Algorithm;
use crate::types::private_key_in;

/// The smallest RSA key that may sign, in bytes (RFC 7518, section 3.3).
const RSA_BYTES: usize = 256;

/// A private key and the algorithm that it signs with.
pub(super) struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    /// Returns the key if it is one for the algorithm.
    fn of(der: &PrivateKeyDer<'_>, algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => rsa(der).map(Self::Rsa),
            Algorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Self::Ecdsa),
            Algorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map(Self::Ecdsa),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(der.secret_der())
                .ok()
                .map(Self::Ed25519),
        }
    }
}

impl SigningKey {
    /// Reads a private key: PKCS #8, or PKCS #1 for RSA, or SEC 1 for ECDSA.
    ///
    /// # Errors
    /// Returns what is wrong with it. The text doesn't quote the key.
    pub fn from_pem(pem: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let der = private_key_in(pem)?;
        let pair = Pair::of(&der, algorithm).ok_or_else(|| {
            let fits = Algorithm::ALL.into_iter();
            let fits = fits.filter(|other| Pair::of(&der, *other).is_some());
            let fits: Vec<_> = fits.map(Algorithm::name).collect();
            let fits = match &fits[..] {
                [] => "nor for another algorithm that the broker knows".to_owned(),
                fits => format!("but for {}", fits.join(" or ")),
            };
            let name = algorithm.name();
            format!("the private key is none for {name}, {fits} (private-key-algorithm)")
        })?;
        Ok(Self { algorithm, pair })
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// Returns an error if the random numbers run out.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let random = SystemRandom::new();
        let failed = |_| "the client assertion can't be signed".to_owned();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = match self.algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

fn rsa(der: &PrivateKeyDer<'_>) -> Option<RsaKeyPair> {
    let pair = match der {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        key => RsaKeyPair::from_pkcs8(key.secret_der()),
    };
    pair.ok()
        .filter(|pair| pair.public_modulus_len() >= RSA_BYTES)
}

fn ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    der: &PrivateKeyDer<'_>,
) -> Option<EcdsaKeyPair> {
    let pair = EcdsaKeyPair::from_private_key_der(algorithm, der.secret_der());
    pair.ok()
        .filter(|pair| !pair.public_key().as_ref().is_empty())
}
