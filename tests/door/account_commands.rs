//! The commands that change an account: the real binary against the admin API.

use acmezone::api::{Account, AddedLabel, CreatedAccount, NewCredential};
use acmezone::config::Registration;

use crate::acmedns::{TXT, body, update};
use crate::commands::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_added_and_taken_away() {
    let desk = Desk::open().await;
    desk.stdout(&["account", "create", "--label", "www"]);
    let text = desk.stdout(&["account", "add-label", "www", "--label", "mail"]);
    assert!(text.contains("  _acme-challenge.<your domain>.  IN  CNAME  mail.auth.example.org.\n"), "{text}");
    let random: AddedLabel = desk.json(&["account", "add-label", "mail.auth.example.org"]);
    let shown = desk.stdout(&["account", "show", "www"]);
    assert!(shown.contains("names:         www.auth.example.org, ") && shown.contains(random.subdomain.as_str()));
    let left: Account = desk.json(&["account", "remove-label", "mail", "--yes"]);
    assert_eq!(left.fulldomains.len(), 2);
    assert!(
        desk.stdout(&["account", "remove-label", &random.fulldomain.to_string(), "--yes"])
            .contains("www.auth.example.org")
    );
    assert_eq!(desk.fails(&["account", "remove-label", "www", "--yes"], "only label"), Some(1));
    assert_eq!(desk.fails(&["account", "add-label", "www", "--label", "mail"], "used before"), Some(1));
    assert_eq!(desk.fails(&["account", "add-label", "www", "--label", "W_W"], "lower-case"), Some(2));
    assert_eq!(desk.fails(&["account", "add-label", "nobody"], "no user name"), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_changed_and_opened_only_on_purpose() {
    let desk = Desk::open().await;
    desk.stdout(&["account", "create", "--label", "www", "--allow-from", "10.0.0.0/8"]);
    assert_eq!(desk.fails(&["account", "allow-from", "www"], "--anywhere"), Some(2));
    assert_eq!(desk.fails(&["account", "allow-from", "www", "192.0.2.0/24", "--anywhere"], "--anywhere"), Some(2));
    assert_eq!(desk.fails(&["account", "allow-from", "www", "192.0.2.1"], "CIDR"), Some(1));
    assert!(desk.stdout(&["account", "show", "www"]).contains("10.0.0.0/8"));
    let changed: Account = desk.json(&["account", "allow-from", "www", "192.0.2.0/24", "2001:db8::/32"]);
    assert_eq!(changed.allowfrom, ["192.0.2.0/24", "2001:db8::/32"]);
    assert!(desk.stdout(&["account", "allow-from", "www", "--anywhere"]).contains("allowed from:  anywhere\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_account_has_one_new_credential_and_its_old_names() {
    let desk = Desk::open().await;
    let api = desk.house.acmedns(Registration::Closed).await;
    let old: CreatedAccount = desk.json(&["account", "create", "--label", "www"]);
    desk.stdout(&["account", "add-label", "www", "--label", "mail"]);
    let text = desk.stdout(&["account", "rotate", "www"]);
    let line = |name: &str, value: &str| text.lines().any(|line| line == format!("{name:<14}{value}"));
    assert!(line("username:", &old.username.to_string()), "{text}");
    assert!(line("fulldomain:", "www.auth.example.org") && line("subdomain:", "www"), "{text}");
    assert!(line("other names:", "mail.auth.example.org"), "{text}");
    assert!(!text.contains(&old.password));
    let printed = text.lines().find_map(|line| line.strip_prefix("password:")).unwrap().trim();
    let new = CreatedAccount { password: printed.to_owned(), ..old.clone() };
    assert_eq!(update(api, &old, &body(&old, TXT)).await.status, 401);
    assert_eq!(update(api, &new, &body(&new, TXT)).await.status, 200);
    let again: NewCredential = desk.json(&["account", "rotate", &old.username.to_string()]);
    assert_eq!((again.credentials, again.fulldomains.len()), (1, 2));
    assert_eq!(update(api, &new, &body(&new, TXT)).await.status, 401);
    assert_eq!(desk.fails(&["account", "rotate", "nobody"], "no user name"), Some(1));
}
