//! Deploy programs that do not end: who waits for them is told so.

use acmezone::api::Progress;

use crate::commands::{acmezone, file, text};
use crate::house::{Ca, House, PATIENCE};
use crate::support::{PebbleVersion, poll_async};

const NAMES: [&str; 1] = ["delegated.test"];

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_waits_for_others_says_so_and_those_are_seen_to_run() {
    let mut house = House::new();
    let go = house.folder.path().join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    house.certificate = format!("deploy = [\"/bin/sh\", \"-c\", \"{script}\"]\n");
    for number in 2..=5 {
        house.tables += &format!("[[certificate]]\nname = \"site{number}\"\nnames = {NAMES:?}\n{}", house.certificate);
    }
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let server = house.serve(&Ca::of(&pebble), &NAMES).await;
    let waits = poll_async(PATIENCE, "four programs to run, and one certificate more", || async {
        let all = server.client.certificates().await.ok()?;
        let runs = |one: &acmezone::api::CertificateStatus| one.deployment.as_ref()?.running_since;
        let (running, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| runs(one).is_some());
        let [other] = &other[..] else { return None };
        (running.len() == 4 && other.serial.is_some()).then(|| (running[0].name.clone(), other.name.clone()))
    });
    let (runs, waits) = waits.await;
    let shown = acmezone(&file(&house), &["cert", "show", &runs]).await;
    assert!(text(&shown.stdout).contains("deploy:        running since 20"), "{shown:?}");
    let listed = acmezone(&file(&house), &["cert", "list"]).await;
    assert_eq!(text(&listed.stdout).matches("deploy runs since 20").count(), 4, "{listed:?}");

    // The server itself waits for a place to run it: who asks waits for that first.
    let mut steps = server.client.deploy(&waits).await.unwrap();
    let first = steps.next().await.unwrap().unwrap();
    let Progress::Step { message } = &first else { panic!("{first:?}") };
    assert!(
        message.contains("waits for a place, as 4 others are running") || message.starts_with("waiting for a place: 4"),
        "{message}"
    );
    std::fs::write(&go, "").unwrap();
    let last = async {
        loop {
            match steps.next().await {
                Some(Ok(Progress::Step { .. })) => {}
                other => return other,
            }
        }
    };
    assert!(matches!(last.await, Some(Ok(Progress::Done { .. }))));
    server.handle.stop().await;
}
