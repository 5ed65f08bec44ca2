//! A flood from loopback, as fast as the kernel takes it, and how a server is doing meanwhile.

use std::fs;
use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use domain::base::iana::Rtype;

use super::acmezone::{Acmezone, Registered};
use super::http::{self, Http};
use super::raw_dns::Query;

/// Sockets that send, each in a thread of its own.
pub const SENDERS: u8 = 8;
/// Between two updates over the same connection.
const PAUSE: Duration = Duration::from_millis(5);

/// Whose addresses the packets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// No flood, to compare with.
    Nobody,
    /// 127.0.0.1 to 127.0.0.8.
    Eight,
    /// Every second packet as `Eight`, the others from anywhere in 127.0.0.0/8: 65,536 networks.
    Forged,
}

/// What happened during a flood.
#[derive(Debug)]
pub struct Flooded {
    pub time: Duration,
    pub sent: u64,
    /// Those that found the server's socket buffers full.
    pub lost: u64,
    /// VmRSS after the warm-up, and the most that was seen afterwards, kB.
    pub resident: (u64, u64),
    /// Lines that the server logged, from the warm-up on.
    pub lines: usize,
    /// How long each update took, the shortest first.
    pub updates: Vec<Duration>,
}

impl Flooded {
    /// The most that so many hundredths of the updates took.
    pub fn percentile(&self, hundredths: usize) -> Duration {
        let index = (self.updates.len() * hundredths).div_ceil(100).saturating_sub(1);
        self.updates.get(index).copied().unwrap_or(Duration::MAX)
    }

    pub fn taken(&self) -> u64 {
        self.sent.saturating_sub(self.lost)
    }

    /// kB.
    pub fn growth(&self) -> u64 {
        self.resident.1.saturating_sub(self.resident.0)
    }
}

/// Floods the server for a while, and goes on updating values all the time: over a connection that is kept, and over a
/// new one each time. Panics when an update fails.
pub fn flood(server: &mut Acmezone, zone: &str, sources: Sources, warm_up: Duration, time: Duration) -> Flooded {
    let accounts = [server.register(), server.register()];
    let packets = packets(zone, &accounts[0].fulldomain);
    let (process, dns, api) = (server.process().id(), server.dns, server.api);
    let stop = AtomicBool::new(false);
    let counting = AtomicBool::new(false);
    thread::scope(|scope| {
        let (stop, counting, packets, accounts) = (&stop, &counting, &packets, &accounts);
        let _stop_on_panic = Stop(stop);
        let senders: Vec<_> = (1..=if sources == Sources::Nobody { 0 } else { SENDERS })
            .map(|number| scope.spawn(move || send(number, sources, dns, packets, stop, counting)))
            .collect();
        let updates = [
            scope.spawn(move || {
                let mut http = Http::connect(api);
                update(&accounts[0], stop, counting, |headers, body| http.request("POST", "/update", headers, body))
            }),
            scope.spawn(move || {
                update(&accounts[1], stop, counting, |headers, body| {
                    http::request(api, "POST", "/update", headers, body)
                })
            }),
        ];
        thread::sleep(warm_up);
        let (before, lost, lines) = (resident(process), lost(dns), server.log().lines().count());
        counting.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let mut most = before;
        while began.elapsed() < time {
            thread::sleep(Duration::from_millis(100));
            most = most.max(resident(process));
        }
        stop.store(true, Ordering::Relaxed);
        let time = began.elapsed();
        let lost = self::lost(dns) - lost;
        let sent = senders.into_iter().map(|sender| sender.join().expect("a sender")).sum();
        let mut updates = updates.map(|updates| updates.join().expect("updates")).concat();
        updates.sort();
        let lines = server.log().lines().count() - lines;
        Flooded { time, sent, lost, resident: (before, most), lines, updates }
    })
}

/// Threads of a scope are waited for, also in a panic: they must end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long each update took that began after the warm-up.
fn update(
    account: &Registered,
    stop: &AtomicBool,
    counting: &AtomicBool,
    mut request: impl FnMut(&[(&str, &str)], &[u8]) -> http::Answer,
) -> Vec<Duration> {
    let mut took = Vec::new();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let counts = counting.load(Ordering::Relaxed);
        let body = account.body(&format!("{number:0>43}"));
        let began = Instant::now();
        let answer = request(&account.headers(), body.as_bytes());
        let elapsed = began.elapsed();
        assert_eq!(answer.status, 200, "{answer:?}");
        if counts {
            took.push(elapsed);
        }
        thread::sleep(PAUSE);
    }
    took
}

/// Sends without waiting for anything; how many packets after the warm-up.
fn send(
    number: u8,
    sources: Sources,
    server: SocketAddr,
    packets: &[Vec<u8>],
    stop: &AtomicBool,
    counting: &AtomicBool,
) -> u64 {
    let own = Ipv4Addr::new(127, 0, 0, number);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let mut random = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut packet = Vec::new();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for (index, template) in packets.iter().enumerate() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            packet.clear();
            packet.extend_from_slice(template);
            // Another id, and another name where the template has a label of these digits.
            let digits = packet.windows(8).position(|window| window == DIGITS);
            packet.iter_mut().zip(random.to_be_bytes()).take(2).for_each(|(octet, other)| *octet = other);
            if let Some(at) = digits {
                let other = format!("{:08x}", random as u32);
                packet[at..at + 8].copy_from_slice(other.as_bytes());
            }
            let source = match sources {
                Sources::Forged if index % 2 == 1 => Ipv4Addr::from(0x7f00_0000 | random as u32 >> 8),
                _ => own,
            };
            // Full buffers and refusals are the flood's own affair.
            let _ = send_from(&socket, source, server, &packet);
            sent += u64::from(counting.load(Ordering::Relaxed));
        }
    }
    sent
}

/// Sends a packet from any address of this machine (IP_PKTINFO).
fn send_from(socket: &UdpSocket, source: Ipv4Addr, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let SocketAddr::V4(to) = to else { return Err(io::ErrorKind::Unsupported.into()) };
    // SAFETY: all-zero octets are valid for these C structures. The header points to an address, to the packet and to an
    // aligned buffer that is larger than one control message, all of which outlive the call.
    unsafe {
        let mut address: libc::sockaddr_in = zeroed();
        address.sin_family = libc::AF_INET as _;
        address.sin_port = to.port().to_be();
        address.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        let mut control = Control([0; 64]);
        let mut part = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        let mut header: libc::msghdr = zeroed();
        header.msg_name = ptr::from_mut(&mut address).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as _;
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as _) as _;
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::IPPROTO_IP;
        (*message).cmsg_type = libc::IP_PKTINFO;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as _) as _;
        let mut info: libc::in_pktinfo = zeroed();
        info.ipi_spec_dst.s_addr = u32::from(source).to_be();
        ptr::write_unaligned(libc::CMSG_DATA(message).cast(), info);
        match libc::sendmsg(socket.as_raw_fd(), &header, 0) {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Exchanged for others in every packet.
const DIGITS: &[u8] = b"00000000";

/// One packet of each kind, those with values more than once.
fn packets(zone: &str, label: &str) -> Vec<Vec<u8>> {
    let hit = || Query::new(label, Rtype::TXT);
    let random = || Query::new(&format!("x00000000.{zone}"), Rtype::TXT);
    let deep = Query::new(&format!("a.b.c.d.x00000000.{zone}"), Rtype::TXT);
    let deepest = Query::new(&format!("{}x00000000.{zone}", "a.".repeat(110)), Rtype::TXT);
    let outside = Query::new("x00000000.example.com", Rtype::A);
    let challenge = Query::new(&format!("_acme-challenge.{label}"), Rtype::TXT);
    let counts = |query: Query, counts: [u16; 4]| {
        let mut packet = query.bytes();
        packet.splice(4..12, counts.into_iter().flat_map(u16::to_be_bytes));
        packet
    };
    // a key and an algorithm of short names, a MAC of 32 octets
    let tsig = |query: Query| {
        let mut packet = query.bytes();
        packet[11] += 1;
        packet.extend_from_slice(
            b"\x0800000000\0\0\xfa\0\xff\0\0\0\0\0\x3d\x0bhmac-sha256\0\0\0\x65\0\0\0\x01\x2c\0\x20",
        );
        packet.extend_from_slice(&[0x5a; 32]);
        packet.extend_from_slice(&[0; 6]);
        packet
    };
    vec![
        hit().bytes(),
        hit().edns(1232).dnssec_ok().bytes(),
        hit().edns(1232).edns_option(10, b"00000000").bytes(),
        challenge.edns(1232).bytes(),
        random().bytes(),
        random().edns(1232).dnssec_ok().bytes(),
        random().bytes(),
        deep.bytes(),
        deepest.bytes(),
        outside.bytes(),
        Query::new(".", Rtype::NS).bytes(),
        Query::new(zone, Rtype::ANY).edns(65_535).bytes(),
        Query::new(zone, Rtype::AXFR).bytes(),
        (0..200_u8).map(|octet| octet.wrapping_mul(151)).collect(),
        vec![0xff; 1400],
        vec![0; 12],
        hit().bytes()[..20].to_vec(),
        hit().bytes()[..7].to_vec(),
        Vec::new(),
        counts(hit(), [65_535, 0, 0, 0]),
        counts(hit(), [1, 65_535, 65_535, 65_535]),
        counts(hit().opcode(5), [65_535, 65_535, 65_535, 65_535]),
        counts(hit().opcode(5), [1, 65_535, 65_535, 65_535]),
        Query::new(zone, Rtype::SOA).opcode(5).bytes(),
        Query::new(zone, Rtype::SOA).opcode(4).bytes(),
        tsig(hit()),
        tsig(Query::new(zone, Rtype::SOA).opcode(5)),
    ]
}

/// VmRSS, kB.
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the server lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Packets that the buffers of the sockets on this port had no room for.
fn lost(server: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/udp").expect("/proc can be read");
    let port = format!(":{:04X}", server.port());
    let sockets =
        table.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port)));
    sockets.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}
