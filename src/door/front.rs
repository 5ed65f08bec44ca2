//! What stands in front of all doors of the API's listener: whose request it is, and whether it is one too many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use super::client::{ClientAddress, TrustedProxies, X_FORWARDED_FOR};
use super::guard::refused;
use super::limits::Limits;
use crate::config::Api;

/// Finds out for each request which address it counts for, and holds that to its limit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Front {
    proxies: Arc<TrustedProxies>,
    limits: Limits,
    /// Whether the log has been told of a proxy that nobody trusts.
    told: Arc<AtomicBool>,
}

impl Front {
    pub fn new(api: &Api) -> Front {
        let proxies = Arc::new(TrustedProxies(api.trusted_proxies.clone()));
        Front { proxies, limits: Limits::new(&api.rate_limit), told: Arc::default() }
    }

    /// The limits that are counted here and by the doors.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Puts the front before any routes. The requests must carry `ConnectInfo<SocketAddr>`; those that reach the routes
    /// carry [`ClientAddress`] and [`Limits`].
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
        let unheard = request.headers().contains_key(X_FORWARDED_FOR) && !self.proxies.contain(peer.ip());
        if unheard && client.is_loopback() && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "requests come with X-Forwarded-For from a proxy that is not in `trusted_proxies` of [api]: its clients all \
                 count as this address, in `allowfrom` and in rate limits"
            );
        }
        if let Err(limited) = self.limits.request(client) {
            return limited.into_response();
        }
        request.extensions_mut().insert(ClientAddress(client));
        request.extensions_mut().insert(self.limits.clone());
        next.run(request).await
    }
}
