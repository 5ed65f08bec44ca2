//! The PROXY protocol, version 2: a proxy that hands on octets says first whose they are.
//!
//! Only what the specification asks of a receiver is read: the command, and the source of TCP over IPv4 and IPv6. The
//! rest of the header (destination, TLVs) is skipped. Everything else is refused, version 1 too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Every header begins so; no request of HTTP and no handshake of TLS does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of an IPv4 source and destination with their ports; of IPv6.
const IPV4: usize = 12;
const IPV6: usize = 36;

/// Why a connection has no header that is good.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("it does not begin with a header of the PROXY protocol, version 2")]
    Signature,
    #[error("version, command or protocol of its PROXY header is none that is known: {0:#04x} {1:#04x}")]
    Kind(u8, u8),
    #[error("its PROXY header is too short for its addresses")]
    Length,
    #[error("its PROXY header did not come whole: {0}")]
    Broken(#[from] io::Error),
}

/// Reads the header and no octet more. The address that it tells; `None` if the proxy speaks for itself (LOCAL).
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).await?;
    let (signature, rest) = fixed.split_at(SIGNATURE.len());
    if signature != SIGNATURE {
        return Err(ProxyError::Signature);
    }
    let mut addresses = vec![0; usize::from(u16::from_be_bytes([rest[2], rest[3]]))];
    stream.read_exact(&mut addresses).await?;
    source(rest[0], rest[1], &addresses)
}

/// `command`: with the version in its upper half. `family`: with the protocol in its lower half.
fn source(command: u8, family: u8, addresses: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    match (command, family) {
        // Whatever else it says is to be left aside.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let octets = addresses.get(..IPV4).and_then(|all| all.first_chunk::<4>()).ok_or(ProxyError::Length)?;
            Ok(Some((Ipv4Addr::from(*octets), port(8)).into()))
        }
        (0x21, 0x21) => {
            let octets = addresses.get(..IPV6).and_then(|all| all.first_chunk::<16>()).ok_or(ProxyError::Length)?;
            Ok(Some((IpAddr::from(Ipv6Addr::from(*octets)).to_canonical(), port(32)).into()))
        }
        (command, family) => Err(ProxyError::Kind(command, family)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a header of these parts and what follows it give: the outcome, and what is left.
    async fn parse(command: u8, family: u8, addresses: &[u8], after: &[u8]) -> (Result<Option<String>, String>, usize) {
        let length = (addresses.len() as u16).to_be_bytes();
        let octets = [SIGNATURE, &[command, family][..], &length, addresses, after].concat();
        let mut stream = &octets[..];
        let read = read(&mut stream).await;
        (read.map(|address| address.map(|it| it.to_string())).map_err(|error| error.to_string()), stream.len())
    }

    const V4: [u8; IPV4] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn v6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0x12, 0x34, 0, 80]].concat()
    }

    #[tokio::test]
    async fn the_source_is_told_and_the_rest_skipped() {
        let known = |address: &str| Ok(Some(address.to_owned()));
        assert_eq!(parse(0x21, 0x11, &V4, b"GET").await, (known("192.0.2.1:4660"), 3));
        assert_eq!(parse(0x21, 0x21, &v6("2001:db8::1"), b"GET").await, (known("[2001:db8::1]:4660"), 3));
        assert_eq!(parse(0x21, 0x21, &v6("::ffff:192.0.2.1"), b"").await, (known("192.0.2.1:4660"), 0));
        let with_tlvs = [&V4[..], &[0x03, 0, 4, 1, 2, 3, 4], &[0x04; 3000]].concat();
        assert_eq!(parse(0x21, 0x11, &with_tlvs, b"GET").await, (known("192.0.2.1:4660"), 3));
    }

    #[tokio::test]
    async fn local_is_the_proxy_itself_whatever_else_it_says() {
        for (family, addresses) in [(0, &[][..]), (0x11, &V4), (0xff, &[1, 2, 3])] {
            assert_eq!(parse(0x20, family, addresses, b"GET").await, (Ok(None), 3));
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let kinds = [(0x11, 0x11), (0x22, 0x11), (0x31, 0x11), (0x21, 0), (0x21, 0x12), (0x21, 0x22), (0x21, 0x31)];
        for (command, family) in kinds {
            assert!(parse(command, family, &v6("::1"), b"").await.0.unwrap_err().contains("none that is known"));
        }
        for (family, whole) in [(0x11, V4.to_vec()), (0x21, v6("::1"))] {
            let error = parse(0x21, family, &whole[..whole.len() - 1], b"GET").await.0.unwrap_err();
            assert!(error.contains("too short"), "{error}");
        }
        for (octets, expected) in [
            (&b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n"[..], "does not begin"),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "does not begin"),
            (b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\0", "does not begin"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", "did not come whole"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01", "did not come whole"),
            (b"", "did not come whole"),
        ] {
            let error = read(&mut &octets[..]).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
