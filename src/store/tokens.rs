//! Registration tokens in the store, and the accounts that are made with them.

use super::records::{Document, Records, StoreError};
use super::{RegisterLabel, Registration, UpdateError, Writer, now};
use crate::account::{AllowFrom, Credential, CredentialHash, RegistrationToken, TokenState, secret_id, secret_key};
use crate::zone::Timestamp;

const KIND: Document = Document::RegistrationToken;

/// Why nobody registers with this token.
#[derive(Debug, Clone)]
pub enum TokenRefused {
    Unknown,
    NotValid { token: RegistrationToken, state: TokenState },
}

impl Writer {
    /// Makes a token and keeps its hash. The token itself is to be shown once.
    pub async fn create_token(
        &self,
        uses: Option<u64>,
        expires: Option<Timestamp>,
        note: String,
    ) -> Result<(Credential, RegistrationToken), UpdateError> {
        let secret = Credential::random().map_err(|error| UpdateError::NoRandomness(error.to_string()))?;
        let key = secret_key(&secret.hash());
        let id = secret_id(&key).to_owned();
        let token = RegistrationToken { id, note, created: now(), expires, uses, registered: 0, revoked: false };
        let kept = token.clone();
        self.submit(move |records, _| Ok(records.write(KIND, &key, &kept)?)).await?;
        Ok((secret, token))
    }

    /// All tokens, oldest first, those that are no longer valid included.
    pub async fn tokens(&self) -> Result<Vec<RegistrationToken>, UpdateError> {
        let all = self.submit(|records, _| Ok(records.read_all::<RegistrationToken>(KIND)?)).await?;
        let mut tokens: Vec<RegistrationToken> = all.into_iter().map(|(_, token)| token).collect();
        tokens.sort_by_key(|token| token.created);
        Ok(tokens)
    }

    /// Nobody registers with this token any more; the accounts that were made with it stay.
    pub async fn revoke_token(&self, id: String) -> Result<RegistrationToken, UpdateError> {
        self.submit(move |records, _| {
            let all = records.read_all::<RegistrationToken>(KIND)?;
            let found = all.into_iter().find(|(_, token)| token.id == id);
            let (key, mut token) = found.ok_or(UpdateError::UnknownId { what: "registration token", id })?;
            token.revoked = true;
            records.write(KIND, &key, &token)?;
            Ok(token)
        })
        .await
    }

    /// Says whether somebody could register with this token, without a use of it.
    pub async fn check_token(&self, token: CredentialHash) -> Result<Result<(), TokenRefused>, UpdateError> {
        self.submit(move |records, _| Ok(valid(records, &secret_key(&token))?.map(drop))).await
    }

    /// Makes an account as [`Writer::register`] does and counts a use of the token: both or none. The token as it is
    /// then.
    pub async fn register_with_token(
        &self,
        token: CredentialHash,
        allow_from: AllowFrom,
        label: RegisterLabel,
    ) -> Result<Result<(Registration, RegistrationToken), TokenRefused>, UpdateError> {
        let wanted = self.draft(allow_from, label)?;
        let writer = self.clone();
        self.submit(move |records, changes| {
            let key = secret_key(&token);
            let mut token = match valid(records, &key)? {
                Ok(token) => token,
                Err(refused) => return Ok(Err(refused)),
            };
            let registration = writer.enter(records, changes, wanted)?;
            token.registered = token.registered.saturating_add(1);
            records.write(KIND, &key, &token)?;
            Ok(Ok((registration, token)))
        })
        .await
    }
}

fn valid(records: &mut dyn Records, key: &str) -> Result<Result<RegistrationToken, TokenRefused>, StoreError> {
    let Some(token) = records.read::<RegistrationToken>(KIND, key)? else { return Ok(Err(TokenRefused::Unknown)) };
    Ok(match token.state(now()) {
        TokenState::Valid => Ok(token),
        state => Err(TokenRefused::NotValid { token, state }),
    })
}
