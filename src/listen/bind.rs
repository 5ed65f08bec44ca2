//! Binding: every address or none, and a clear word about who is in the way.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::mmsg::{enable_packet_info, never_fragment};

/// The DNS sockets, bound.
#[derive(Debug)]
pub struct DnsSockets {
    /// For each address one per core, among which the kernel divides the clients.
    pub udp: Vec<UdpSocket>,
    /// Non-blocking, listening.
    pub tcp: Vec<TcpListener>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {address}: {reason}")]
pub struct BindError {
    pub protocol: &'static str,
    pub address: SocketAddr,
    pub reason: String,
}

/// How often a free port is looked for that both UDP and TCP can have (only for port 0).
const TRIES: usize = 20;

impl DnsSockets {
    /// Binds UDP and TCP on each address. With port 0 both get the same free port.
    pub fn bind(addresses: &[SocketAddr]) -> Result<DnsSockets, BindError> {
        let mut sockets = DnsSockets { udp: Vec::new(), tcp: Vec::new() };
        for address in addresses {
            let (udp, tcp) = bind_pair(*address)?;
            sockets.udp.extend(udp);
            sockets.tcp.push(tcp);
        }
        Ok(sockets)
    }

    /// The addresses with the ports that were got.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(TcpListener::local_addr).collect()
    }
}

fn bind_pair(address: SocketAddr) -> Result<(Vec<UdpSocket>, TcpListener), BindError> {
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        let udp = bind_udp(address)?;
        let port = udp[0].local_addr().map_err(|error| failed("UDP", address, &error))?.port();
        match bind_tcp(SocketAddr::new(address.ip(), port)) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// Binds one socket per core; at least one.
///
/// The first is bound exclusively (no SO_REUSEADDR, no SO_REUSEPORT), so that another server on the address is noticed,
/// also one that would share the port. Then the address is opened to our own others.
fn bind_udp(address: SocketAddr) -> Result<Vec<UdpSocket>, BindError> {
    let bind = |address: SocketAddr, shared: bool| {
        let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
        // Room for bursts while the thread is busy; the kernel may give less.
        let _ = socket.set_recv_buffer_size(4 << 20);
        enable_packet_info(&socket, address.ip())?;
        never_fragment(&socket, address.ip())?;
        socket.set_reuse_port(shared)?;
        socket.bind(&address.into())?;
        socket.set_reuse_port(true)?;
        io::Result::Ok(UdpSocket::from(socket))
    };
    let bind_all = || {
        let first = bind(address, false)?;
        let address = first.local_addr()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut sockets = vec![first];
        for _ in 1..cores {
            sockets.push(bind(address, true)?);
        }
        Ok(sockets)
    };
    bind_all().map_err(|error| failed("UDP", address, &error))
}

/// A TCP address that is ours, where nobody is listened to yet: who connects is refused.
#[derive(Debug)]
pub struct BoundTcp {
    socket: Socket,
    address: SocketAddr,
}

impl BoundTcp {
    pub fn bind(address: SocketAddr) -> Result<BoundTcp, BindError> {
        let bind = || {
            let socket = socket(address, Type::STREAM, Protocol::TCP)?;
            // Connections of an earlier run in TIME_WAIT do not matter; a listener does, also with this option.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            // From here on it would let others listen on the address.
            socket.set_reuse_address(false)?;
            let address = socket.local_addr()?.as_socket().unwrap_or(address);
            Ok(BoundTcp { socket, address })
        };
        bind().map_err(|error| failed("TCP", address, &error))
    }

    /// With the port that was got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Non-blocking. What could not be opened is still ours, to be tried again: somebody may have bound the address too,
    /// with SO_REUSEADDR, and only one of us can listen.
    pub fn listen(self) -> Result<TcpListener, (BoundTcp, BindError)> {
        let listen = || {
            self.socket.set_reuse_address(true)?;
            self.socket.listen(1024)?;
            self.socket.set_nonblocking(true)
        };
        match listen() {
            Ok(()) => Ok(self.socket.into()),
            Err(error) => {
                let error = failed("TCP", self.address, &error);
                Err((self, error))
            }
        }
    }
}

/// Binds and listens; non-blocking.
pub fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    BoundTcp::bind(address)?.listen().map_err(|(_, error)| error)
}

/// Lets this process have as many files open as it may, and says how many; `None` if that cannot be told.
pub fn raise_file_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a whole rlimit, which is written.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return None;
    }
    if limit.rlim_cur == limit.rlim_max {
        return Some(limit.rlim_cur);
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: the pointer is to a whole rlimit, which is read.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } {
        0 => Some(raised.rlim_cur),
        _ => Some(limit.rlim_cur),
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `0.0.0.0` and `[::]` are listed one by one
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn failed(protocol: &'static str, address: SocketAddr, error: &io::Error) -> BindError {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => match holder::of(protocol, address) {
            Some(holder) => format!("the port is in use by {holder}"),
            None => "the port is in use by another process".into(),
        },
        io::ErrorKind::PermissionDenied => format!(
            "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE (setcap cap_net_bind_service=+ep, or the \
             systemd unit in config/), or the sysctl net.ipv4.ip_unprivileged_port_start={}",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        _ => error.to_string(),
    };
    BindError { protocol, address, reason }
}

/// Who holds a port, as far as /proc tells us.
mod holder {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    /// `name (process 4711)`, or `None` if it cannot be told: other users' processes are hidden from us.
    pub fn of(protocol: &str, address: SocketAddr) -> Option<String> {
        let tables = match protocol {
            "UDP" => ["/proc/net/udp", "/proc/net/udp6"],
            _ => ["/proc/net/tcp", "/proc/net/tcp6"],
        };
        let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
        let links: Vec<String> = texts.flat_map(|text| sockets(&text, address)).collect();
        for process in fs::read_dir("/proc").ok()?.flatten() {
            let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
            let holds = open.flatten().any(|file| {
                fs::read_link(file.path())
                    .is_ok_and(|link| links.iter().any(|socket| link.as_os_str() == socket.as_str()))
            });
            if holds {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("{} (process {id})", name.trim()));
            }
        }
        None
    }

    /// The sockets, as /proc names open files, that are bound to or listen on an address that excludes `wanted`: from a
    /// table of /proc/net.
    pub fn sockets(table: &str, wanted: SocketAddr) -> Vec<String> {
        const LISTEN: &str = "0A";
        const UNCONNECTED: &str = "07";
        let line = |line: &str| {
            let mut fields = line.split_whitespace();
            let local = local_address(fields.nth(1)?)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?;
            let any = |address: SocketAddr| address.ip().is_unspecified();
            let same = local.port() == wanted.port() && (any(local) || any(wanted) || local.ip() == wanted.ip());
            (same && (state == LISTEN || state == UNCONNECTED)).then(|| format!("socket:[{inode}]"))
        };
        table.lines().skip(1).filter_map(line).collect()
    }

    /// `0100007F:0035`: the address as native 32-bit words, the port, all hexadecimal.
    fn local_address(text: &str) -> Option<SocketAddr> {
        let (address, port) = text.split_once(':')?;
        let words = address.as_bytes().chunks(8).map(|word| {
            let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
            Some(word.to_ne_bytes())
        });
        let octets = words.collect::<Option<Vec<_>>>()?.concat();
        let address = match <[u8; 4]>::try_from(octets.as_slice()) {
            Ok(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
            Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets.as_slice()).ok()?)).to_canonical(),
        };
        Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_names_its_holder() {
        let first = DnsSockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = first.addresses().unwrap()[0];
        let error = DnsSockets::bind(&[address]).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_bound_address_refuses_connections_and_is_nobody_elses() {
        let bound = BoundTcp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.address();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let error = bind_tcp(address).unwrap_err().to_string();
        assert!(error.contains("the port is in use"), "{error}");
        let listener = bound.listen().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        // A restart while the other end of a connection keeps the port in TIME_WAIT.
        let accepted = loop {
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        drop((accepted, client, listener));
        BoundTcp::bind(address).unwrap().listen().unwrap();
    }

    #[test]
    fn a_holder_of_the_same_port_elsewhere_is_not_blamed() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20 1: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2\n\
             \x20 2: 00000000:0036 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2\n";
        let sockets = |address: &str| holder::sockets(table, address.parse().unwrap());
        assert_eq!(sockets("127.0.0.1:53"), [""; 0]);
        assert_eq!(sockets("127.0.0.53:53"), ["socket:[4711]"]);
        assert_eq!(sockets("0.0.0.0:53"), ["socket:[4711]"]);
        assert_eq!(sockets("192.0.2.1:54"), ["socket:[4712]"]);
    }

    #[test]
    fn udp_and_tcp_get_the_same_port() {
        let sockets = DnsSockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        assert_eq!(sockets.udp[0].local_addr().unwrap(), sockets.tcp[0].local_addr().unwrap());
    }
}
