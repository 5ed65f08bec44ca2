//! Ports for programs that cannot be told to take any.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Ports below the range from which the kernel takes ephemeral ones, so that no client socket gets in between.
const FIRST: u16 = 10_000;
const LAST: u16 = 29_999;

/// A port of 127.0.0.1 that nobody holds, neither for UDP nor for TCP. This process never gets the same one twice.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1000 {
        let random = getrandom::u32().expect("the kernel gives random bits");
        let port = FIRST + (random % u32::from(LAST - FIRST + 1)) as u16;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        if udp.is_ok() && tcp.is_ok() && given.insert(port) {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 between {FIRST} and {LAST}");
}
