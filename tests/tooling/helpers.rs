//! The helpers fail when they should, and leave nothing behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Nsd, Query, RawDns, Rcode, Reply, Rtype, Subprocess, poll, poll_async, run};

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

/// The message of the panic that `body` ends with.
fn panic_of(body: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(body)).expect_err("a panic");
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[test]
fn poll_names_what_it_waited_for() {
    let message = panic_of(|| poll(Duration::from_millis(30), "the cows", || None));
    assert_eq!(message, "waited 30ms in vain for: the cows");
}

#[tokio::test]
async fn poll_async_looks_until_there_is_a_value() {
    let mut looks = 0;
    let found = poll_async(Duration::from_secs(5), "the third look", || {
        looks += 1;
        let now = looks;
        async move { (now == 3).then_some(now) }
    });
    assert_eq!(found.await, 3);
}

#[test]
fn a_dropped_program_takes_its_own_children_along() {
    let process = Subprocess::start("shell", shell("sleep 1000 & echo $!; wait"));
    let written = || Some(process.log()).filter(|log| log.ends_with('\n'));
    let child = poll(Duration::from_secs(5), "the child's id", written).trim().to_owned();
    let own = process.id().to_string();
    assert!(exists(&child) && exists(&own));
    drop(process);
    assert!(!exists(&child) && !exists(&own));
}

#[test]
fn waiting_ends_when_the_program_does() {
    let message = panic_of(|| {
        let mut process = Subprocess::start("shell", shell("echo oh dear; exit 3"));
        process.wait_until(Duration::from_secs(60), "a miracle", || None)
    });
    assert_eq!(message, "shell: waited for a miracle, but it ended with exit status: 3");
}

#[test]
fn a_program_that_does_not_end_is_killed() {
    let message = panic_of(|| drop(run("shell", shell("echo $$; sleep 1000"), Duration::from_millis(100))));
    let (reason, pid) = message.split_once(":\n").expect("what was written");
    assert_eq!(reason, "shell did not end within 100ms");
    assert!(!exists(pid));
}

#[test]
fn a_failure_shows_what_was_written() {
    let finished = run("shell", shell("echo out; echo err >&2; exit 1"), Duration::from_secs(5));
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(panic_of(|| drop(finished.expect_success())), "shell ended with exit status: 1:\nout\nerr");
}

#[test]
fn replies_are_read_whole() {
    let zone = "\
$TTL 60
@   SOA ns hostmaster 7 3600 600 86400 30
@   NS  ns
ns  A   192.0.2.1
Two TXT \"a\" \"b c\"
Two TXT \"\\\"\\200\"
";
    let nsd = Nsd::start(&[("example.test", zone)]);
    let server = RawDns::new(nsd.addr());

    let query = Query::new("tWo.example.TEST", Rtype::TXT).id(0x1234).edns(1232).dnssec_ok();
    let bytes = server.udp(&query.bytes()).expect("a reply over UDP");
    assert_eq!(bytes[12..][..query.question_bytes().len()], query.question_bytes());
    let reply = Reply::parse(&bytes);
    assert_eq!((reply.header.id(), reply.header.qr(), reply.header.aa()), (0x1234, true, true));
    assert_eq!((reply.header_rcode(), reply.counts[1]), (Rcode::NOERROR, 2));
    assert_eq!(reply.question[0].name, "tWo.example.TEST.");
    let mut values: Vec<_> = reply.answer.iter().map(|record| record.txt.clone().expect("a TXT record")).collect();
    values.sort();
    assert_eq!(values, [b"\"\xc8".to_vec(), b"ab c".to_vec()]);
    let edns = reply.edns.expect("an OPT record");
    assert_eq!((edns.version, edns.dnssec_ok), (0, true));

    let mut connection = server.connect().expect("a connection");
    connection.send(&Query::new("none.example.test", Rtype::A).bytes());
    let reply = Reply::parse(&connection.receive().expect("a reply over TCP"));
    assert_eq!((reply.header_rcode(), reply.edns), (Rcode::NXDOMAIN, None));
    let soa = &reply.authority[0];
    assert_eq!((soa.name.as_str(), soa.rtype, soa.ttl), ("example.test.", Rtype::SOA, 30));
    assert_eq!(soa.rdata, "ns.example.test. hostmaster.example.test. 7 3600 600 86400 30");
    connection.send(&Query::new("example.test", Rtype::NS).bytes());
    let reply = Reply::parse(&connection.receive().expect("a second reply"));
    assert_eq!((reply.answer.len(), reply.additional.len()), (1, 1));
}
