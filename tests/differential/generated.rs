//! A large set of messages, the same in every run: from a grammar of valid and odd ones, and broken by mutation.

use std::collections::BTreeMap;

use acmezone::answer::Verdict;

use crate::paths::{Served, TRANSPORTS, both, now_millis, rare};

/// Messages that go through the functions.
const MESSAGES: usize = 150_000;
/// Messages that go through the real loops.
const SENT: usize = 30_000;

/// xorshift64: numbers without pattern, from a seed.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in so many.
    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// Fewer than `end`.
    fn some_octets(&mut self, end: usize) -> Vec<u8> {
        let count = self.below(end);
        self.octets(count)
    }
}

/// Names below auth.example.org in the world of the fuzz targets.
const LABELS: &[&str] = &[
    "",
    "one",
    "few",
    "many",
    "full",
    "long",
    "void",
    "idle",
    "mixed",
    "empty",
    "alias",
    "out",
    "none",
    "to",
    "to1",
    "down",
    "l1",
    "l2",
    "c1",
    "c5",
    "sub",
    "deep.sub",
    "ns.sub",
    "wide",
    "n1.wide",
    "signed",
    "x.signed",
    "mail",
    "h",
    "odd",
    "w",
    "x.w",
    "some.thing.w",
    "y.x.w",
    "any.v",
    "y.x.u",
    "a.b.c",
    "b.c",
    "c",
    "_s._tcp",
    "_tcp",
    "ns1",
    "n2",
    "_acme-challenge",
    "_acme-challenge.one",
    "_acme-challenge.www.shop",
    "www.shop",
    "_acme-challenge.old",
    "nothing",
    "below.one",
];
const ELSEWHERE: &[&str] = &[
    "_acme-challenge.example.net",
    "x._acme-challenge.example.net",
    "example.net",
    "example.com",
    "org",
    "version.bind",
];
const TYPES: &[u16] = &[
    16, 16, 16, 16, 1, 28, 2, 5, 6, 12, 13, 15, 33, 35, 39, 41, 43, 46, 47, 64, 65, 99, 249, 250, 251, 252, 255, 257,
    65_280,
];

struct Grammar {
    random: Random,
    /// Client and server cookie.
    cookie: Vec<u8>,
}

impl Grammar {
    fn name(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let text = match random.below(20) {
            0 => return vec![0],
            1 => random.of(ELSEWHERE).to_owned(),
            2 => format!("{}.auth.example.org", "x".repeat(1 + random.below(63))),
            // up to 255 octets and a little more
            3 => {
                format!("{}auth.example.org", format!("{}.", "y".repeat(1 + random.below(63))).repeat(random.below(20)))
            }
            4 => format!("{}.{}.auth.example.org", random.next(), random.of(LABELS)),
            _ => format!("{}.auth.example.org", random.of(LABELS)),
        };
        let mut name = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            name.push(label.len() as u8);
            name.extend_from_slice(label.as_bytes());
        }
        name.push(0);
        match random.below(12) {
            // 0x20
            0..6 => name.iter_mut().filter(|octet| octet.is_ascii_alphabetic()).for_each(|octet| {
                *octet ^= (random.next() as u8) & 0x20;
            }),
            6 if random.one_in(4) => *name.last_mut().unwrap() = 0xc0, // a pointer where none may be
            _ => {}
        }
        name
    }

    fn opt(&mut self) -> Vec<u8> {
        let cookie = self.cookie.clone();
        let random = &mut self.random;
        let mut options = Vec::new();
        for _ in 0..random.of(&[0, 0, 0, 1, 1, 2, 5]) {
            let (code, value) = match random.below(8) {
                0 => (3, Vec::new()),
                1 => (8, vec![0, 1, 24, 0, 192, 0, 2]),
                2 => (12, vec![0; random.below(200)]),
                3 => (10, cookie[..8].to_vec()),
                4 => (10, cookie.clone()),
                5 => (10, [random.octets(8), random.some_octets(40)].concat()),
                6 => (10, random.some_octets(50)),
                _ => (random.next() as u16, random.some_octets(30)),
            };
            options.extend_from_slice(&u16::to_be_bytes(code));
            options.extend_from_slice(&(value.len() as u16).to_be_bytes());
            options.extend_from_slice(&value);
        }
        let version = if random.one_in(12) { random.next() as u8 } else { 0 };
        let flags = random.of(&[0, 0x80, 0x80, 0xff]);
        let payload: u16 = random.of(&[0, 511, 512, 513, 1000, 1231, 1232, 1233, 1410, 4096, 65_535]);
        let mut opt = if random.one_in(40) { vec![1, b'x', 0] } else { vec![0] };
        opt.extend_from_slice(&[0, 41]);
        opt.extend_from_slice(&payload.to_be_bytes());
        opt.extend_from_slice(&[0, version, flags, 0]);
        opt.extend_from_slice(&(options.len() as u16).to_be_bytes());
        opt.extend_from_slice(&options);
        opt
    }

    fn record(&mut self, rtype: u16) -> Vec<u8> {
        let mut record = self.name();
        let random = &mut self.random;
        let rdata = match rtype {
            1 => random.octets(4),
            250 => {
                let length = random.of(&[0, 16, 32, 64]);
                let mac = random.octets(length);
                let mut rdata = b"\x0bhmac-sha256\0".to_vec();
                rdata.extend_from_slice(&random.octets(8));
                rdata.extend_from_slice(&(mac.len() as u16).to_be_bytes());
                rdata.extend_from_slice(&mac);
                rdata.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
                rdata
            }
            _ => random.some_octets(40),
        };
        let class = random.of(&[1, 1, 254, 255]);
        record.extend_from_slice(&rtype.to_be_bytes());
        record.extend_from_slice(&u16::to_be_bytes(if rtype == 250 { 255 } else { class }));
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        record.extend_from_slice(&rdata);
        record
    }

    /// A message that is valid, or odd in one place or two.
    fn message(&mut self) -> Vec<u8> {
        let opcode = if self.random.one_in(12) { self.random.below(16) as u8 } else { 0 };
        let mut flags = [opcode << 3 | self.random.of(&[0, 1]), self.random.of(&[0, 0x10, 0x20, 0x30])];
        if self.random.one_in(30) {
            flags = [self.random.next() as u8, self.random.next() as u8];
        }
        let mut counts = [1, 0, 0, 0];
        let mut sections: [Vec<Vec<u8>>; 4] = Default::default();
        let mut question = self.name();
        let qtype = if self.random.one_in(10) { self.random.next() as u16 } else { self.random.of(TYPES) };
        let qclass: u16 = if self.random.one_in(20) { self.random.of(&[3, 4, 254, 255, 0]) } else { 1 };
        question.extend_from_slice(&qtype.to_be_bytes());
        question.extend_from_slice(&qclass.to_be_bytes());
        sections[0].push(question);
        if opcode == 5 || self.random.one_in(60) {
            for section in [1, 2] {
                for _ in 0..self.random.below(3) {
                    let record = self.record(1);
                    sections[section].push(record);
                }
            }
        }
        for _ in 0..self.random.of(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 2]) {
            let rtype = self.random.of(&[1, 16, 24, 46]);
            let record = self.record(rtype);
            sections[3].push(record);
        }
        for _ in 0..self.random.of(&[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]) {
            let opt = self.opt();
            sections[3].push(opt);
        }
        if self.random.one_in(25) {
            let signature = self.record(250);
            sections[3].push(signature);
        }
        for (count, section) in counts.iter_mut().zip(&sections) {
            *count = section.len() as u16;
        }
        if self.random.one_in(25) {
            counts[self.random.below(4)] = self.random.of(&[0, 1, 2, 3, 65_535]);
        }
        let mut message = self.random.octets(2);
        message.extend_from_slice(&flags);
        message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        message.extend(sections.concat().concat());
        if self.random.one_in(40) {
            message.extend(self.random.some_octets(50));
        }
        message
    }

    /// Every second message is broken in a few places.
    fn next(&mut self) -> Vec<u8> {
        let mut message = self.message();
        let random = &mut self.random;
        if random.one_in(2) {
            return message;
        }
        for _ in 0..1 + random.below(4) {
            let at = random.below(message.len());
            let rest = message.len() - at;
            match random.below(7) {
                _ if message.is_empty() => message.push(random.next() as u8),
                0 => message[at] = random.next() as u8,
                1 => message[at] ^= 1 << random.below(8),
                2 => message[at] = random.of(&[0, 1, 12, 63, 64, 0x7f, 0xc0, 0xff]),
                3 => message.truncate(at),
                4 => message.insert(at, random.next() as u8),
                5 => drop(message.drain(at..at + random.below(rest.min(16)))),
                _ => {
                    let copy = message[at..at + random.below(rest.min(64))].to_vec();
                    message.extend_from_slice(&copy);
                }
            }
        }
        message
    }
}

/// As many messages as are wanted; another seed gives others.
fn messages(count: usize, seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let cookie = crate::script::valid_cookie();
    let mut grammar = Grammar { random: Random(seed), cookie };
    (0..count).map(move |_| grammar.next())
}

#[test]
fn both_paths_give_the_same_octets_to_valid_odd_and_broken_messages() {
    let (rare, now) = (rare(), now_millis());
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for message in messages(MESSAGES, 0x9e37_79b9_7f4a_7c15) {
        let [udp, tcp] = TRANSPORTS.map(|transport| both(&rare, &message, transport, now));
        assert_eq!(udp.0, tcp.0, "{message:02x?}");
        let kind = match &udp {
            (Verdict::Reply, Some(reply)) => {
                let cut = if reply[2] & 2 != 0 { ", cut" } else { "" };
                let authoritative = if reply[2] & 4 != 0 { ", AA" } else { "" };
                format!("RCODE {}{authoritative}{cut}", reply[3] & 15)
            }
            (verdict, _) => format!("{verdict:?}"),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    println!("{kinds:#?}");
    // A generator that makes only rubbish would prove nothing.
    let expected = [
        "RCODE 0, AA",
        "RCODE 0, AA, cut",
        "RCODE 0",
        "RCODE 1",
        "RCODE 3, AA",
        "RCODE 4",
        "RCODE 5",
        "Rare",
        "Silence",
    ];
    for kind in expected {
        assert!(kinds.get(kind).is_some_and(|count| *count > MESSAGES / 500), "{kind}: {kinds:#?}");
    }
}

#[test]
fn the_loops_give_the_octets_of_the_handler_to_valid_odd_and_broken_messages() {
    let served = Served::start();
    let messages: Vec<_> = messages(SENT, 0x2545_f491_4f6c_dd1d).collect();
    let answers = served.compare(messages.iter().map(Vec::as_slice));
    println!("{answers} answers to {SENT} messages, each over UDP and TCP");
    assert!(answers > SENT, "{answers}");
}
