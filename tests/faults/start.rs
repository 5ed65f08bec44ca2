//! What stands in the way of a start is said at once, all of it, and nothing is left running.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use crate::support::{Acmezone, Finished, Rtype, run};
use crate::{AT_ONCE, ZONE, ask, data_dir, memory, prepared, started, zone_file, zone_table};

/// Runs `acmezone serve`, which must end by itself with this exit code.
#[track_caller]
fn refused(command: Command, code: i32) -> Finished {
    let finished = run("acmezone", command, AT_ONCE).expect_failure();
    assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
    finished
}

#[track_caller]
fn assert_said(finished: &Finished, parts: &[&str]) {
    for part in parts {
        assert!(finished.stderr.contains(part), "`{part}` is missing in: {}", finished.stderr);
    }
}

#[test]
fn a_second_server_on_the_data_folder_is_told_of_the_first() {
    let mut first = started();
    let second = prepared();
    let text = fs::read_to_string(second.config()).unwrap();
    let shared = data_dir(&first).display().to_string();
    fs::write(second.config(), text.replace("\"data\"", &format!("{shared:?}"))).unwrap();
    let finished = refused(second.command(&["serve"]), 1);
    assert_said(&finished, &[&shared, &format!("process {}", first.process().id())]);
    assert_eq!(ask(&first, ZONE, Rtype::SOA).answer.len(), 1, "the first goes on");
    assert_eq!(first.update(&first.register(), &crate::value(1)).status, 200);
}

/// This process, as the message has it.
fn me() -> String {
    let name = fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
    format!("{} (process {})", name.trim(), std::process::id())
}

#[track_caller]
fn assert_in_use(server: &Acmezone, protocol: &str, address: SocketAddr) {
    let finished = refused(server.command(&["serve"]), 1);
    let place = format!("{protocol} {address}");
    assert_said(&finished, &[&place, &me()]);
}

#[test]
fn a_port_in_use_for_udp_alone_names_its_holder() {
    let server = prepared();
    let _holder = UdpSocket::bind(server.dns).unwrap();
    assert_in_use(&server, "UDP", server.dns);
}

#[test]
fn a_port_in_use_for_tcp_alone_names_its_holder() {
    let server = prepared();
    let _holder = TcpListener::bind(server.dns).unwrap();
    assert_in_use(&server, "TCP", server.dns);
}

#[test]
fn the_ports_of_api_and_admin_in_use_name_their_holder() {
    let server = prepared();
    for (table, address) in [("[api]", server.api), ("[admin]", server.admin)] {
        let _holder = TcpListener::bind(address).unwrap();
        assert_in_use(&server, "TCP", address);
        assert_said(&refused(server.command(&["serve"]), 1), &[table]);
    }
}

#[test]
fn everything_in_the_way_is_said_at_once() {
    let first = started();
    let second = first.command(&["serve"]);
    let finished = refused(second, 1);
    let [dns, api, admin] = [first.dns, first.api, first.admin].map(|address| address.to_string());
    assert_said(&finished, &[&data_dir(&first).display().to_string(), &dns, &api, &admin]);
    assert_eq!(finished.stderr.matches("in use by acmezone (process ").count(), 3, "{}", finished.stderr);
}

#[test]
fn all_errors_of_the_configuration_are_shown_and_nothing_listens() {
    let server = prepared();
    let text = fs::read_to_string(server.config()).unwrap();
    let wrong = text.replace("registration = \"open\"", "registration = \"perhaps\"\ncolour = \"blue\"")
        + "[[zone]]\norigin = \"a..b\"\nfile = \"nowhere.zone\"\n[resolver]\nnameservers = [\"one\"]\n";
    fs::write(server.config(), wrong).unwrap();
    let finished = refused(server.command(&["serve"]), 2);
    assert_said(&finished, &["perhaps", "colour", "a..b", "one", "acmezone.toml:"]);
    assert!(finished.stderr.matches("error:").count() >= 4, "{}", finished.stderr);
    assert!(!data_dir(&server).exists());
    for address in [server.dns, server.api, server.admin] {
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn all_errors_of_a_zone_file_are_shown_with_their_lines() {
    let server = prepared();
    let file = server.folder().join("bad.zone");
    let zone = fs::read_to_string(zone_file()).unwrap();
    fs::write(&file, zone + "\nwww IN A 300.1.2.3\nwww IN CNAME other\nelsewhere.test. IN A 192.0.2.1\n").unwrap();
    server.configure(&zone_table(&file));
    let finished = refused(server.command(&["serve"]), 2);
    assert_said(&finished, &["bad.zone:", "300.1.2.3"]);
}

#[test]
fn no_configuration_at_all_is_bad_usage() {
    let server = prepared();
    fs::remove_file(server.config()).unwrap();
    assert_said(&refused(server.command(&["serve"]), 2), &["acmezone.toml"]);
}

#[test]
fn a_zone_file_in_the_place_of_a_registered_label_is_refused() {
    let mut server = prepared();
    let file = server.folder().join("auth.zone");
    fs::copy(zone_file(), &file).unwrap();
    server.configure(&zone_table(&file));
    server.restart();
    let account = server.register();
    assert_eq!(server.update(&account, &crate::value(1)).status, 200);
    server.kill();

    let good = fs::read_to_string(&file).unwrap();
    let label = &account.subdomain;
    for record in [
        format!("{label} IN A 192.0.2.1"),
        format!("below.{label} IN A 192.0.2.1"),
        format!("{label} IN NS ns.elsewhere.test."),
    ] {
        fs::write(&file, format!("{good}\n{record}\n")).unwrap();
        assert_said(&refused(server.command(&["serve"]), 1), &[&account.fulldomain, "zone file"]);
    }
    let elsewhere = zone_table(&file).replace(ZONE, "other.example.org");
    fs::write(&file, "@ 60 SOA a. b. 1 1 1 1 1\n@ 60 NS a.\n").unwrap();
    server.configure(&elsewhere);
    assert_said(&refused(server.command(&["serve"]), 1), &[&account.fulldomain]);

    fs::write(&file, good).unwrap();
    server.configure(&zone_table(&file));
    let text = fs::read_to_string(server.config()).unwrap();
    for host in [account.fulldomain.clone(), format!("api.{}", account.fulldomain)] {
        let named = text.replace("[api]\n", &format!("[api]\nhostname = \"{host}\"\n"));
        fs::write(server.config(), named).unwrap();
        assert_said(&refused(server.command(&["serve"]), 1), &[&account.fulldomain, "`hostname` of [api]"]);
    }
    let below = format!("[[zone]]\norigin = \"sub.{}\"\nnameservers = [\"ns1.example.net\"]\n", account.fulldomain);
    fs::write(server.config(), format!("{text}\n{below}")).unwrap();
    assert_said(&refused(server.command(&["serve"]), 1), &[&account.fulldomain, "another zone begins below it"]);

    server.configure(&zone_table(&file));
    server.restart();
    assert_eq!(crate::txt(&server, &account), [crate::value(1)], "nothing was lost by trying");
}

#[test]
fn at_rest_the_server_needs_little_memory() {
    let mut server = started();
    assert_eq!(ask(&server, ZONE, Rtype::SOA).answer.len(), 1);
    let resident = memory(&mut server, "VmRSS");
    println!("resident at rest: {resident} kB");
    // The release build needs far less; this build has its debug information mapped too.
    assert!(resident < 60 * 1024, "{resident} kB");
}
