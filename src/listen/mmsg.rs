//! recvmmsg and sendmmsg with the local address of each packet (IP_PKTINFO, IPV6_PKTINFO), wrapped safely.
//!
//! A reply must leave from the address that was asked; on a socket bound to a wildcard address only the kernel knows
//! which that was.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::answer::BATCH;

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
    set_option(socket, level, option, 1)
}

/// Sends every packet whole or not at all (RFC 9715 section 3.1): with DF, and without believing anybody about the path
/// MTU. No answer is longer than any path must carry in IPv6.
pub fn never_fragment(socket: &impl AsRawFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        IpAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
    }
}

fn set_option(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is a c_int that lives during the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Control data, aligned as the kernel's structures want it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Buffers for a batch of packets and their replies, made once per thread and used again and again.
///
/// A reply goes out with the very address and control message that its packet came with, so nothing is copied.
pub struct Batch {
    packets: Box<[[u8; LONGEST]]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    /// Octets of control data to ask for: none unless the socket is bound to a wildcard address.
    control_len: usize,
    // The boxes below point into the boxes above and into `replies`; none of them is ever exchanged for another.
    _received_parts: Box<[libc::iovec]>,
    received: Box<[libc::mmsghdr]>,
    count: usize,
    replies: Box<[Vec<u8>]>,
    sending_parts: Box<[libc::iovec]>,
    sending: Box<[libc::mmsghdr]>,
    waiting: usize,
}

impl Batch {
    /// For a socket bound to a wildcard address or not.
    pub fn new(wildcard: bool) -> Batch {
        let mut packets: Box<[[u8; LONGEST]]> = vec![[0; LONGEST]; BATCH].into();
        // SAFETY: all-zero octets are valid for these C structures: an unspecified family, null pointers, zero lengths.
        let (address, part, header): (libc::sockaddr_storage, libc::iovec, libc::mmsghdr) =
            unsafe { (zeroed(), zeroed(), zeroed()) };
        let mut addresses: Box<[libc::sockaddr_storage]> = vec![address; BATCH].into();
        let mut controls: Box<[Control]> = vec![Control([0; CONTROL]); BATCH].into();
        let mut parts: Box<[libc::iovec]> = vec![part; BATCH].into();
        let mut received: Box<[libc::mmsghdr]> = vec![header; BATCH].into();
        let control_len = if wildcard { CONTROL } else { 0 };
        for index in 0..BATCH {
            parts[index].iov_base = packets[index].as_mut_ptr().cast();
            parts[index].iov_len = LONGEST;
            let header = &mut received[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut addresses[index]).cast();
            header.msg_iov = &mut parts[index];
            header.msg_iovlen = 1;
            if wildcard {
                header.msg_control = controls[index].0.as_mut_ptr().cast();
            }
        }
        Batch {
            packets,
            addresses,
            controls,
            control_len,
            _received_parts: parts,
            received,
            count: 0,
            replies: vec![Vec::new(); BATCH].into(),
            sending_parts: vec![part; BATCH].into(),
            sending: vec![header; BATCH].into(),
            waiting: 0,
        }
    }

    /// Waits for at least one packet and takes what has come.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let used = BATCH.min(self.count.max(1));
        // Only what the kernel wrote into at the last call has to be set again; all at the first.
        let from_start = if self.received[BATCH - 1].msg_hdr.msg_namelen == 0 { BATCH } else { used };
        for header in &mut self.received[..from_start] {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = self.control_len as _;
        }
        self.count = 0;
        self.waiting = 0;
        // SAFETY: every header points to buffers of the lengths given, all of which this batch owns.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.received.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }

    /// The packets of the last `receive`, and the room for their replies. One that was too long counts as empty.
    pub fn packets(&mut self) -> (impl Iterator<Item = &[u8]>, Replies<'_>) {
        let received = &self.received[..self.count];
        let packets = received.iter().zip(&self.packets).map(|(header, octets)| {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            octets.get(..header.msg_len as usize).filter(|_| whole).unwrap_or_default()
        });
        let replies = Replies {
            received,
            addresses: &self.addresses,
            controls: &mut self.controls,
            replies: &mut self.replies,
            parts: &mut self.sending_parts,
            sending: &mut self.sending,
            waiting: &mut self.waiting,
        };
        (packets, replies)
    }

    /// Sends what waits. A reply that cannot be sent (no route, peer refused) is skipped, as the network might have
    /// lost it.
    pub fn send(&mut self, socket: &UdpSocket) {
        let mut from = 0;
        while from < self.waiting {
            let waiting = &mut self.sending[from..self.waiting];
            // SAFETY: every header points to buffers of the lengths given, all of which this batch owns and nobody has
            // touched since `enqueue`.
            let sent =
                unsafe { libc::sendmmsg(socket.as_raw_fd(), waiting.as_mut_ptr(), waiting.len() as libc::c_uint, 0) };
            match usize::try_from(sent) {
                Ok(sent) => from += sent.max(1),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => from += 1,
            }
        }
        self.waiting = 0;
    }
}

/// Where the replies to the packets of a batch are written.
pub struct Replies<'a> {
    received: &'a [libc::mmsghdr],
    addresses: &'a [libc::sockaddr_storage],
    controls: &'a mut [Control],
    replies: &'a mut [Vec<u8>],
    parts: &'a mut [libc::iovec],
    sending: &'a mut [libc::mmsghdr],
    waiting: &'a mut usize,
}

impl Replies<'_> {
    /// Who sent the packet at `index`; `None` for an address of no family that is known here.
    pub fn peer(&self, index: usize) -> Option<Peer> {
        let address = peer_address(&self.addresses[index])?;
        Some(Peer { address, local: local_address(&self.received[index].msg_hdr) })
    }

    /// Room for the reply to the packet at `index`, with what it held at an earlier time.
    pub fn room(&mut self, index: usize) -> &mut Vec<u8> {
        &mut self.replies[index]
    }

    /// Lets the reply at `index` go where its packet came from, at the next `send`. At most once for each packet.
    pub fn enqueue(&mut self, index: usize) {
        let (reply, from) = (&self.replies[index], &self.received[index].msg_hdr);
        let (part, header) = (&mut self.parts[*self.waiting], &mut self.sending[*self.waiting].msg_hdr);
        // sendmmsg does not write through this pointer.
        part.iov_base = reply.as_ptr().cast_mut().cast();
        part.iov_len = reply.len();
        header.msg_name = from.msg_name;
        header.msg_namelen = from.msg_namelen;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_control = ptr::null_mut();
        header.msg_controllen = 0;
        if let Some(local) = local_address(from) {
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            write_local(local, header);
        }
        *self.waiting += 1;
    }
}

/// Sends one reply to a peer that was handed on.
pub fn send_one(socket: &UdpSocket, reply: &[u8], peer: Peer) -> io::Result<()> {
    // SAFETY: all-zero octets are valid for these C structures: an unspecified family, null pointers, zero lengths.
    let (mut address, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut control = Control([0; CONTROL]);
    // sendmsg does not write through this pointer.
    let mut part = libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
    header.msg_namelen = write_address(peer.address, &mut address);
    header.msg_name = ptr::from_mut(&mut address).cast();
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    if let Some(local) = peer.local {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        write_local(local, &mut header);
    }
    // SAFETY: the header points to buffers of the lengths given, all of which outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
    // SAFETY: the header points to an aligned buffer of CONTROL octets, which is enough for one control message with either
    // structure (CMSG_SPACE of the larger is 40); all of the message is written, without assuming alignment.
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
        let mut batch = Batch::new(true);
        batch.receive(&server).unwrap();
        let (packets, mut replies) = batch.packets();
        assert_eq!(packets.collect::<Vec<_>>(), [b"ping"]);
        replies.room(0).extend_from_slice(b"pong");
        replies.enqueue(0);
        let peer = replies.peer(0).unwrap();
        batch.send(&server);
        send_one(&server, b"pong", peer).unwrap();
        let mut buffer = [0; 16];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"pong");
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (len, from));
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
    fn each_reply_of_a_batch_leaves_from_its_own_address_rfc2181_4() {
        let server = UdpSocket::bind("0.0.0.0:0").unwrap();
        enable_packet_info(&server, IpAddr::V4(Ipv4Addr::UNSPECIFIED)).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let mut batch = Batch::new(true);
        // Again with other addresses at the same places, of which not all are answered.
        for targets in [[1u8, 2, 3, 4], [5, 1, 7, 2], [9, 9, 1, 3]] {
            for target in targets {
                client.send_to(&[target], (Ipv4Addr::new(127, 0, 0, target), port)).unwrap();
            }
            let mut seen = 0;
            while seen < targets.len() {
                batch.receive(&server).unwrap();
                let (packets, mut replies) = batch.packets();
                for (index, packet) in packets.enumerate() {
                    seen += 1;
                    let room = replies.room(index);
                    room.clear();
                    room.extend_from_slice(packet);
                    if packet != [3] {
                        replies.enqueue(index);
                    }
                }
                batch.send(&server);
            }
            for target in targets.into_iter().filter(|target| *target != 3) {
                let mut buffer = [0; 16];
                let (len, from) = client.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..len], from.ip()), (&[target][..], Ipv4Addr::new(127, 0, 0, target).into()));
            }
        }
    }

    #[test]
    fn no_answer_is_sent_in_fragments_rfc9715_3_1() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        never_fragment(&socket, IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let (mut value, mut len): (libc::c_int, _) = (-1, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: both pointers are to values that live during the call; the length is that of the value.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                ptr::from_mut(&mut value).cast(),
                &mut len,
            )
        };
        assert_eq!((result, value), (0, libc::IP_PMTUDISC_PROBE));
    }

    #[test]
    fn packets_longer_than_the_buffer_count_as_empty() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(&[0; LONGEST + 1], server.local_addr().unwrap()).unwrap();
        client.send_to(b"short", server.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new(false);
        let mut seen = Vec::new();
        while seen.is_empty() {
            batch.receive(&server).unwrap();
            seen.extend(batch.packets().0.filter(|packet| !packet.is_empty()).map(<[u8]>::to_vec));
        }
        assert_eq!(seen, [b"short".to_vec()]);
    }
}
