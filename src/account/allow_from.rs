//! The CIDR list that limits where an account may be used from (`allowfrom` of acme-dns).

use std::net::IpAddr;

use ipnet::IpNet;

/// CIDRs as the client wrote them (brackets taken off), with their parsed form. An empty list allows everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowFrom(Vec<(String, IpNet)>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a CIDR such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct AllowFromError(pub String);

impl AllowFrom {
    /// Reads CIDRs. Square brackets are taken off, host bits are kept as typed, a bare address is refused.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<AllowFrom, AllowFromError> {
        let parse = |entry: &S| {
            let text: String = entry.as_ref().chars().filter(|c| !matches!(c, '[' | ']')).collect();
            match network(&text) {
                Some(net) => Ok((text, net)),
                None => Err(AllowFromError(entry.as_ref().chars().take(80).collect())),
            }
        };
        entries.iter().map(parse).collect::<Result<_, _>>().map(AllowFrom)
    }

    /// The entries as they are echoed and stored.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(text, _)| text.as_str())
    }

    /// Whether a request from `source` passes. IPv4 addresses mapped into IPv6 count as IPv4 (RFC 4291 2.5.5.2).
    pub fn allows(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.0.is_empty() || self.0.iter().any(|(_, net)| net.contains(&source))
    }
}

/// Reads the address as the standard library does: `010.0.0.0`, which is another address to those who take it for octal,
/// is none.
fn network(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/').filter(|(_, length)| !length.starts_with('+'))?;
    IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_go_and_host_bits_stay() {
        let list = AllowFrom::parse(&["192.168.100.1/24", "[2001:db8::]/32"]).unwrap();
        assert_eq!(list.entries().collect::<Vec<_>>(), ["192.168.100.1/24", "2001:db8::/32"]);
    }

    #[test]
    fn a_bare_address_is_refused() {
        for bad in
            ["10.0.0.1", "10.0.0.0/33", "", "all", "/8", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/256", "10.0.0.0/+8"]
        {
            assert!(AllowFrom::parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_that_could_be_octal_is_refused() {
        assert!(AllowFrom::parse(&["010.0.0.0/8"]).is_err());
    }

    #[test]
    fn mapped_addresses_count_as_ipv4() {
        let list = AllowFrom::parse(&["10.0.0.0/8"]).unwrap();
        assert!(list.allows("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!list.allows("192.0.2.1".parse().unwrap()));
        assert!(AllowFrom::default().allows("192.0.2.1".parse().unwrap()));
    }
}
