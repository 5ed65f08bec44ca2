//! Octets where a header of the PROXY protocol, version 2, is due: it is read to its end and no octet further, and a good
//! one gives the address that is written in it.
//!
//! The input says first whether the rest is made into a good header, and where it comes in two pieces.

#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};

use acmezone::listen::proxy::{self, ProxyError};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncReadExt;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, protocol, length.
const FIXED: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some(([kind, cut], rest)) = input.split_first_chunk::<2>() else { return };
    let cut = usize::from(*cut);
    match kind % 4 {
        0 => any(rest, cut),
        1 => any(&[SIGNATURE, rest].concat(), cut),
        2 => good::<4>(0x11, rest, cut),
        _ => good::<16>(0x21, rest, cut),
    }
});

/// What the header gives, and what is behind it.
fn read(octets: &[u8], cut: usize) -> (Result<Option<SocketAddr>, ProxyError>, usize) {
    let (first, second) = octets.split_at(cut.min(octets.len()));
    let mut stream = first.chain(second);
    let outcome = match std::pin::pin!(proxy::read(&mut stream)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("there is nothing to wait for"),
    };
    let (first, second) = stream.into_inner();
    (outcome, first.len() + second.len())
}

fn any(octets: &[u8], cut: usize) {
    let (outcome, left) = read(octets, cut);
    let taken = octets.len() - left;
    let Some((fixed, behind)) = octets.split_at_checked(FIXED) else {
        return assert!(matches!(outcome, Err(ProxyError::Broken(_))));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    match outcome {
        _ if !fixed.starts_with(SIGNATURE) => assert!(matches!(outcome, Err(ProxyError::Signature)) && taken == FIXED),
        _ if behind.len() < length => assert!(matches!(outcome, Err(ProxyError::Broken(_)))),
        Ok(None) => assert_eq!((fixed[12], taken), (0x20, FIXED + length)),
        Ok(Some(source)) => {
            assert_eq!((fixed[12], taken), (0x21, FIXED + length));
            let (written, ports) = match fixed[13] {
                0x11 => (address::<4>(behind), 8),
                0x21 => (address::<16>(behind), 32),
                other => panic!("the protocol {other:#04x}"),
            };
            let port = u16::from_be_bytes([behind[ports], behind[ports + 1]]);
            assert!(length >= ports + 4 && source == SocketAddr::new(written.to_canonical(), port), "{source}");
        }
        Err(_) => assert_eq!(taken, FIXED + length),
    }
}

/// A header with two addresses of `N` octets, two ports and what else may follow, all of which the input has.
fn good<const N: usize>(family: u8, input: &[u8], cut: usize) {
    let Some((addresses, rest)) = input.split_at_checked(2 * N + 4) else { return };
    let Some((lengths, rest)) = rest.split_first_chunk::<2>() else { return };
    let more = usize::from(u16::from_be_bytes(*lengths)) % (rest.len() + 1);
    let (more, behind) = rest.split_at(more);
    let length = ((addresses.len() + more.len()) as u16).to_be_bytes();
    let octets = [SIGNATURE, &[0x21, family], &length, addresses, more, behind].concat();
    let (outcome, left) = read(&octets, cut);
    let port = u16::from_be_bytes([addresses[2 * N], addresses[2 * N + 1]]);
    let source = SocketAddr::new(address::<N>(addresses).to_canonical(), port);
    assert!(matches!(outcome, Ok(Some(told)) if told == source), "{outcome:?}, not {source}");
    assert_eq!(left, behind.len());
}

fn address<const N: usize>(octets: &[u8]) -> IpAddr {
    match N {
        4 => IpAddr::from(*octets.first_chunk::<4>().expect("an address")),
        _ => IpAddr::from(*octets.first_chunk::<16>().expect("an address")),
    }
}
