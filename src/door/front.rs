//! What stands in front of all doors of the API's listener: whose request it is.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use super::client::{ClientAddress, TrustedProxies};
use super::guard::refused;
use crate::config::Api;

/// Finds out for each request which address it counts for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Front {
    proxies: Arc<TrustedProxies>,
}

impl Front {
    pub fn new(api: &Api) -> Front {
        Front { proxies: Arc::new(TrustedProxies(api.trusted_proxies.clone())) }
    }

    /// Puts the front before any routes. The requests must carry `ConnectInfo<SocketAddr>`; those that reach the routes
    /// carry [`ClientAddress`].
    pub fn before(&self, routes: Router) -> Router {
        let front = self.clone();
        routes.layer(from_fn(move |request: Request, next: Next| {
            let front = front.clone();
            async move { front.pass(request, next).await }
        }))
    }

    async fn pass(&self, mut request: Request, next: Next) -> Response {
        let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() else {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "internal");
        };
        let client = self.proxies.client(peer.ip(), request.headers());
        request.extensions_mut().insert(ClientAddress(client));
        next.run(request).await
    }
}
