//! Labels and values by number: without pattern, as registration makes them, and the same in every run.

use uuid::{Builder, Uuid};

/// The zone that all labels are in.
pub const ORIGIN: &str = "auth.example.org";

/// SplitMix64: the next of a sequence of numbers without pattern.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A state for `random` that two numbers, or two purposes, do not share.
fn state(purpose: u64, number: u64) -> u64 {
    let mut state = purpose << 56 ^ number;
    random(&mut state)
}

fn uuid(purpose: u64, number: u64) -> Uuid {
    let mut state = state(purpose, number);
    let bits = u128::from(random(&mut state)) << 64 | u128::from(random(&mut state));
    Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
}

/// The default label of registration: a UUID of version 4.
pub fn label(number: u64) -> String {
    uuid(1, number).to_string()
}

/// A label that nobody has.
pub fn stranger(number: u64) -> String {
    uuid(2, number).to_string()
}

/// The user name of the account that has the label of this number.
pub fn username(number: u64) -> Uuid {
    uuid(3, number)
}

/// A value such as dns-01 wants: 43 octets of the URL-safe alphabet.
pub fn value(number: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = state(4, number);
    (0..43).map(|_| char::from(ALPHABET[random(&mut state) as usize % ALPHABET.len()])).collect()
}

/// Each letter in upper or lower case by chance, as resolvers with 0x20 ask.
pub fn mixed_case(name: &str, number: u64) -> String {
    let mut state = state(5, number);
    let case = |c: char| if random(&mut state) & 1 == 0 { c.to_ascii_uppercase() } else { c };
    name.chars().map(case).collect()
}

/// The numbers below `count`, each once, without order.
pub fn shuffled(count: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count).collect();
    let mut state = state(6, count);
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, random(&mut state) as usize % (at + 1));
    }
    numbers
}
