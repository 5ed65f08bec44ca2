//! Signed requests of our own (RFC 8555 section 6.2): what instant-acme cannot do, or not so that it survives a crash.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, StatusCode};
use instant_acme::{BodyWrapper, Error, HttpClient, Problem};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

/// How often a request is signed anew because the CA does not take its nonce (RFC 8555 section 6.5).
const NONCES: usize = 10;
const REPLAY_NONCE: &str = "replay-nonce";
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// Why a key cannot sign. Says nothing of the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("the private key is not PKCS#8 of ECDSA P-256, P-384, or RSA from 2048 bits")]
    Unreadable,
    #[error("cannot sign")]
    Unsigned,
}

/// A private key that signs requests.
pub struct Key {
    pair: Pair,
    jwk: Jwk,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A public key (RFC 7517). The members stand in the order in which RFC 7638 section 3 hashes them, and there are no
/// others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Jwk {
    Ec { crv: &'static str, kty: &'static str, x: String, y: String },
    Rsa { e: String, kty: &'static str, n: String },
}

/// Who a request says it is from.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// URL of an account.
    Account(&'a str),
    /// Whoever holds the key.
    Key,
}

/// Flattened JSON serialization (RFC 7515 section 7.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jws {
    protected: String,
    payload: String,
    signature: String,
}

#[derive(Serialize)]
struct Protected<'a> {
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<&'a Jwk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    url: &'a str,
}

impl Key {
    pub fn from_pem(pem: &str) -> Result<Key, BadKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey::Unreadable)?;
        Key::from_der(der.secret_pkcs8_der())
    }

    /// PKCS#8.
    pub fn from_der(der: &[u8]) -> Result<Key, BadKey> {
        let curves = [(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"), (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")];
        for (algorithm, crv) in curves {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, der) {
                // Uncompressed (SEC 1 section 2.3.3): 4, then both coordinates in full length.
                let (x, y) = match pair.public_key().as_ref() {
                    [4, point @ ..] => point.split_at(point.len() / 2),
                    _ => return Err(BadKey::Unreadable),
                };
                let jwk = Jwk::Ec { crv, kty: "EC", x: base64url(x), y: base64url(y) };
                return Ok(Key { pair: Pair::Ecdsa(pair), jwk });
            }
        }
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| BadKey::Unreadable)?;
        let spki = pair.public_key().as_der().map_err(|_| BadKey::Unreadable)?;
        let jwk = rsa_jwk(spki.as_ref()).ok_or(BadKey::Unreadable)?;
        Ok(Key { pair: Pair::Rsa(pair), jwk })
    }

    /// A new ECDSA P-256 key as PKCS#8.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, BadKey> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Ok(Zeroizing::new(made.map_err(|_| BadKey::Unsigned)?.as_ref().to_vec()))
    }

    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Signs a payload, which `None` leaves empty (POST-as-GET). A JWS inside another one has no nonce.
    pub fn sign(
        &self,
        signer: Signer<'_>,
        nonce: Option<&str>,
        url: &str,
        payload: Option<&impl Serialize>,
    ) -> Result<Jws, Error> {
        let (jwk, kid) = match signer {
            Signer::Account(url) => (None, Some(url)),
            Signer::Key => (Some(&self.jwk), None),
        };
        let protected = base64url(&serde_json::to_vec(&Protected { alg: self.algorithm(), jwk, kid, nonce, url })?);
        let payload = match payload {
            Some(payload) => base64url(&serde_json::to_vec(payload)?),
            None => String::new(),
        };
        let signature = self.signature(format!("{protected}.{payload}").as_bytes());
        let signature = signature.map_err(|error| Error::Other(Box::new(error)))?;
        Ok(Jws { protected, payload, signature: base64url(&signature) })
    }

    /// RFC 7518 section 3.1.
    fn algorithm(&self) -> &'static str {
        match &self.jwk {
            Jwk::Ec { crv: "P-256", .. } => "ES256",
            Jwk::Ec { .. } => "ES384",
            Jwk::Rsa { .. } => "RS256",
        }
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, BadKey> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(|_| BadKey::Unsigned)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| BadKey::Unsigned)?;
                Ok(signature)
            }
        }
    }
}

impl Jwk {
    /// RFC 7638, in base64url.
    pub fn thumbprint(&self) -> String {
        // Strings alone: this cannot fail.
        base64url(&Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }
}

/// The key of a SubjectPublicKeyInfo (RFC 3279 section 2.3.1).
fn rsa_jwk(spki: &[u8]) -> Option<Jwk> {
    // The shortest that has the value (RFC 7518 section 6.3.1): DER has a zero before a high bit.
    let number = |octets: &[u8]| base64url(&octets[octets.iter().take_while(|octet| **octet == 0).count()..]);
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    match spki.parsed().ok()? {
        PublicKey::RSA(key) => Some(Jwk::Rsa { e: number(key.exponent), kty: "RSA", n: number(key.modulus) }),
        _ => None,
    }
}

pub fn base64url(octets: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

/// An account's public key, bound to an external account (RFC 8555 section 7.3.4): signed with the key that the CA gave
/// out for it, by HMAC with SHA-256 (RFC 7518 section 3.2).
pub fn bind(hmac_key: &[u8], key_id: &str, url: &str, account: &Jwk) -> Result<Jws, Error> {
    let header = Protected { alg: "HS256", jwk: None, kid: Some(key_id), nonce: None, url };
    let (protected, payload) = (base64url(&serde_json::to_vec(&header)?), base64url(&serde_json::to_vec(account)?));
    let key = hmac::Key::new(hmac::HMAC_SHA256, hmac_key);
    let signature = base64url(hmac::sign(&key, format!("{protected}.{payload}").as_bytes()).as_ref());
    Ok(Jws { protected, payload, signature })
}

/// Posts a signed request, with another nonce as often as the CA asks for one, within bounds; the head of the answer.
/// What the CA refuses is [`Error::Api`].
pub async fn post(
    http: &impl HttpClient,
    new_nonce: &str,
    url: &str,
    (key, signer): (&Key, Signer<'_>),
    payload: Option<&impl Serialize>,
) -> Result<HeaderMap, Error> {
    let mut nonce = None;
    let mut left = NONCES;
    loop {
        let fresh = match nonce.take() {
            Some(nonce) => nonce,
            None => asked_nonce(http, new_nonce).await?,
        };
        let body = serde_json::to_vec(&key.sign(signer, Some(&fresh), url, payload)?)?;
        let request = Request::builder().method(Method::POST).uri(url).header(CONTENT_TYPE, "application/jose+json");
        let response = http.request(request.body(BodyWrapper::from(body))?).await?;
        let (status, headers, mut body) = (response.parts.status, response.parts.headers, response.body);
        let body = body.into_bytes().await.map_err(Error::Other)?;
        if status.is_success() {
            return Ok(headers);
        }
        let problem: Problem = serde_json::from_slice(&body)?;
        left -= 1;
        if status != StatusCode::BAD_REQUEST || problem.r#type.as_deref() != Some(BAD_NONCE) || left == 0 {
            return Err(Error::Api(problem));
        }
        nonce = nonce_in(&headers);
    }
}

/// RFC 8555 section 7.2.
async fn asked_nonce(http: &impl HttpClient, url: &str) -> Result<String, Error> {
    let request = Request::builder().method(Method::HEAD).uri(url).body(BodyWrapper::default())?;
    let response = http.request(request).await?;
    nonce_in(&response.parts.headers).ok_or(Error::Str("it has no nonce"))
}

fn nonce_in(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(REPLAY_NONCE)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    };
    use serde_json::{Value, json};

    use super::*;

    fn octets(text: &Value) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
    }

    fn read(text: &str) -> Value {
        serde_json::from_slice(&octets(&json!(text))).unwrap()
    }

    /// Whether the signature is by the key that the JWK says, and by the algorithm that the header says.
    fn is_signed(jws: &Jws, jwk: &Value) -> bool {
        let message = format!("{}.{}", jws.protected, jws.payload);
        let signature = octets(&json!(jws.signature));
        let point = || [vec![4], octets(&jwk["x"]), octets(&jwk["y"])].concat();
        let verified = match (read(&jws.protected)["alg"].as_str().unwrap(), jwk["kty"].as_str().unwrap()) {
            ("ES256", "EC") => {
                assert_eq!(jwk["crv"], "P-256");
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point()).verify(message.as_bytes(), &signature)
            }
            ("ES384", "EC") => {
                assert_eq!(jwk["crv"], "P-384");
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point()).verify(message.as_bytes(), &signature)
            }
            ("RS256", "RSA") => RsaPublicKeyComponents { n: octets(&jwk["n"]), e: octets(&jwk["e"]) }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message.as_bytes(),
                &signature,
            ),
            other => panic!("{other:?}"),
        };
        verified.is_ok()
    }

    fn keys() -> Vec<Key> {
        let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        [Key::generate().unwrap().as_slice(), p384.as_ref(), rsa.as_ref()]
            .into_iter()
            .map(|der| Key::from_der(der).unwrap())
            .collect()
    }

    #[test]
    fn every_kind_of_key_signs_so_that_its_jwk_verifies_rfc7515_7_2_2() {
        let keys = keys();
        for (key, alg) in keys.iter().zip(["ES256", "ES384", "RS256"]) {
            let jwk = serde_json::to_value(key.jwk()).unwrap();
            let jws = key.sign(Signer::Key, Some("n"), "https://ca.test/x", Some(&json!({"a": 1}))).unwrap();
            assert_eq!(read(&jws.protected), json!({"alg": alg, "jwk": jwk, "nonce": "n", "url": "https://ca.test/x"}));
            assert_eq!(read(&jws.payload), json!({"a": 1}));
            assert!(is_signed(&jws, &jwk), "{alg}");
            let other = Jws { payload: base64url(b"{}"), ..jws };
            assert!(!is_signed(&other, &jwk), "{alg}");
        }
    }

    #[test]
    fn an_account_signs_with_its_url_in_the_place_of_the_key_rfc8555_6_2() {
        let key = Key::from_der(&Key::generate().unwrap()).unwrap();
        let jws = key.sign(Signer::Account("https://ca.test/a/1"), None, "u", None::<&Value>).unwrap();
        assert_eq!(read(&jws.protected), json!({"alg": "ES256", "kid": "https://ca.test/a/1", "url": "u"}));
        assert_eq!(jws.payload, "");
        assert!(is_signed(&jws, &serde_json::to_value(key.jwk()).unwrap()));
    }

    #[test]
    fn an_external_account_binds_the_key_of_an_account_rfc8555_7_3_4() {
        let key = Key::from_der(&Key::generate().unwrap()).unwrap();
        let url = "https://ca.test/new-account";
        let jws = bind(b"secret", "kid-1", url, key.jwk()).unwrap();
        assert_eq!(read(&jws.protected), json!({"alg": "HS256", "kid": "kid-1", "url": url}));
        assert_eq!(read(&jws.payload), serde_json::to_value(key.jwk()).unwrap());
        let message = format!("{}.{}", jws.protected, jws.payload);
        let is_signed_with = |secret: &[u8]| {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::verify(&secret, message.as_bytes(), &octets(&json!(jws.signature))).is_ok()
        };
        assert!(is_signed_with(b"secret") && !is_signed_with(b"Secret"));
    }

    #[test]
    fn the_example_has_its_thumbprint_rfc7638_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZC\
                 iFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZg\
                 nYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIq\
                 bw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let jwk = Jwk::Rsa { e: "AQAB".into(), kty: "RSA", n: n.into() };
        assert_eq!(jwk.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_key_is_read_from_pem_and_noise_is_not() {
        let pem = crate::acme::certificate::key::new_key(crate::config::KeyType::P256).unwrap();
        assert!(matches!(Key::from_pem(pem.reveal()).unwrap().jwk(), Jwk::Ec { crv: "P-256", .. }));
        for noise in ["", "noise", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(Key::from_pem(noise).err(), Some(BadKey::Unreadable), "{noise}");
        }
    }
}
