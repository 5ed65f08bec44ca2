//! The least that a UDP server can do: recvmmsg, one bit, sendmmsg. A mode of this very program, as its own process.

use std::mem::zeroed;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::ptr;

use crate::servers::Server;
use crate::support::free_port;

pub const NAME: &str = "echo";
/// The first argument that asks for this mode; port and size of the replies follow.
pub const MODE: &str = "--echo";
const BATCH: usize = 64;
const LONGEST: usize = 4096;

/// An echo whose replies have `size` octets.
pub fn start(size: usize) -> Server {
    let port = free_port();
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args([MODE, &port.to_string(), &size.to_string()]);
    Server::start(NAME, command, port, |answer| answer.len() == size)
}

/// Answers for ever: the query, QR set, padded with zeros or cut to `size` octets.
pub fn serve(port: u16, size: usize) -> ! {
    assert!((12..=LONGEST).contains(&size), "{size} octets are no answer");
    let socket = UdpSocket::bind(("127.0.0.1", port)).expect("the port is free");
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    let mut queries = vec![[0u8; LONGEST]; BATCH];
    let mut replies = vec![[0u8; LONGEST]; BATCH];
    // SAFETY: all-zero octets are valid for these C structures: null pointers and zero lengths.
    let mut addresses: [libc::sockaddr_in; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let (mut received, mut sent): ([libc::mmsghdr; BATCH], [libc::mmsghdr; BATCH]) = unsafe { zeroed() };
    // SAFETY: as above.
    let (mut into, mut from): ([libc::iovec; BATCH], [libc::iovec; BATCH]) = unsafe { zeroed() };
    for index in 0..BATCH {
        into[index] = libc::iovec { iov_base: queries[index].as_mut_ptr().cast(), iov_len: LONGEST };
        from[index] = libc::iovec { iov_base: replies[index].as_mut_ptr().cast(), iov_len: size };
        for (headers, iovecs) in [(&mut received, &mut into), (&mut sent, &mut from)] {
            let header = &mut headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut addresses[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &mut iovecs[index];
            header.msg_iovlen = 1;
        }
    }
    loop {
        // SAFETY: every header points to buffers of the lengths given, all of which outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                received.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else { continue };
        for index in 0..count {
            let len = (received[index].msg_len as usize).min(size);
            replies[index][..len].copy_from_slice(&queries[index][..len]);
            replies[index][2] |= 0x80;
        }
        let mut done = 0;
        while done < count {
            // SAFETY: as above; the headers from `done` up to `count` are sent.
            let more = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), sent.as_mut_ptr().add(done), (count - done) as libc::c_uint, 0)
            };
            // One that cannot be sent is skipped.
            done += usize::try_from(more).unwrap_or(1).max(1);
        }
    }
}
