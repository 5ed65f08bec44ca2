//! Many certificates that are due at the same time.

use acmezone::api::CertificateState;

use crate::crowd::{certificates, check_files, crowd, names, own};
use crate::house::{Ca, House, PATIENCE, orders};
use crate::support::{PebbleVersion, poll_async};

const CERTIFICATES: usize = 40;
const ORDERS: usize = 8;

/// The most orders that the CA had under way at the same time, as its log has it: from the making of an order until its
/// certificate was made.
fn most_at_once(log: &str) -> usize {
    let (mut most, mut under_way) = (0, 0_usize);
    for line in log.lines() {
        if line.contains("Added order") {
            under_way += 1;
            most = most.max(under_way);
        } else if line.contains("Issued certificate") {
            under_way -= 1;
        }
    }
    assert_eq!(under_way, 0, "orders without a certificate");
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_certificates_that_are_due_at_once_are_all_issued_and_no_more_orders_are_made_at_a_time_than_configured()
{
    let house = House::new();
    let pebble = house.pebble(PebbleVersion::V2_10_1).start();
    let ca = Ca::of(&pebble);
    let house = crowd(&ca, house, CERTIFICATES, ORDERS).await;
    assert_eq!(orders(&pebble), 0, "orders before the records were there");

    let server = house.serve(&ca, &own(&names("site"))).await;
    poll_async(PATIENCE, "all certificates", || async {
        let all = server.client.certificates().await.ok()?;
        all.iter().all(|status| status.state == CertificateState::Valid).then_some(())
    })
    .await;
    assert_eq!(orders(&pebble), CERTIFICATES);
    assert_eq!(most_at_once(&pebble.log()), ORDERS);
    let left = server.client.names().await.unwrap();
    assert!(left.iter().all(|name| name.values.is_empty()), "values are left: {left:?}");
    let (certs, root) = (house.folder.path().join("data/certs"), pebble.issuance_root_pem());
    for certificate in certificates(CERTIFICATES) {
        check_files(&certs, &certificate, &root);
    }
    server.handle.stop().await;
}
