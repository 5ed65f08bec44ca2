//! An account that the CA says it does not know.

use http::header::LOCATION;
use serde_json::json;

use super::account::{keep, kept, put_aside};
use super::authority::Authority;
use super::error::{CaError, SessionError, told};
use super::jws::{Signer, post};
use super::rollover::{self, holder};
use crate::store::Writer;

/// Gives up this account, which the CA has said it does not know, unless it knows its key all the same: whether it is
/// given up. Not one whose key may be another by now; nor one that was made in its place meanwhile, which counts as
/// given up. The next one has a new key, since the old one may be known to the CA as that of an account that is
/// deactivated; the old one is put aside, as an external account may be bound to it for ever.
pub async fn forget(authority: &Authority, writer: &Writer, account: &str) -> Result<bool, SessionError> {
    let http = authority.http().map_err(CaError::from)?;
    let directory = authority.directory(&http).await.map_err(CaError::from)?;
    let _turn = authority.turn.lock().await;
    let ca = &authority.ca;
    let Some(mut kept) = kept(ca, writer).await? else { return Ok(true) };
    let holder = holder(ca, &kept)?;
    if holder.account != account || kept.next_key.is_some() {
        return Ok(holder.account != account);
    }
    let asked = json!({ "onlyReturnExisting": true });
    let signer = (&holder.key, Signer::Key);
    match post(&http, &directory.new_nonce, &directory.new_account, signer, Some(&asked)).await {
        Ok(headers) => {
            let known = headers.get(LOCATION).and_then(|url| url.to_str().ok()).unwrap_or(account);
            if known != account {
                let mut credentials = rollover::read(ca, &kept.credentials)?;
                known.clone_into(&mut credentials.id);
                kept.credentials = rollover::written(ca, &credentials)?;
                keep(ca, writer, &kept).await?;
            }
            tracing::warn!(ca = %ca.name, account = known, "the CA knows our account after all");
            Ok(false)
        }
        Err(error) => match told(error, &http) {
            error if error.is_unknown_account() => {
                put_aside(ca, writer, kept).await?;
                writer.forbid(account.to_owned()).await?;
                tracing::warn!(ca = %ca.name, account, "the CA does not know our account any more; its key is put aside");
                Ok(true)
            }
            error => Err(error.into()),
        },
    }
}
