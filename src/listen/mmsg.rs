//! recvmmsg and sendmmsg with the local address of each packet (IP_PKTINFO, IPV6_PKTINFO), wrapped safely.
//!
//! A reply must leave from the address that was asked; on a socket bound to a wildcard address only the kernel knows
//! which that was.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Packets per system call.
pub const BATCH: usize = 64;
/// Octets of the longest packet taken; longer ones are cut by the kernel and dropped here.
const LONGEST: usize = 4096;
/// Octets for one control message: the larger of the two PKTINFO structures, with its header.
const CONTROL: usize = 64;

/// The local side of a packet that came to a wildcard socket: what to put into the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    address: IpAddr,
    /// Interface, needed for link-local IPv6 addresses.
    interface: u32,
}

/// Where a packet came from, and the local address it came to if the socket has none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub local: Option<Local>,
}

/// Asks the kernel to tell the local address of each packet, if `address`, which the socket is to be bound to, is a
/// wildcard. Must be done before: a packet that has come already is not told about.
pub fn enable_packet_info(socket: &impl AsRawFd, address: IpAddr) -> io::Result<()> {
    let (level, option) = match address {
        address if !address.is_unspecified() => return Ok(()),
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the value is a c_int that lives during the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Control data, aligned as the kernel's structures want it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Buffers for a batch of packets; made once per thread.
pub struct Batch {
    packets: Box<[[u8; LONGEST]]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    /// Length and peer of each packet received; `None` for one that is to be dropped.
    received: Vec<Option<(usize, Peer)>>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch {
            packets: vec![[0; LONGEST]; BATCH].into(),
            // SAFETY: all-zero octets are a valid sockaddr_storage.
            addresses: vec![unsafe { zeroed() }; BATCH].into(),
            controls: vec![Control([0; CONTROL]); BATCH].into(),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Waits for at least one packet and takes what has come.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received.clear();
        // SAFETY: all-zero octets are valid for these C structures: null pointers and zero lengths.
        let mut iovecs: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for index in 0..BATCH {
            iovecs[index].iov_base = self.packets[index].as_mut_ptr().cast();
            iovecs[index].iov_len = LONGEST;
            let header = &mut headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.addresses[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &mut iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: every header points to buffers of the lengths given, all of which outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (index, header) in headers[..count].iter().enumerate() {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let peer = peer_address(&self.addresses[index])
                .filter(|_| whole)
                .map(|address| Peer { address, local: local_address(&header.msg_hdr) });
            self.received.push(peer.map(|peer| (header.msg_len as usize, peer)));
        }
        Ok(())
    }

    /// The packets of the last `receive`.
    pub fn packets(&self) -> impl Iterator<Item = (&[u8], Peer)> {
        self.received.iter().enumerate().filter_map(|(index, received)| {
            let (len, peer) = (*received)?;
            Some((&self.packets[index][..len], peer))
        })
    }
}

/// Replies waiting to be sent together. Their buffers are used again.
pub struct Replies {
    buffers: Vec<Vec<u8>>,
    peers: Vec<Peer>,
}

impl Replies {
    pub fn new() -> Replies {
        Replies { buffers: vec![Vec::new(); BATCH], peers: Vec::with_capacity(BATCH) }
    }

    /// The buffer for the next reply; `None` when the batch is full.
    pub fn next(&mut self) -> Option<&mut Vec<u8>> {
        self.buffers.get_mut(self.peers.len())
    }

    /// The buffer given by `next` is a reply to this peer.
    pub fn push(&mut self, peer: Peer) {
        self.peers.push(peer);
    }

    /// Sends all replies. One that cannot be sent (no route, peer refused) is skipped, as the network might have lost
    /// it.
    pub fn send(&mut self, socket: &UdpSocket) {
        let mut from = 0;
        while from < self.peers.len() {
            match send(socket, &self.buffers[from..self.peers.len()], &self.peers[from..]) {
                Ok(sent) => from += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => from += 1,
            }
        }
        self.peers.clear();
    }
}

/// Sends one reply.
pub fn send_one(socket: &UdpSocket, reply: Vec<u8>, peer: Peer) -> io::Result<()> {
    send(socket, &[reply], &[peer]).map(|_| ())
}

/// Sends packets, at most [`BATCH`]; how many were sent.
fn send(socket: &UdpSocket, packets: &[Vec<u8>], peers: &[Peer]) -> io::Result<usize> {
    let count = packets.len().min(peers.len()).min(BATCH);
    // SAFETY: all-zero octets are valid for these C structures: null pointers and zero lengths.
    let mut addresses: [libc::sockaddr_storage; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut iovecs: [libc::iovec; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    let mut controls = [Control([0; CONTROL]); BATCH];
    for index in 0..count {
        let header = &mut headers[index].msg_hdr;
        header.msg_namelen = write_address(peers[index].address, &mut addresses[index]);
        header.msg_name = ptr::from_mut(&mut addresses[index]).cast();
        // sendmmsg does not write through this pointer.
        iovecs[index].iov_base = packets[index].as_ptr().cast_mut().cast();
        iovecs[index].iov_len = packets[index].len();
        header.msg_iov = &mut iovecs[index];
        header.msg_iovlen = 1;
        if let Some(local) = peers[index].local {
            header.msg_control = controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            write_local(local, header);
        }
    }
    // SAFETY: the first `count` headers point to buffers of the lengths given, all of which outlive the call.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as libc::c_uint, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn peer_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let storage = ptr::from_ref(storage);
    // SAFETY: the family says which structure the kernel wrote, and sockaddr_storage is large and aligned enough for
    // both.
    unsafe {
        match i32::from((*storage).ss_family) {
            libc::AF_INET => {
                let address = &*storage.cast::<libc::sockaddr_in>();
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 => {
                let address = &*storage.cast::<libc::sockaddr_in6>();
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                let port = u16::from_be(address.sin6_port);
                Some(SocketAddrV6::new(ip, port, address.sin6_flowinfo, address.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

fn write_address(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    let storage = ptr::from_mut(storage);
    // SAFETY: sockaddr_storage is large and aligned enough for both structures.
    unsafe {
        match address {
            SocketAddr::V4(address) => {
                let out = &mut *storage.cast::<libc::sockaddr_in>();
                out.sin_family = libc::AF_INET as _;
                out.sin_port = address.port().to_be();
                out.sin_addr.s_addr = u32::from(*address.ip()).to_be();
                size_of::<libc::sockaddr_in>() as _
            }
            SocketAddr::V6(address) => {
                let out = &mut *storage.cast::<libc::sockaddr_in6>();
                out.sin6_family = libc::AF_INET6 as _;
                out.sin6_port = address.port().to_be();
                out.sin6_addr.s6_addr = address.ip().octets();
                out.sin6_scope_id = address.scope_id();
                size_of::<libc::sockaddr_in6>() as _
            }
        }
    }
}

fn local_address(header: &libc::msghdr) -> Option<Local> {
    // SAFETY: the kernel wrote msg_controllen octets of well-formed control messages into the aligned buffer that the
    // header points to; the level and type say which structure each one holds, read without assuming alignment.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = control.as_ref() {
            let data = libc::CMSG_DATA(message);
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into();
                    return Some(Local { address, interface: 0 });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr).into();
                    return Some(Local { address, interface: info.ipi6_ifindex });
                }
                _ => control = libc::CMSG_NXTHDR(header, control),
            }
        }
        None
    }
}

/// Writes one control message and its true length.
fn write_local(local: Local, header: &mut libc::msghdr) {
    // SAFETY: the header points to an aligned, zeroed buffer of CONTROL octets, which is enough for one control message
    // with either structure (CMSG_SPACE of the larger is 40); written without assuming alignment.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        let Some(message) = control.as_mut() else { return };
        match local.address {
            IpAddr::V4(address) => {
                let mut info: libc::in_pktinfo = zeroed();
                info.ipi_spec_dst.s_addr = u32::from(address).to_be();
                message.cmsg_level = libc::IPPROTO_IP;
                message.cmsg_type = libc::IP_PKTINFO;
                message.cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as _) as _;
                ptr::write_unaligned(libc::CMSG_DATA(control).cast(), info);
                header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as _) as _;
            }
            IpAddr::V6(address) => {
                let mut info: libc::in6_pktinfo = zeroed();
                info.ipi6_addr.s6_addr = address.octets();
                info.ipi6_ifindex = local.interface;
                message.cmsg_level = libc::IPPROTO_IPV6;
                message.cmsg_type = libc::IPV6_PKTINFO;
                message.cmsg_len = libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as _) as _;
                ptr::write_unaligned(libc::CMSG_DATA(control).cast(), info);
                header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as _) as _;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet to `target` and answers it from a wildcard socket; the address the answer came from.
    fn echo(wildcard: &str, target: IpAddr) -> SocketAddr {
        let server = UdpSocket::bind(wildcard).unwrap();
        enable_packet_info(&server, server.local_addr().unwrap().ip()).unwrap();
        let client = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        client.send_to(b"ping", (target, server.local_addr().unwrap().port())).unwrap();
        let mut batch = Batch::new();
        batch.receive(&server).unwrap();
        let (packet, peer) = batch.packets().next().unwrap();
        assert_eq!(packet, b"ping");
        send_one(&server, b"pong".to_vec(), peer).unwrap();
        let mut buffer = [0; 16];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"pong");
        from
    }

    #[test]
    fn a_reply_leaves_from_the_address_that_was_asked_rfc2181_4() {
        for target in ["127.0.0.1", "127.0.0.53"] {
            let target: IpAddr = target.parse().unwrap();
            assert_eq!(echo("0.0.0.0:0", target).ip(), target);
        }
        let v6: IpAddr = "::1".parse().unwrap();
        if UdpSocket::bind("[::1]:0").is_ok() {
            assert_eq!(echo("[::]:0", v6).ip(), v6);
        }
    }

    #[test]
    fn packets_longer_than_the_buffer_are_dropped() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(&[0; LONGEST + 1], server.local_addr().unwrap()).unwrap();
        client.send_to(b"short", server.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new();
        let mut seen = Vec::new();
        while seen.is_empty() {
            batch.receive(&server).unwrap();
            seen.extend(batch.packets().map(|(packet, _)| packet.to_vec()));
        }
        assert_eq!(seen, [b"short".to_vec()]);
    }
}
