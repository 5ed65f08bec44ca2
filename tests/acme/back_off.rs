//! The back-off after failures at a CA: longer each time, over restarts too, and whatever is looked at in between.

use acmezone::api::{CertificateState, CertificateStatus};

use crate::fallback::failed;
use crate::house::{Ca, House};
use crate::support::Tls;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// After so many failures the next attempt is at this time after the last one, or up to a tenth later.
#[track_caller]
fn waits(status: &CertificateStatus, failures: u32, seconds: i64) {
    let error = status.last_error.as_ref().unwrap();
    let wait = status.next_attempt.unwrap().duration_since(error.at).as_secs();
    assert_eq!(error.failures, failures, "{error:?}");
    assert!((seconds..=seconds + seconds / 10).contains(&wait), "{wait} after {failures} failures");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_back_off_goes_on_after_restarts_and_after_looks_at_missing_records() {
    let house = House::new();
    let tls = Tls::new(&[]);
    let down = Ca::down(&tls.root_path());
    let server = house.serve(&down, &["delegated.test"]).await;
    server.wait_for(CertificateState::Failed).await;
    for _ in 0..2 {
        failed(&server.issue(false).await);
    }
    let third = server.show().await;
    waits(&third, 3, 100 * MINUTE);
    server.handle.stop().await;

    let server = house.serve(&down, &["delegated.test"]).await;
    assert_eq!(server.show().await.next_attempt, third.next_attempt);
    failed(&server.issue(false).await);
    let fourth = server.show().await;
    waits(&fourth, 4, DAY);
    server.handle.stop().await;

    // Somebody wants other names, and looks what they lack.
    let server = house.serve(&down, &["example.test"]).await;
    assert_eq!(server.show().await.next_attempt, fourth.next_attempt);
    assert!(failed(&server.issue(false).await).contains("make this record first"));
    let looked = server.show().await;
    assert_eq!((looked.state, looked.last_error.is_some()), (CertificateState::WaitingForDelegation, false));
    assert_eq!(looked.next_attempt, fourth.next_attempt);
    server.handle.stop().await;

    let server = house.serve(&down, &["delegated.test"]).await;
    assert_eq!(server.show().await.next_attempt, fourth.next_attempt);
    failed(&server.issue(false).await);
    waits(&server.show().await, 5, DAY);
    server.handle.stop().await;
}
