//! The typed client of the admin API, for the command line: finds the running server by its configuration file.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::api::{
    Account, AddedLabel, Alias, ApiError, CaStatus, CertificateEvent, CertificateStatus, CreatedAccount,
    CreatedStorage, CreatedToken,
};
use crate::api::{
    NewAccount, NewAlias, NewAllowFrom, NewCredential, NewLabel, NewReissue, NewRevocation, NewStorage, NewToken,
    NewTsigKey, Progress,
};
use crate::api::{Status, Storage, Token, TsigKey, TxtName, Values, Zone};
use crate::config::Config;

/// Longest time until a connection on this machine stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Talks to the server that runs with a given configuration.
pub struct Client {
    http: reqwest::Client,
    /// For what tells its steps: a CA, or a program that follows a certificate, may be silent for long, and a server that
    /// is no more closes the connection.
    patient: reqwest::Client,
    server: Url,
    address: SocketAddr,
    token: Zeroizing<String>,
    token_file: PathBuf,
}

/// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.server)
    }
}

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot read the admin token {}: {error}\n{}", file.display(), token_hint(error))]
    NoToken { file: PathBuf, error: io::Error },
    #[error("no server answers at {address}: {reason}\n{HINT}")]
    NotRunning { address: SocketAddr, reason: String },
    #[error("the server at {address} does not know the token in {}. {HINT}", token_file.display())]
    WrongToken { address: SocketAddr, token_file: PathBuf },
    /// The server said no, in its own words.
    #[error("{}", .0.message)]
    Refused(ApiError),
    #[error("the answer of {address} is not what acmezone says: {reason}")]
    Strange { address: SocketAddr, reason: String },
}

fn token_hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "Only root and the user that runs the server may read it.".to_owned(),
        _ => format!("The server makes this file when it starts. {HINT}"),
    }
}

const HINT: &str = "Is `acmezone serve` running, and with this configuration (see --config)?";

impl Client {
    /// Reads the server's address from the configuration and the token from the data directory.
    pub fn new(config: &Config) -> Result<Client, ClientError> {
        let address = config.admin.listen;
        let token_file = config.admin_token_file();
        let token =
            read_token(&token_file).map_err(|error| ClientError::NoToken { file: token_file.clone(), error })?;
        let strange = |reason: String| ClientError::Strange { address, reason };
        let server = Url::parse(&format!("http://{address}/v1/")).map_err(|error| strange(error.to_string()))?;
        // No proxy of the environment may see the token, and no redirect is expected.
        let builder = || {
            let direct = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
            direct.connect_timeout(CONNECT)
        };
        let made = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| strange(described(&error)));
        let (http, patient) = (made(builder().read_timeout(PATIENCE))?, made(builder())?);
        Ok(Client { http, patient, server, address, token, token_file })
    }

    pub async fn status(&self) -> Result<Status, ClientError> {
        self.fetch(&["status"]).await
    }

    pub async fn accounts(&self) -> Result<Vec<Account>, ClientError> {
        self.fetch(&["accounts"]).await
    }

    /// `id` is a user name, a label or a full domain name.
    pub async fn account(&self, id: &str) -> Result<Account, ClientError> {
        self.fetch(&["accounts", id]).await
    }

    pub async fn create_account(&self, wanted: &NewAccount) -> Result<CreatedAccount, ClientError> {
        self.send(Method::POST, self.url(&["accounts"]), wanted).await
    }

    /// The account as it was.
    pub async fn delete_account(&self, id: &str) -> Result<Account, ClientError> {
        self.answer(self.request(Method::DELETE, self.url(&["accounts", id]))).await
    }

    pub async fn aliases(&self) -> Result<Vec<Alias>, ClientError> {
        self.fetch(&["aliases"]).await
    }

    pub async fn add_alias(&self, wanted: &NewAlias) -> Result<Alias, ClientError> {
        self.send(Method::POST, self.url(&["aliases"]), wanted).await
    }

    /// The alias as it was.
    pub async fn remove_alias(&self, domain: &str) -> Result<Alias, ClientError> {
        self.answer(self.request(Method::DELETE, self.url(&["aliases", domain]))).await
    }

    pub async fn add_label(&self, id: &str, wanted: &NewLabel) -> Result<AddedLabel, ClientError> {
        self.send(Method::POST, self.url(&["accounts", id, "labels"]), wanted).await
    }

    /// `label` is a label or a full domain name. The account that it was taken from, as it is now.
    pub async fn remove_label(&self, label: &str) -> Result<Account, ClientError> {
        self.answer(self.request(Method::DELETE, self.url(&["labels", label]))).await
    }

    /// No CIDR: from anywhere.
    pub async fn allow_from(&self, id: &str, allowfrom: Vec<String>) -> Result<Account, ClientError> {
        self.send(Method::PUT, self.url(&["accounts", id, "allowfrom"]), &NewAllowFrom { allowfrom }).await
    }

    /// One more credential.
    pub async fn mint(&self, id: &str) -> Result<NewCredential, ClientError> {
        self.answer(self.request(Method::POST, self.url(&["accounts", id, "credentials"]))).await
    }

    /// One credential in the place of all.
    pub async fn rotate(&self, id: &str) -> Result<NewCredential, ClientError> {
        self.answer(self.request(Method::POST, self.url(&["accounts", id, "rotate"]))).await
    }

    /// Registration tokens, oldest first.
    pub async fn tokens(&self) -> Result<Vec<Token>, ClientError> {
        self.fetch(&["tokens"]).await
    }

    pub async fn create_token(&self, wanted: &NewToken) -> Result<CreatedToken, ClientError> {
        self.send(Method::POST, self.url(&["tokens"]), wanted).await
    }

    pub async fn revoke_token(&self, id: &str) -> Result<Token, ClientError> {
        self.answer(self.request(Method::DELETE, self.url(&["tokens", id]))).await
    }

    /// HTTP storages, oldest first.
    pub async fn storages(&self) -> Result<Vec<Storage>, ClientError> {
        self.fetch(&["storages"]).await
    }

    pub async fn create_storage(&self, wanted: &NewStorage) -> Result<CreatedStorage, ClientError> {
        self.send(Method::POST, self.url(&["storages"]), wanted).await
    }

    /// The storage as it was.
    pub async fn revoke_storage(&self, id: &str) -> Result<Storage, ClientError> {
        self.answer(self.request(Method::DELETE, self.url(&["storages", id]))).await
    }

    /// All names that serve values.
    pub async fn names(&self) -> Result<Vec<TxtName>, ClientError> {
        self.fetch(&["txt"]).await
    }

    pub async fn name(&self, name: &str) -> Result<TxtName, ClientError> {
        self.fetch(&["txt", name]).await
    }

    pub async fn add_values(&self, name: &str, values: Vec<String>) -> Result<TxtName, ClientError> {
        self.send(Method::POST, self.url(&["txt", name]), &Values { values }).await
    }

    pub async fn replace_values(&self, name: &str, values: Vec<String>) -> Result<TxtName, ClientError> {
        self.send(Method::PUT, self.url(&["txt", name]), &Values { values }).await
    }

    /// Removes one value, or all of them.
    pub async fn remove_values(&self, name: &str, value: Option<&str>) -> Result<TxtName, ClientError> {
        let mut url = self.url(&["txt", name]);
        if let Some(value) = value {
            url.query_pairs_mut().append_pair("value", value);
        }
        self.answer(self.request(Method::DELETE, url)).await
    }

    /// All keys, without their secrets.
    pub async fn tsig_keys(&self) -> Result<Vec<TsigKey>, ClientError> {
        self.fetch(&["tsig-keys"]).await
    }

    /// One key with its secret.
    pub async fn tsig_key(&self, name: &str) -> Result<TsigKey, ClientError> {
        let mut url = self.url(&["tsig-keys", name]);
        url.query_pairs_mut().append_pair("secret", "true");
        self.answer(self.request(Method::GET, url)).await
    }

    /// The new key with its secret.
    pub async fn create_tsig_key(&self, wanted: &NewTsigKey) -> Result<TsigKey, ClientError> {
        self.send(Method::POST, self.url(&["tsig-keys"]), wanted).await
    }

    /// The key as it was.
    pub async fn revoke_tsig_key(&self, name: &str) -> Result<TsigKey, ClientError> {
        self.answer(self.request(Method::DELETE, self.url(&["tsig-keys", name]))).await
    }

    pub async fn zones(&self) -> Result<Vec<Zone>, ClientError> {
        self.fetch(&["zones"]).await
    }

    /// One zone with its static records.
    pub async fn zone(&self, origin: &str) -> Result<Zone, ClientError> {
        self.fetch(&["zones", origin]).await
    }

    /// All CAs of the configuration.
    pub async fn cas(&self) -> Result<Vec<CaStatus>, ClientError> {
        self.fetch(&["cas"]).await
    }

    /// One CA of the configuration.
    pub async fn ca(&self, name: &str) -> Result<CaStatus, ClientError> {
        self.fetch(&["cas", name]).await
    }

    pub async fn certificates(&self) -> Result<Vec<CertificateStatus>, ClientError> {
        self.fetch(&["certificates"]).await
    }

    pub async fn certificate(&self, name: &str) -> Result<CertificateStatus, ClientError> {
        self.fetch(&["certificates", name]).await
    }

    /// Orders a certificate now. Without `renew`, a valid one is left alone.
    pub async fn issue(&self, name: &str, renew: bool) -> Result<Steps, ClientError> {
        self.post(&["certificates", name, if renew { "renew" } else { "issue" }]).await
    }

    /// Orders a certificate now, whatever the one in use is like.
    pub async fn reissue(&self, name: &str, wanted: &NewReissue) -> Result<Steps, ClientError> {
        self.steps(self.lasting(&["certificates", name, "reissue"]).json(wanted)).await
    }

    pub async fn revoke(&self, name: &str, wanted: &NewRevocation) -> Result<Steps, ClientError> {
        self.steps(self.lasting(&["certificates", name, "revoke"]).json(wanted)).await
    }

    /// Gives the account at a CA a new key.
    pub async fn roll_over(&self, ca: &str) -> Result<Steps, ClientError> {
        self.post(&["cas", ca, "rollover"]).await
    }

    /// Runs the certificate's deploy program now.
    pub async fn deploy(&self, name: &str) -> Result<Steps, ClientError> {
        self.post(&["certificates", name, "deploy"]).await
    }

    /// What an order would meet; nothing is ordered.
    pub async fn preview(&self, name: &str) -> Result<Steps, ClientError> {
        self.post(&["certificates", name, "preview"]).await
    }

    /// What has happened to a certificate, the oldest first.
    pub async fn certificate_history(&self, name: &str) -> Result<Vec<CertificateEvent>, ClientError> {
        self.fetch(&["certificates", name, "history"]).await
    }

    async fn post(&self, path: &[&str]) -> Result<Steps, ClientError> {
        self.steps(self.lasting(path)).await
    }

    fn lasting(&self, path: &[&str]) -> RequestBuilder {
        self.patient.post(self.url(path)).bearer_auth(self.token.as_str())
    }

    async fn steps(&self, request: RequestBuilder) -> Result<Steps, ClientError> {
        let response = self.response(request).await?;
        Ok(Steps { response, address: self.address, read: VecDeque::new(), ended: false })
    }

    async fn fetch<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, self.url(path))).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.answer(self.request(method, url).json(body)).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.server.clone();
        // An http URL always has path segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).bearer_auth(self.token.as_str())
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.response(request).await?;
        let body = response.bytes().await.map_err(|error| self.strange(described(&error)))?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    async fn response(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let not_running = |error| ClientError::NotRunning { address: self.address, reason: described(&error) };
        let response = request.send().await.map_err(not_running)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::WrongToken { address: self.address, token_file: self.token_file.clone() });
        }
        match response.json::<ApiError>().await {
            Ok(error) => Err(ClientError::Refused(error)),
            Err(_) => Err(self.strange(format!("HTTP status {status}"))),
        }
    }

    fn strange(&self, reason: String) -> ClientError {
        ClientError::Strange { address: self.address, reason }
    }
}

/// The steps of an order as they happen.
#[derive(Debug)]
pub struct Steps {
    response: Response,
    address: SocketAddr,
    read: VecDeque<u8>,
    ended: bool,
}

impl Steps {
    /// Waits for the next step; `None` after the outcome.
    pub async fn next(&mut self) -> Option<Result<Progress, ClientError>> {
        if self.ended {
            return None;
        }
        let step = self.read_step().await;
        self.ended = !matches!(step, Ok(Progress::Step { .. }));
        Some(step)
    }

    async fn read_step(&mut self) -> Result<Progress, ClientError> {
        let strange = |reason| ClientError::Strange { address: self.address, reason };
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| strange(error.to_string()));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.read.extend(chunk),
                Ok(None) => return Err(strange("it broke off before the outcome".to_owned())),
                Err(error) => return Err(strange(described(&error))),
            }
        }
    }
}

fn read_token(file: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(file)?);
    let token = text.trim_end();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no token"));
    }
    Ok(Zeroizing::new(token.to_owned()))
}

/// The innermost cause, which is the one that says what happened.
fn described(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
