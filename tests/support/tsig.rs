//! Signatures of the test's own making (RFC 8945): HMAC-SHA256 written out over another crate than the server's.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::raw_dns::wire_name;

/// A key that a test shares with its server.
#[derive(Debug, Clone)]
pub struct TsigKey {
    pub name: String,
    pub algorithm: String,
    pub secret: Vec<u8>,
}

/// A signed message.
#[derive(Debug, Clone)]
pub struct Signed {
    pub octets: Vec<u8>,
    pub mac: Vec<u8>,
    original_id: [u8; 2],
}

/// What is written into a signature; a test changes what it wants to be wrong.
#[derive(Debug, Clone)]
pub struct Stamp {
    pub time: u64,
    pub fudge: u16,
    /// Octets of the MAC that are sent.
    pub length: usize,
    pub error: u16,
    pub other: Vec<u8>,
    /// That of the message unless something is said.
    pub original_id: Option<[u8; 2]>,
}

/// The TSIG record of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// As it came.
    pub key_name: Vec<u8>,
    pub time: u64,
    pub mac: Vec<u8>,
    pub error: u16,
    pub other: Vec<u8>,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs()
}

impl Stamp {
    pub fn now() -> Stamp {
        Stamp { time: now(), fudge: 300, length: 32, error: 0, other: Vec::new(), original_id: None }
    }
}

impl TsigKey {
    /// A key for HMAC-SHA256.
    pub fn new(name: &str) -> TsigKey {
        TsigKey { name: name.to_owned(), algorithm: "hmac-sha256".to_owned(), secret: (1..=32).collect() }
    }

    pub fn algorithm(self, algorithm: &str) -> TsigKey {
        TsigKey { algorithm: algorithm.to_owned(), ..self }
    }

    pub fn secret(&self) -> String {
        STANDARD.encode(&self.secret)
    }

    /// For the configuration; `rest` has the grants.
    pub fn table(&self, rest: &str) -> String {
        let TsigKey { name, algorithm, .. } = self;
        let secret = self.secret();
        format!("[[tsig_key]]\nname = \"{name}\"\nalgorithm = \"{algorithm}\"\nsecret = \"{secret}\"\n{rest}\n")
    }

    /// `algorithm:name:secret`, for `-y` of dig, kdig, nsupdate and knsupdate.
    pub fn argument(&self) -> String {
        format!("{}:{}:{}", self.algorithm, self.name, self.secret())
    }

    /// Signs a message with HMAC-SHA256.
    pub fn sign(&self, message: &[u8], stamp: &Stamp) -> Signed {
        let Stamp { error, other, .. } = stamp;
        let variables = self.variables(&wire_name(&self.name), stamp.time, stamp.fudge, *error, other);
        let original_id = stamp.original_id.unwrap_or([message[0], message[1]]);
        let mut mac = hmac(&self.secret, &[&original_id, &message[2..], &variables].concat());
        mac.resize(stamp.length, 0);
        let rdata = [
            &wire_name(&self.algorithm)[..],
            &stamp.time.to_be_bytes()[2..],
            &stamp.fudge.to_be_bytes(),
            &(mac.len() as u16).to_be_bytes(),
            &mac,
            &original_id,
            &error.to_be_bytes(),
            &(other.len() as u16).to_be_bytes(),
            other,
        ];
        let rdata = rdata.concat();
        let mut octets = message.to_vec();
        let additionals = u16::from_be_bytes([octets[10], octets[11]]) + 1;
        octets[10..12].copy_from_slice(&additionals.to_be_bytes());
        octets.extend(wire_name(&self.name));
        octets.extend([0, 250, 0, 255, 0, 0, 0, 0]);
        octets.extend((rdata.len() as u16).to_be_bytes());
        octets.extend(rdata);
        Signed { octets, mac, original_id }
    }

    /// The signature of a reply to a message that was sent with this name, after checking its MAC, if it has one.
    #[track_caller]
    pub fn verify(&self, reply: &[u8], request: &Signed) -> Signature {
        let owner = wire_name(&self.name);
        let fixed = [&owner[..], &[0, 250, 0, 255, 0, 0, 0, 0]].concat();
        let at = reply.windows(fixed.len()).rposition(|octets| octets == fixed);
        let at = at.unwrap_or_else(|| panic!("no TSIG by {} in {reply:02x?}", self.name));
        let algorithm = wire_name(&self.algorithm);
        let rdata = &reply[at + fixed.len() + 2..];
        assert!(rdata.starts_with(&algorithm), "{rdata:02x?}");
        let rest = &rdata[algorithm.len()..];
        let number = |octets: &[u8]| octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        let (time, fudge, length) = (number(&rest[..6]), number(&rest[6..8]) as u16, number(&rest[8..10]) as usize);
        let (mac, rest) = rest[10..].split_at(length);
        assert_eq!(rest[..2], request.original_id, "the original id");
        let (error, other) = (number(&rest[2..4]) as u16, rest[6..].to_vec());
        assert_eq!(number(&rest[4..6]) as usize, other.len());
        if !mac.is_empty() {
            let mut message = [&request.original_id, &reply[2..at]].concat();
            let additionals = u16::from_be_bytes([message[10], message[11]]) - 1;
            message[10..12].copy_from_slice(&additionals.to_be_bytes());
            let variables = self.variables(&owner, time, fudge, error, &other);
            let length = (request.mac.len() as u16).to_be_bytes();
            assert_eq!(mac, hmac(&self.secret, &[&length, &request.mac[..], &message, &variables].concat()));
        }
        Signature { key_name: reply[at..at + owner.len()].to_vec(), time, mac: mac.to_vec(), error, other }
    }

    /// RFC 8945 section 4.3.3.
    fn variables(&self, owner: &[u8], time: u64, fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
        [
            &owner.to_ascii_lowercase()[..],
            &[0, 255, 0, 0, 0, 0],
            &wire_name(&self.algorithm.to_ascii_lowercase()),
            &time.to_be_bytes()[2..],
            &fudge.to_be_bytes(),
            &error.to_be_bytes(),
            &(other.len() as u16).to_be_bytes(),
            other,
        ]
        .concat()
    }
}

/// RFC 2104 section 2.
fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    assert!(secret.len() <= 64, "a longer secret is hashed first");
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| secret.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::digest([&pad(0x36), message].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).to_vec()
}
