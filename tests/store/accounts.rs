//! The accounts of the writer: labels and credentials come and go, at once and for good.

use acmezone::account::{AllowFrom, MAX_CREDENTIALS};
use acmezone::store::{RegisterLabel, Registration, UpdateError};

use crate::{add, as_account, label, name, start};

fn chosen(text: &str) -> RegisterLabel {
    RegisterLabel::Chosen(label(text))
}

#[tokio::test]
async fn labels_of_an_account_survive_a_restart_and_so_does_their_end() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    let username = one.account.username;
    for more in ["two", "three"] {
        world.writer.add_label(username, chosen(more)).await.unwrap();
    }
    for at in ["one", "two", "three"] {
        world.writer.update(as_account(&one), add(&format!("{at}.auth.example.org"), "v")).await.unwrap();
    }
    let left = world.writer.remove_label(username, label("two")).await.unwrap();
    assert_eq!(left, world.writer.account(username).await.unwrap());
    let refused = world.writer.update(as_account(&one), add("two.auth.example.org", "v")).await;
    assert!(matches!(refused, Err(UpdateError::Forbidden)), "{refused:?}");
    let world = world.restart();
    assert_eq!(world.values("three.auth.example.org"), ["v"]);
    assert!(world.live.txt_set(&name("two.auth.example.org")).is_none());
    assert!(matches!(world.register("two").await, Err(UpdateError::LabelTaken { .. })));
    let again = world.writer.add_label(username, chosen("two")).await;
    assert!(matches!(again, Err(UpdateError::LabelTaken { .. })), "{again:?}");
}

#[tokio::test]
async fn a_label_is_added_where_one_could_be_registered_and_nowhere_else() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    world.register("two").await.unwrap();
    for taken in ["one", "two", "ns1", "a", "cut", "api"] {
        let refused = world.writer.add_label(one.account.username, chosen(taken)).await;
        assert!(matches!(refused, Err(UpdateError::LabelTaken { .. })), "{taken}: {refused:?}");
    }
    let nobody = uuid::Uuid::from_u128(1);
    let refused = world.writer.add_label(nobody, chosen("free")).await;
    assert!(matches!(refused, Err(UpdateError::UnknownAccount(_))), "{refused:?}");
    world.register("free").await.unwrap();
}

#[tokio::test]
async fn only_a_label_of_the_account_is_taken_away_and_never_the_last() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    world.register("two").await.unwrap();
    let foreign = world.writer.remove_label(one.account.username, label("two")).await;
    assert!(matches!(foreign, Err(UpdateError::NotTheLabel(_))), "{foreign:?}");
    let last = world.writer.remove_label(one.account.username, label("one")).await;
    assert!(matches!(last, Err(UpdateError::LastLabel(_))), "{last:?}");
    assert!(world.live.txt_set(&name("one.auth.example.org")).is_some());
    assert!(world.live.txt_set(&name("two.auth.example.org")).is_some());
}

#[tokio::test]
async fn after_a_rotation_one_credential_is_valid_also_after_a_restart() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    let username = one.account.username;
    let with = |(account, credential)| Registration { account, credential, grant: one.grant.clone() };
    let minted = with(world.writer.mint(username).await.unwrap());
    assert_eq!(minted.account.credentials.len(), 2);
    let rotated = with(world.writer.rotate(username).await.unwrap());
    assert_eq!(rotated.account.credentials, [rotated.credential.hash()]);
    assert_eq!(rotated.account.grants, one.account.grants);
    let world = world.restart();
    for old in [&one, &minted] {
        let refused = world.writer.update(as_account(old), add("one.auth.example.org", "v")).await;
        assert!(matches!(refused, Err(UpdateError::Forbidden)), "{refused:?}");
    }
    world.writer.update(as_account(&rotated), add("one.auth.example.org", "v")).await.unwrap();
}

#[tokio::test]
async fn credentials_of_an_account_are_bounded_also_when_minted_at_once() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    let username = one.account.username;
    let mints = (0..MAX_CREDENTIALS + 4).map(|_| world.writer.mint(username));
    let minted = futures_util::future::join_all(mints).await;
    let refused: Vec<_> = minted.iter().filter_map(|minted| minted.as_ref().err()).collect();
    // the account was made with one
    assert_eq!(refused.len(), 5);
    assert!(refused.iter().all(|error| matches!(error, UpdateError::TooManyCredentials)), "{refused:?}");
    assert_eq!(world.writer.account(username).await.unwrap().credentials.len(), MAX_CREDENTIALS);
}

#[tokio::test]
async fn networks_change_without_touching_the_rest() {
    let world = start(tempfile::tempdir().unwrap());
    let one = world.register("one").await.unwrap();
    let networks = AllowFrom::parse(&["10.0.0.0/8"]).unwrap();
    let given = networks.clone();
    let changed = world.writer.change_account(one.account.username, |account| account.allow_from = given).await;
    let world = world.restart();
    let kept = world.writer.account(one.account.username).await.unwrap();
    assert_eq!(kept, changed.unwrap());
    assert_eq!((kept.allow_from, kept.credentials, kept.grants.len()), (networks, one.account.credentials, 1));
}
